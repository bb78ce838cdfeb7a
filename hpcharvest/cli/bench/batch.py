"""How much a real Slurm is troubled, how soon ends are known, and what kills around submissions cost."""

from __future__ import annotations

import signal
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hpcharvest.cli.bench import noop
from hpcharvest.cli.bench.commands import Witness
from hpcharvest.config.loader import load
from hpcharvest.errors import HarvestError
from hpcharvest.model.ids import JobId
from hpcharvest.model.states import JobState
from hpcharvest.providers.dialect import Spoken
from hpcharvest.providers.slurm import SlurmDialect
from hpcharvest.sandbox import slurm
from hpcharvest.sandbox.world import BRISK, Recipe, World
from hpcharvest.store.database import Database

NODES = 4
LIMIT_S = 600.0
LOOK_S = 0.5
SHORT_S = 20.0
"""Length of the payloads whose own ends are looked at."""
ROWS = 1000
ROUNDS = 7


def measure(folder: Path, *, allocations: int, seconds: float, ends: int, kills: int) -> dict[str, Any]:
    """Measure in two worlds on one Slurm; HarvestError if there can be none, or if something does not end in time.

    `ends`: batch jobs that are ended from outside, one after another, to see how soon that is known.
    """
    if reason := slurm.why_not():
        raise HarvestError(f"there can be no Slurm here: {reason}")
    with slurm.cluster(NODES, accounting=True) as cluster:
        steady = _steady(folder / "steady", cluster, allocations, seconds, ends)
        return steady | _kills(folder / "kills", cluster, kills)


def _steady(folder: Path, cluster: slurm.Slurm, allocations: int, seconds: float, ends: int) -> dict[str, Any]:
    """Keep so many allocations alive for so many seconds, with the controller's default patience."""
    with _world(folder, cluster, allocations, {}) as (world, witness):
        short = noop.counted_jobs(world, 1, NODES, SHORT_S)
        world.submit(short + noop.counted_jobs(world, NODES + 1, allocations, 3000.0, max_walltime=3600))
        with _controller(world):
            _until(lambda: len(witness.ids()) >= allocations + NODES, "all are submitted")
            with _database(world) as database:
                _until(lambda: _finished(database) >= NODES, "the short payloads end")
                outcomes = _outcome_delays(database)
                began = time.time()
                time.sleep(seconds)
                calls, took = witness.calls(began, time.time()), time.time() - began
                alive = len(database.allocations.live())
                known_after = [_end_to_fact(cluster, database) for _ in range(ends)]
    cluster.run("scancel", "--user=root")
    cluster.wait(lambda: not cluster.run("squeue", "-h"), "all batch jobs are gone")
    return {
        "allocations_alive": alive,
        "commands_per_min": round(calls * 60 / took, 2),
        "parse_1000_ms": _parse_ms(cluster),
        "end_to_fact_s": round(max(known_after), 1),
        "outcome_to_fact_s": round(max(outcomes), 2),
    }


def _outcome_delays(database: Database) -> list[float]:
    """Give the seconds from the end of each short payload to its fact in the journal."""
    delays = []
    for number in range(1, NODES + 1):
        job = database.jobs.get(JobId(number))
        told = [one.at for one in database.journal.of("job", number, 100) if one.action == "PayloadEnded"]
        if job is None or job.outcome is None or not told:
            raise HarvestError(f"job {number} has no outcome")
        delays.append(told[0] - job.outcome.ended_at)
    return delays


def _end_to_fact(cluster: slurm.Slurm, database: Database) -> float:
    """End a running batch job behind the controller's back; give the seconds from its end to the fact in the journal.

    Slurm tells the end to the second, so that the figure may be up to a second too large.
    """
    running = cluster.run("squeue", "--noheader", "--states=running", "--format=%i").split()
    batch_id = running[0]
    number = next(one.id for one in database.allocations.live() if one.batch_id == batch_id)
    cluster.run("scancel", batch_id)

    def told() -> list[float]:
        entries = database.journal.of("allocation", number, 100)
        return [one.at for one in entries if one.action == "BatchReported" and one.detail.startswith("CANCELLED")]

    _until(told, f"the end of allocation {number} is known")
    ended = cluster.run("squeue", "--noheader", "--states=all", f"--jobs={batch_id}", "--format=%e").strip()
    return told()[0] - time.mktime(time.strptime(ended, "%Y-%m-%dT%H:%M:%S"))


def _parse_ms(cluster: slurm.Slurm) -> float:
    """Give the milliseconds in which Slurm's own answer, repeated to so many batch jobs, is understood."""
    dialect = SlurmDialect()
    answer = cluster.run(*dialect.status_argv())
    rows = answer[1:].split(answer[0])
    text = "".join(answer[0] + f"{number}{rows[number % len(rows)]}" for number in range(ROWS))
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        dialect.read_status(Spoken(exit_code=0, out=text))
        times.append((time.perf_counter() - began) * 1000)
    return round(statistics.median(times), 2)


def _kills(folder: Path, cluster: slurm.Slurm, kills: int) -> dict[str, Any]:
    """Kill the controller so many times around submissions, let another one finish, and compare all books."""
    with _world(folder, cluster, 2 * NODES, BRISK) as (world, witness):
        done = submitted = 0
        witness.be_deadly(deadly=True)
        while done < kills:
            if submitted - world.books()["states"].get("finished", 0) < 4 * NODES:
                world.submit(noop.counted_jobs(world, submitted + 1, 4 * NODES, 0.1))
                submitted += 4 * NODES
            process = world.controller()
            code = process.wait(LIMIT_S)
            if code != -signal.SIGKILL:
                raise HarvestError(f"the controller ended by itself with {code}; see {world.folder}")
            done += 1
        witness.be_deadly(deadly=False)
        with _controller(world):
            _until(lambda: world.books()["states"].get("finished", 0) >= submitted, "all jobs finish")
            with _database(world) as database:
                _until(lambda: not database.allocations.live(), "all allocations end")
                known = {one.batch_id for one in database.allocations.page(limit=100_000)}
            left = cluster.run("squeue", "--noheader", "--states=pending,running", "--format=%i").split()
        runs = (folder / "executions").read_text().split()
        return {
            "kills": done,
            "orphans": len((witness.ids() - known) | set(left)),
            "double_submissions": sum(count > 1 for count in witness.submitted().values()),
            "submissions": len(witness.ids()),
            "jobs": submitted,
            "run_twice": len(runs) - len(set(runs)),
        }


@contextmanager
def _world(folder: Path, cluster: slurm.Slurm, allocations: int, patience: Any) -> Iterator[tuple[World, Witness]]:
    """Make a world on this Slurm in which every PanDA job has a batch job of its own, and every command a witness."""
    witness = Witness(folder / "commands")
    transformations = noop.counted(folder / "transformations", folder / "executions")
    prologue = folder / "virtual.sh"
    prologue.write_text("export HPCHARVEST_VIRTUAL_NODES=1\n")  # all nodes are this host
    recipe = Recipe(
        nodes=1,
        cores_per_node=1,
        payload={"transformation_dir": str(transformations)},
        queue={"max_jobs": allocations + NODES, "fetch_chunk": allocations + NODES},
        patience=patience,
        allocation={"max_jobs": 1, "max_allocations": allocations + NODES},
        batch={"dialect": "slurm", "environment": witness.environment(cluster.environment)},
        software={"prologue": str(prologue)},
        server_options=("--redeliver-after", "20"),
    )
    with World(folder / "world", recipe) as world:
        yield world, witness


@contextmanager
def _controller(world: World) -> Iterator[subprocess.Popen[bytes]]:
    process = world.controller()
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(120)


@contextmanager
def _database(world: World) -> Iterator[Database]:
    """Look into the controller's database beside it."""
    database = Database.open(load(world.config).controller.database)
    try:
        yield database
    finally:
        database.close()


def _finished(database: Database) -> int:
    return sum(states.get(JobState.FINISHED, 0) for states in database.jobs.counts().values())


def _until(holds: Any, what: str) -> None:
    give_up_at = time.monotonic() + LIMIT_S
    while not holds():
        if time.monotonic() > give_up_at:
            raise HarvestError(f"not in {LIMIT_S:g} s: {what}")
        time.sleep(LOOK_S)
