"""What Parsl alone costs on this machine at this hour: the yardstick for what we cost on top of it."""

from __future__ import annotations

import logging
import resource
from collections import deque
from concurrent.futures import Future
from pathlib import Path
from typing import Any

WINDOW = 500
"""As many DAGs as the controller has in Parsl's hands by default."""


def cpu_ms_per_dag(folder: Path, dags: int) -> float:
    """Run DAGs of three stages that do nothing, as the controller has them, and give Parsl's CPU for each in ms."""
    from parsl.config import Config
    from parsl.dataflow.dflow import DataFlowKernel
    from parsl.executors.threads import ThreadPoolExecutor

    logging.getLogger("parsl").setLevel(logging.ERROR)
    kernel = DataFlowKernel(
        Config(
            executors=[ThreadPoolExecutor(label="alone", max_threads=4)],
            strategy="none",
            initialize_logging=False,
            usage_tracking=0,
            run_dir=str(folder / "parsl"),
        )
    )

    def stage(before: Future[None] | None) -> Future[None]:
        future: Future[None] = kernel.submit(
            _nothing, app_args=(before,), executors=["alone"], cache=False, ignore_for_cache=None, app_kwargs={}
        )
        return future

    before = _cpu_s()
    under_way: deque[Future[None]] = deque()
    for _ in range(dags):
        under_way.append(stage(stage(stage(None))))
        if len(under_way) >= WINDOW:
            under_way.popleft().result()
    while under_way:
        under_way.popleft().result()
    spent = _cpu_s() - before
    kernel.cleanup()
    return spent / dags * 1000


def _nothing(_before: Any) -> None:
    """Do nothing."""


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
