"""Parsl's own executor runs its blocks through ours: the provider's contract, with a real DataFlowKernel."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import parsl
import pytest
from parsl.config import Config
from parsl.dataflow.dflow import DataFlowKernel
from parsl.executors import HighThroughputExecutor
from parsl.jobs.states import JobState

from hpcharvest.model.shape import Shape
from hpcharvest.providers.batch import BatchSystem
from hpcharvest.providers.local import LocalDialect
from hpcharvest.providers.parsl_face import BatchProvider
from hpcharvest.sandbox.batch.cluster import Cluster
from hpcharvest.sandbox.batch.settings import Settings
from tests import worlds

PAGE = Path(__file__).parents[2] / "docs" / "parsl.md"
PROGRAMS = Path(sys.executable).parent
"""Where Parsl's own programs are: it looks for them in PATH."""
SITE = """\
[site]
name = "test"
[nodes]
cores = 2
[allocation]
max_walltime_s = 600
[batch]
dialect = "local"
command = {command}
"""


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.setenv("PATH", f"{PROGRAMS}:{os.environ['PATH']}")
    with Cluster(tmp_path / "spool", Settings(nodes=2, cores_per_node=2, kill_grace_s=0.5)) as made:
        yield made


def provider(cluster: Cluster, folder: Path | None = None) -> BatchProvider:
    system = BatchSystem(LocalDialect(cluster.command), timeout_s=60, per_minute=6000)
    return BatchProvider(system, folder=folder, cores_per_node=1, walltime="00:05:00", poll_s=1)


def executor(blocks: BatchProvider) -> HighThroughputExecutor:
    return HighThroughputExecutor(
        label="blocks",
        address="127.0.0.1",
        provider=blocks,
        encrypted=False,
        max_workers_per_node=1,
        block_error_handler=False,
    )


def test_apps_run_in_a_block_that_is_a_batch_job_and_ends_when_it_is_scaled_in(
    cluster: Cluster, tmp_path: Path
) -> None:
    blocks = executor(provider(cluster))
    config = Config(executors=[blocks], strategy="none", run_dir=str(tmp_path / "run"), initialize_logging=False)
    kernel = DataFlowKernel(config)
    try:
        job_id = parsl.python_app(os.getenv, data_flow_kernel=kernel)
        batch_jobs = {job_id(name).result(timeout=180) for name in ("HPCHARVEST_BATCH_JOBID", "JOBNAME")}
        sums = [parsl.python_app(sum, data_flow_kernel=kernel)([number, 1]) for number in range(5)]
        assert [one.result(timeout=180) for one in sums] == [1, 2, 3, 4, 5]
        (job,) = cluster.status()
        assert batch_jobs == {str(job["id"]), job["name"]}
        assert blocks.status()["0"].state is JobState.RUNNING
        assert blocks.scale_in_facade(1) == ["0"]
        assert cluster.wait(job["id"])["state"] == "CANCELLED"
        assert blocks.provider is not None
        assert blocks.provider.status([str(job["id"])])[0].state is JobState.CANCELLED
        assert blocks.status()["0"].state is JobState.SCALED_IN
    finally:
        kernel.cleanup()


def test_a_block_that_breaks_is_told_with_its_own_words(cluster: Cluster, tmp_path: Path) -> None:
    mine = provider(cluster, tmp_path / "blocks")
    block = mine.submit_shape("echo out; echo no such module >&2; exit 3", Shape(nodes=1, walltime_s=60), "broken")
    worlds.eventually(lambda: mine.status([block])[0].terminal, "over")
    told = mine.status([block])[0]
    assert told.state is JobState.FAILED
    assert told.message is not None
    assert told.message.startswith(f"batch job {block} failed")
    assert (told.stdout, told.stderr_summary) == ("out\n", "no such module\n")


def test_a_block_outlives_its_process_and_is_adopted(cluster: Cluster, tmp_path: Path) -> None:
    earlier = provider(cluster, tmp_path / "blocks")
    block = earlier.submit_shape("sleep 60", Shape(nodes=2, walltime_s=60), "mine")
    later = provider(cluster)
    assert later.adopt(block) == block
    worlds.eventually(lambda: later.status([block])[0].state is JobState.RUNNING, "running")
    cluster.kill_daemon()
    assert later.status([block])[0].state is JobState.RUNNING
    assert later.cancel([block]) == [False]
    cluster.start()
    assert later.cancel([block]) == [True]
    worlds.eventually(lambda: earlier.status([block])[0].state is JobState.CANCELLED, "cancelled")


def test_the_example_of_the_page_runs_as_it_stands(cluster: Cluster, tmp_path: Path) -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "example.py").write_text(example)
    (tmp_path / "my-site.toml").write_text(SITE.format(command=cluster.command))
    done = subprocess.run(
        [sys.executable, "example.py"], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert (done.returncode, done.stdout) == (0, "[0, 1, 4, 9, 16]\n"), done.stderr
    (job,) = cluster.status()
    assert cluster.wait(job["id"])["state"] == "CANCELLED"
