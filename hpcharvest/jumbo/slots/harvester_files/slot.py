"""Slots for payloads that take event ranges by panda-harvester's shared files: docs/harvester-files.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from hpcharvest.jumbo import pilot
from hpcharvest.jumbo.slots.harvester_files.worker import Setting, Worker
from hpcharvest.jumbo.slots.slot import Leased, Outcome
from hpcharvest.messenger.ranges import EventTask
from hpcharvest.model.ids import JobId


def start(tasks: Sequence[EventTask], setting: Setting, now: float) -> Mapping[JobId, FilesSlot]:
    """Start one payload for one job or more, with a slot for each of the jobs. It never raises.

    What cannot be started has room for one range, which fails with the reason: so the head hears of it as it hears of
    all failures. Cores, environment and command are those of the first job.
    """
    worker = Worker(tasks, setting, now)
    return {task.job: FilesSlot(worker, task.job) for task in tasks}


class FilesSlot:
    """The ranges of one job in a worker."""

    def __init__(self, worker: Worker, job: JobId) -> None:
        self._worker = worker
        self._job = job
        self._desk = worker.talk.desks[job]

    @property
    def room(self) -> int:
        """How many ranges the payload asked for and was not given yet."""
        return self._worker.room(self._job)

    @property
    def held(self) -> Sequence[Leased]:
        """The ranges that wait or are with the payload, and those whose output is being looked at."""
        return [
            *self._desk.ledger.held,
            *(leased for claim in self._desk.inspector.claims for leased in claim.ranges),
            *(leased for outcome in self._desk.outbox for leased in ranges_of(outcome)),
        ]

    @property
    def over(self) -> bool:
        """Whether the payload has ended and all outcomes were fetched."""
        return self._worker.over and not self._desk.outbox

    def give(self, leased: Leased, now: float) -> None:
        """Take a range; it is written for the payload with others that come soon."""
        self._worker.give(self._job, leased, now)

    def filenos(self) -> Sequence[int]:
        """Give none: nothing tells when a file on a shared file system changes."""
        return ()

    def next_event(self) -> float:
        """Steady seconds of the next look, or of the next piece of an output."""
        return 0.0 if self._desk.outbox else self._worker.next_event()

    def serve(self, now: float) -> Sequence[Outcome]:
        """Look, if it is time to, and give what came of ranges."""
        self._worker.serve(now)
        outcomes, self._desk.outbox = self._desk.outbox, []
        return outcomes

    def finish(self, now: float) -> None:
        """Answer the next request with an empty list: there are no more."""
        del now
        self._worker.finish(self._job)

    def stop(self, ranges: Sequence[Leased], reason: str, now: float) -> None:
        """Give back ranges that were not handed over; for others the process is ended, with all that it has."""
        self._worker.stop(self._job, ranges, reason, now)

    def said(self) -> pilot.Said | None:
        """Give what the payload said of the job as a whole; None: it has not ended. OSError as it comes."""
        code = self._worker.life.code
        return None if code is None else pilot.verdict_of(Path(self._desk.point.folder), self._job, code)


def ranges_of(outcome: Outcome) -> Sequence[Leased]:
    """Give the ranges of which an outcome tells."""
    return (outcome.leased, *getattr(outcome, "also", ()))
