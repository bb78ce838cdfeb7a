"""Small worlds for tests: a `World` of the sandbox, controllers in it, jobs for it, and questions about the outcome."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hpcharvest.config.schema import (
    About,
    AllocationLimits,
    Batch,
    Configuration,
    Nodes,
    Panda,
    Payload,
    Queue,
    Site,
    Storage,
)
from hpcharvest.config.schema import Controller as ControllerSection
from hpcharvest.sandbox.jobs import InputFile, make_job
from hpcharvest.sandbox.world import QUEUE, Recipe, World
from hpcharvest.store.database import Database

START = Path(__file__).with_name("start_controller.py")
PROGRAM = "work"
WORK = """\
#!/bin/bash
# Notes that it ran, and does as it is told: write NAME, copy FROM TO, sleep SECONDS, say WORD, exit CODE.
me=${PWD##*/}; job=${me%.*}; attempt=${me#*.}
echo "start $job $attempt" >>"$TALLY"
while [ $# -gt 0 ]; do
    case $1 in
        write) printf 'output of %s\\n' "$job" >"$2"; shift 2 ;;
        copy) cat "$2" >"$3"; shift 3 ;;
        sleep) sleep "$2"; shift 2 ;;
        say) printf '%s\\0' "$2" >>words; shift 2 ;;
        exit) echo "end $job $attempt" >>"$TALLY"; echo "told to fail" >&2; exit "$2" ;;
        *) echo "no such word: $1" >&2; exit 64 ;;
    esac
done
echo "end $job $attempt" >>"$TALLY"
"""
"""The payload of most tests. The number of a job and its attempt are in the name of its folder."""

ENDS = frozenset({"finished", "failed", "cancelled", "closed"})
"""The server's words for jobs of which it wants to hear no more."""
QUICK: Mapping[str, Any] = {"fetch_interval_s": 0.5, "report_interval_s": 0.1}


def eventually(
    holds: Callable[[], object], what: str | Callable[[], str], timeout_s: float = 180.0, pause_s: float = 0.1
) -> None:
    """Wait until something holds. AssertionError if it does not in time, with what it was or how things are then."""
    give_up_at = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > give_up_at:
            raise AssertionError(f"not in {timeout_s:g} s: {what if isinstance(what, str) else what()}")
        time.sleep(pause_s)


@contextlib.contextmanager
def world(folder: Path, recipe: Recipe | None = None, programs: Mapping[str, str] | None = None) -> Iterator[World]:
    """Make a world in which `PROGRAM` can be run, and others by name."""
    wanted = recipe or Recipe()
    place = folder / "programs"
    place.mkdir()
    for name, text in {PROGRAM: WORK, **(programs or {})}.items():
        (place / name).write_text(text)
        (place / name).chmod(0o755)
    payload = {"transformation_dir": str(place), "environment": {"TALLY": str(folder / "tally")}, **wanted.payload}
    with World(folder, replace(wanted, payload=payload, panda={**QUICK, **wanted.panda})) as made:
        yield made


class Controller:
    """A controller's process in a world; ended, with its allocations left alone, at the end of the context.

    `around`: the words of a program that becomes the controller in the end, such as `unshare`.
    """

    def __init__(self, inside: World, *arguments: str, around: Sequence[str] = ()) -> None:
        self._log = inside.folder / "controller.log"
        self._argv = [*around, sys.executable, str(START), str(inside.config), *arguments]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._argv, stdout=log, stderr=log)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.end(signal.SIGTERM if kind is None else signal.SIGKILL)

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process."""
        assert self._process is not None, "the controller was not started"
        return self._process

    def end(self, number: signal.Signals = signal.SIGTERM, timeout_s: float = 180.0) -> int:
        """Send it a signal, wait for its end, and give its exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout_s)

    def wait(self, timeout_s: float = 180.0) -> int:
        """Wait until it ends by itself, and give its exit code."""
        return self.process.wait(timeout_s)


def tick(inside: World, times: int = 1) -> None:
    """Run a controller once, as cron does, so many times."""
    for _ in range(times):
        with Controller(inside, "--once") as controller:
            assert controller.wait() == 0, log_of(inside)


_numbers = itertools.count(1000)


def next_number() -> int:
    """Give a number that no job has, and no other file's name."""
    return next(_numbers)


def job(parameters: str = "write {out}", **more: Any) -> dict[str, Any]:
    """Make a job of `PROGRAM` with one output, {out}, and a log; `more` as in `make_job`."""
    number = next(_numbers)
    out = f"out.{number}.txt"
    given: dict[str, Any] = {
        "site": QUEUE,
        "transformation": PROGRAM,
        "outputs": [out],
        "log": f"log.{number}.tgz",
        "max_walltime": 600,
        "memory": 100,
        **more,
    }
    return make_job(number, job_pars=parameters.format(out=out, number=number), **given)


def copying_job(inside: World, size: int = 1000, seconds: float = 0.0) -> dict[str, Any]:
    """Make a job that copies an input of its own, of so many bytes, to its output."""
    number = next(_numbers)
    content = (f"{number}\n" * (size // 5 + 1)).encode()[:size]
    file: InputFile = inside.put_input(f"in.{number}.txt", content)
    nap = f"sleep {seconds} " if seconds else ""
    return job(f"{nap}copy {file.lfn} {{out}}", inputs=[file])


def submit(inside: World, jobs: Iterable[dict[str, Any]]) -> list[int]:
    """Give jobs to the server, and their numbers."""
    given = list(jobs)
    inside.submit(given)
    return [one["PandaID"] for one in given]


def states(inside: World) -> dict[int, str]:
    """Give the server's state of every job."""
    return {one["panda_id"]: one["state"] for one in inside.jobs()}


def server_job(inside: World, number: int) -> dict[str, Any]:
    """Give all that the server knows of a job."""
    return next(one for one in inside.jobs() if one["panda_id"] == number)


def kill(inside: World, numbers: list[int]) -> None:
    """Ask the server to have jobs killed, as their owner would."""
    request = urllib.request.Request(  # noqa: S310 - our own loopback server
        f"{inside.url}/api/v1/job/kill",
        data=json.dumps({"job_ids": numbers}).encode(),
        headers={"Content-Type": "application/json", "Accept": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - the same
        said = json.load(answer)
    assert said["success"], said


def all_over(inside: World) -> bool:
    """Whether the server wants to hear of no job any more."""
    return all(state in ENDS for state in states(inside).values())


def until_all_over(inside: World, timeout_s: float = 180.0) -> dict[int, str]:
    """Wait for the end of all jobs, and give the server's states."""
    eventually(lambda: all_over(inside), lambda: f"all jobs over; {states(inside)}\n{log_of(inside)}", timeout_s, 0.2)
    return states(inside)


def tally(inside: World, word: str = "end") -> Counter[int]:
    """Count how often each job's payload came to its start, or its end."""
    path = inside.folder / "tally"
    lines = path.read_text().splitlines() if path.exists() else []
    return Counter(int(line.split()[1]) for line in lines if line.startswith(f"{word} "))


def log_of(inside: World, lines: int = 40) -> str:
    """Give the end of the controller's log."""
    path = inside.folder / "controller.log"
    return "\n".join(path.read_text().splitlines()[-lines:]) if path.exists() else "(no log)"


@contextlib.contextmanager
def database(inside: World) -> Iterator[Database]:
    """Open the controller's database beside it."""
    path = inside.work / inside.recipe.harvester_id / "state" / "hpcharvest.sqlite"
    opened = Database.open(f"sqlite:///{path}")
    try:
        yield opened
    finally:
        opened.close()


def assert_books_agree(inside: World, finished: Iterable[int]) -> None:
    """Assert that the server, the storage, the database and the payloads' own tally tell the same of these jobs."""
    wanted = set(finished)
    books = inside.books()
    assert books["double_reports"] == 0, books
    told = {number for number, state in states(inside).items() if state == "finished"}
    assert told == wanted
    assert {number for number in tally(inside) if number in wanted} == wanted
    stored = {int(one.name.split(".")[1]) for one in inside.outputs.rglob("out.*.txt")}
    assert stored >= wanted
    with database(inside) as opened:
        records = {one.id: one.state.value for one in opened.jobs.page(limit=100_000)}
        eventually(lambda: opened.outbox.owed_count() == 0, "nothing is owed to the server")
    assert {number for number, state in records.items() if state == "finished"} == wanted


def pid_alive(pid: int) -> bool:
    """Whether there is such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def configuration(
    folder: Path, *, url: str = "http://127.0.0.1:9", queue: Mapping[str, Any] | None = None
) -> Configuration:
    """Make a configuration of one queue, for parts of the engine alone; nobody listens at the default URL."""
    site = Site(
        site=About(name="here"),
        nodes=Nodes(cores=8, memory_mb=16_000),
        allocation=AllocationLimits(max_nodes=4, max_walltime_s=7200),
        batch=Batch(dialect="local", command=("batch",)),
    )
    given = {
        "site": site,
        "payload": Payload(transformation_dir=folder),
        "storage": Storage(inputs=str(folder / "in"), outputs=str(folder / "out")),
        **(queue or {}),
    }
    return Configuration(
        controller=ControllerSection(harvester_id="test", work_dir=folder),
        panda=Panda(url=url),
        queues={QUEUE: Queue.model_validate(given)},
    )
