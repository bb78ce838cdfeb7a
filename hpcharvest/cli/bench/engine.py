"""How many jobs a second, at what cost."""

from __future__ import annotations

import os
import signal
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from hpcharvest.cli.bench import noop
from hpcharvest.cli.bench.parsl_alone import cpu_ms_per_dag
from hpcharvest.errors import HarvestError
from hpcharvest.sandbox.world import Recipe, World

PARSL_DAGS = 2000
"""DAGs of Parsl alone at the least: fewer are over before Parsl is warm."""
LOOK_S = 0.25
"""Seconds between two looks at the controller."""
MB = 1 << 20


@dataclass(slots=True)
class Seen:
    """What was seen of the controller while it ran."""

    threads: int = 0
    peak_rss: int = 0
    cpu_s: float = 0.0

    def look(self, process: psutil.Process) -> None:
        """Look once more."""
        with process.oneshot():
            self.threads = max(self.threads, process.num_threads())
            self.peak_rss = max(self.peak_rss, process.memory_info().rss, _high_water(process.pid))
            times = process.cpu_times()
        self.cpu_s = times.user + times.system


def measure(folder: Path, jobs: int, limit_s: float) -> dict[str, Any]:
    """Take `jobs` no-op jobs through their life and give the figures; HarvestError if they are not done in time."""
    transformations = noop.plain(folder / "transformations")
    recipe = Recipe(payload={"transformation_dir": str(transformations)}, patience={})
    with World(folder, recipe) as world:
        world.submit(noop.copy_jobs(world, 1, jobs))
        daemon = psutil.Process(world.cluster.daemon_pid or 0)
        process = world.controller()
        seen = Seen()
        try:
            controller = psutil.Process(process.pid)
            _wait(world, controller, seen, jobs, limit_s)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
        figures = _figures(world, daemon, seen, jobs)
    return figures | {"parsl_alone_cpu_ms_per_dag": round(cpu_ms_per_dag(folder, max(jobs, PARSL_DAGS)), 2)}


def _wait(world: World, controller: psutil.Process, seen: Seen, jobs: int, limit_s: float) -> None:
    """Wait until the server's books say that every job is finished."""
    deadline = time.monotonic() + limit_s
    while (finished := world.books()["states"].get("finished", 0)) < jobs:
        if not controller.is_running() or controller.status() == psutil.STATUS_ZOMBIE:
            raise HarvestError(f"the controller ended after {finished} of {jobs} jobs; see {world.folder}")
        if time.monotonic() > deadline:
            raise HarvestError(f"{finished} of {jobs} jobs finished within {limit_s:g} s; see {world.folder}")
        seen.look(controller)
        time.sleep(LOOK_S)
    seen.look(controller)


def _figures(world: World, daemon: psutil.Process, seen: Seen, jobs: int) -> dict[str, Any]:
    books = world.books()
    details = world.jobs()
    first = min(one["first_sent_at"] for one in details)
    last = max(one["final_at"] for one in details)
    latencies = [one["final_at"] - one["first_sent_at"] for one in details]
    ended = daemon.cpu_times()
    log = world.folder / "controller.log"
    return {
        "jobs": jobs,
        "jobs_per_s": round(jobs / (last - first), 1),
        "cpu_ms_per_job": round(seen.cpu_s / jobs * 1000, 2),
        "peak_rss_mb": round(seen.peak_rss / MB, 1),
        "os_threads": seen.threads,
        "median_latency_s": round(statistics.median(latencies), 2),
        "log_bytes_per_job": round(log.stat().st_size / jobs),
        "sandbox_cpu_ms_per_job": round(books["cpu_s"] / jobs * 1000, 2),
        "runner_and_payload_cpu_ms_per_job": round((ended.children_user + ended.children_system) / jobs * 1000, 2),
        "double_reports": books["double_reports"],
        "load_average": round(os.getloadavg()[0], 1),
    }


def _high_water(pid: int) -> int:
    """Give the most resident memory that the process ever had, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0
