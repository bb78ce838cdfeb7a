"""Slots of event ranges with real processes: a place for one, and a loop that stands in for the node's agent."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from hpcharvest.jumbo.kin import marks_of
from hpcharvest.jumbo.slots.place import Place
from hpcharvest.jumbo.slots.slot import Done, Failed, Leased, Outcome, Slot
from hpcharvest.jumbo.slots.sweep import Sweep
from hpcharvest.messenger.ranges import Channel, EventTask, PayloadKind
from hpcharvest.model.event_range import EventRange
from hpcharvest.model.ids import Attempt, JobId

PATIENCE_S = 30.0
SlotT = TypeVar("SlotT", bound=Slot)
JOB = JobId(7)


def leased(index: int, *, lfn: str = "in.root") -> Leased:
    name = f"9-{JOB}-1-{index}-1"
    return Leased(index, EventRange(id=name, start=index + 1, last=index + 1, lfn=lfn, guid="G", scope="s"))


def event_task(
    folder: Path,
    *argv: str,
    kind: PayloadKind = PayloadKind.COMMAND,
    channel: Channel = Channel.SOCKET,
    output: str = "{LFN}.{eventRangeID}",
    cores: int = 1,
    tries: int = 2,
    archive_bytes: int = 256_000_000,
    archive_age_s: float = 300.0,
    range_walltime_s: float = 0.0,
    engine_failure: int = 0,
    env: dict[str, str] | None = None,
) -> EventTask:
    return EventTask(
        job=JOB,
        attempt=Attempt(1),
        task_id=9,
        kind=kind,
        channel=channel,
        argv=argv,
        folder=str(folder),
        output=output,
        inputs={"in.root": "/data/in.root"},
        cores=cores,
        tries=tries,
        archive_bytes=archive_bytes,
        archive_age_s=archive_age_s,
        range_walltime_s=range_walltime_s,
        engine_failure=engine_failure,
        env=env or {},
        scratch=str(folder / "scratch"),
    )


@dataclass
class Bench:
    """A place for one slot, and what became of what it asked its node for."""

    folder: Path
    grace_s: float = 5.0
    oom: int = 0
    logs: dict[int, str] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    slots: list[Slot] = field(default_factory=list)

    def keep(self, slot: SlotT) -> SlotT:
        """Remember a slot, to be ended with the test."""
        self.slots.append(slot)
        return slot

    def end(self) -> None:
        for slot in self.slots:
            slot.finish(time.monotonic())
            slot.stop(slot.held, "the test is over", time.monotonic())
        self.sweep.end_all()
        for slot in self.slots:
            drive(slot, lambda _, slot=slot: slot.over)  # type: ignore[misc]  # the default binds it

    def __post_init__(self) -> None:
        self.sweep = Sweep(f"tag{self.folder.name}{id(self)}", 0, "n1", 0)

    @property
    def place(self) -> Place:
        return Place(
            folder=str(self.folder),
            environment={"PATH": "/usr/bin:/bin", **self.env},
            next_mark=self.sweep.next_mark,
            bury=self.sweep.bury,
            discard=lambda path: shutil.rmtree(path, ignore_errors=True),
            keep_log=self._keep_log,
            oom_kills=lambda: self.oom,
            grace_s=self.grace_s,
        )

    def _keep_log(self, one: Leased, path: str) -> None:
        self.logs[one.index] = Path(path).read_text()

    @property
    def processes(self) -> dict[int, str]:
        return marks_of(self.sweep.tag)


@contextmanager
def bench(folder: Path, *, grace_s: float = 5.0) -> Iterator[Bench]:
    one = Bench(folder, grace_s=grace_s)
    try:
        yield one
    finally:
        one.end()


def drive(slot: Slot, enough: Callable[[list[Outcome]], bool], *queue: Leased) -> list[Outcome]:
    """Serve a slot, and give it what it has room for, until it is enough."""
    outcomes: list[Outcome] = []
    waiting = list(queue)
    end = time.monotonic() + PATIENCE_S
    while not enough(outcomes):
        now = time.monotonic()
        assert now < end, f"waited in vain; so far {outcomes}"
        outcomes += slot.serve(now)
        while waiting and slot.room > 0:
            slot.give(waiting.pop(0), now)
        time.sleep(0.005)
    return outcomes


def until_told(slot: Slot, *queue: Leased) -> list[Outcome]:
    """Serve a slot until each of these ranges has an outcome."""
    return drive(slot, lambda outcomes: len(outcomes) >= len(queue), *queue)


def until_over(slot: Slot) -> list[Outcome]:
    """Let a slot finish."""
    slot.finish(time.monotonic())
    return drive(slot, lambda _: slot.over)


def done(outcome: Outcome) -> Done:
    assert isinstance(outcome, Done), outcome
    return outcome


def failed(outcome: Outcome, *, ours: bool = False) -> str:
    assert isinstance(outcome, Failed), outcome
    assert outcome.ours is ours, outcome
    return outcome.error
