"""What SIGKILL costs: kills at random instants and at commit points, under a steady load."""

from __future__ import annotations

import random
import signal
import statistics
import subprocess
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpcharvest.cli.bench import noop
from hpcharvest.errors import HarvestError
from hpcharvest.sandbox.world import BRISK, Recipe, World

PAYLOAD_S = 0.5
LATEST_KILL_S = 3.0
"""A random kill comes within so many seconds of the start, of which Python's own start takes the first."""
LAST_COMMIT = 60
LIMIT_S = 300.0
LOOK_S = 0.05


@dataclass(slots=True)
class Tally:
    """What is counted on the way."""

    kills: int = 0
    at_commits: int = 0
    submitted: int = 0
    recoveries: list[float] = field(default_factory=list)


def measure(folder: Path, kills: int, in_flight: int, seed: int) -> dict[str, Any]:
    """Kill the controller `kills` times with `in_flight` jobs in its hands, then let it finish, and count."""
    executions = folder / "executions"
    transformations = noop.counted(folder / "transformations", executions)
    recipe = Recipe(
        nodes=8,
        cores_per_node=8,
        payload={"transformation_dir": str(transformations)},
        queue={"max_jobs": in_flight, "fetch_chunk": 100},
        patience=BRISK,
        allocation={"max_nodes": 2, "max_jobs": 100},
        server_options=("--redeliver-after", "20"),
    )
    tally = Tally()
    with World(folder, recipe) as world:
        instants = random.Random(seed)  # noqa: S311 - when to kill is no secret
        while tally.kills < kills:
            _feed(world, tally, in_flight)
            _live_and_die(world, tally, instants)
        _finish(world, tally)
        return _figures(world, tally, executions)


def _feed(world: World, tally: Tally, in_flight: int) -> None:
    """Keep more jobs at the server than the controller can hold."""
    waiting = world.books()["states"].get("activated", 0) if tally.submitted else 0
    if waiting < in_flight:
        world.submit(noop.counted_jobs(world, tally.submitted + 1, in_flight, PAYLOAD_S))
        tally.submitted += in_flight


def _live_and_die(world: World, tally: Tally, instants: random.Random) -> None:
    """Start the controller and kill it: every other time at a commit, else at some instant."""
    started = time.monotonic()
    before = _updates(world)
    if tally.kills % 2:
        phase = instants.choice(["before", "after"])
        process = world.controller("--die-at-commit", f"{instants.randint(1, LAST_COMMIT)}:{phase}")
        _watch_recovery(world, process, tally, started, before, until=LIMIT_S)
        tally.at_commits += 1
    else:
        process = world.controller()
        _watch_recovery(world, process, tally, started, before, until=instants.uniform(0, LATEST_KILL_S))
        process.kill()
    process.wait()
    if process.returncode != -signal.SIGKILL:
        raise HarvestError(f"the controller ended by itself with {process.returncode}; see {world.folder}")
    tally.kills += 1


def _watch_recovery(
    world: World, process: subprocess.Popen[bytes], tally: Tally, started: float, before: int, *, until: float
) -> None:
    """Note how long it takes until the server hears of a job again."""
    heard = False
    while process.poll() is None and time.monotonic() < started + until:
        if not heard and _updates(world) > before:
            heard = True
            if tally.kills:
                tally.recoveries.append(time.monotonic() - started)
        time.sleep(LOOK_S)


def _updates(world: World) -> int:
    """How often the server was told of jobs, or gave out new ones."""
    requests = world.books()["requests"]
    return int(requests.get("pilot/update_jobs_bulk", 0))


def _finish(world: World, tally: Tally) -> None:
    """Let one last controller bring everything to its end."""
    process = world.controller()
    deadline = time.monotonic() + LIMIT_S
    try:
        while world.books()["states"].get("finished", 0) < tally.submitted and time.monotonic() < deadline:
            if process.poll() is not None:
                raise HarvestError(f"the controller ended by itself with {process.returncode}; see {world.folder}")
            time.sleep(LOOK_S * 4)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _figures(world: World, tally: Tally, executions: Path) -> dict[str, Any]:
    books = world.books()
    runs = Counter(executions.read_text().split())
    return {
        "kills": tally.kills,
        "lost": tally.submitted - books["states"].get("finished", 0),
        "run_twice": sum(1 for count in runs.values() if count > 1),
        "reported_twice": books["double_reports"],
        "median_recovery_s": round(statistics.median(tally.recoveries), 2) if tally.recoveries else None,
        "slowest_recovery_s": round(max(tally.recoveries), 2) if tally.recoveries else None,
        "jobs": tally.submitted,
        "kills_at_commit_points": tally.at_commits,
        "handed_out_again": books["redelivered"],
    }
