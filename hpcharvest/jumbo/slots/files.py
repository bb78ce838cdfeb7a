"""Slots for payloads that take event ranges by panda-harvester's shared files: docs/harvester-files.md."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from hpcharvest.errors import UnsafeName
from hpcharvest.jumbo import pilot
from hpcharvest.jumbo.access.point import Pace
from hpcharvest.jumbo.access.worker import Setting, Worker
from hpcharvest.jumbo.slots.pause import Pause
from hpcharvest.jumbo.slots.place import Place, scratch
from hpcharvest.jumbo.slots.slot import Leased, Outcome
from hpcharvest.messenger.ranges import EventTask
from hpcharvest.model.ids import JobId

PACE: Final = Pace()
"""Of this process, which serves all slots of its node."""


class FilesSlot:
    """One payload after another, each with an access point of its own, until no more ranges come."""

    def __init__(self, task: EventTask, where: Place, pace: Pace = PACE) -> None:
        self._task = task
        self._place = where
        self._pace = pace
        self._pause = Pause()
        self._share: Share | None = None
        self._bury: Callable[[], None] = lambda: None
        self._finishing = False
        self._now = 0.0

    @property
    def room(self) -> int:
        """How many ranges the payload asked for and was not given yet."""
        return self._share.room if self._share and not self._finishing else 0

    @property
    def held(self) -> Sequence[Leased]:
        """The ranges that wait or are with the payload, and those whose output is being looked at."""
        return self._share.held if self._share else ()

    @property
    def over(self) -> bool:
        """Whether no more ranges come and the payload has ended."""
        return self._finishing and self._share is None

    def give(self, leased: Leased, now: float) -> None:
        """Take a range; it is written for the payload with others that come soon."""
        if self._share:
            self._share.give(leased, now)

    def filenos(self) -> Sequence[int]:
        """Give none: nothing tells when a file on a shared file system changes."""
        return ()

    def next_event(self) -> float:
        """Steady seconds of the next look, or of the next payload's start."""
        if self._share:
            return self._share.next_event()
        return math.inf if self._finishing else self._pause.until

    def serve(self, now: float) -> Sequence[Outcome]:
        """Look, if it is time to, and give what came of ranges. Starts a payload, if there is none."""
        if self._share is None:
            if self._finishing or not self._pause.over(now):
                return ()
            self._start(now)
        return self._served(now)

    def finish(self, now: float) -> None:
        """Answer the next request with an empty list: there are no more."""
        self._finishing = True
        if self._share:
            self._share.finish(now)

    def stop(self, ranges: Sequence[Leased], reason: str, now: float) -> None:
        """Give back ranges that were not handed over; for others the process is ended, with all that it has."""
        if self._share:
            self._share.stop(ranges, reason, now)

    def _start(self, now: float) -> None:
        place = self._place
        mark = place.next_mark()
        self._bury = partial(place.bury, mark)
        setting = Setting(
            folder=f"{self._task.folder}/access.{'.'.join(mark.split('/')[-2:])}",
            environment=place.environment,
            mark=mark,
            pace=self._pace,
            scratch=place.folder,
            roots=_scratch(self._task, place),
            grace_s=place.grace_s,
        )
        self._share = start([self._task], setting, now)[self._task.job]

    def _served(self, now: float) -> Sequence[Outcome]:
        share = self._share
        if share is None:
            return ()
        outcomes = share.serve(now)
        if share.over:
            self._bury()
            self._share = None
            if share.fruitful:
                self._pause.succeeded()
            else:
                self._pause.failed(now)
        return outcomes


def _scratch(task: EventTask, place: Place) -> tuple[str, ...]:
    try:
        return (str(scratch(task.scratch, place.environment)),)
    except UnsafeName:
        return ()


def start(tasks: Sequence[EventTask], setting: Setting, now: float) -> Mapping[JobId, Share]:
    """Start one payload for one job or more, with a slot for each of the jobs. It never raises.

    What cannot be started has room for one range, which fails with the reason: so the head hears of it as it hears of
    all failures. Cores, environment and command are those of the first job.
    """
    worker = Worker(tasks, setting)
    worker.start(now)
    return {task.job: Share(worker, task.job) for task in tasks}


class Share:
    """A slot: the ranges of one job in a worker that was started. It is over with its payload."""

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
            *(outcome.leased for outcome in self._desk.outbox),
        ]

    @property
    def over(self) -> bool:
        """Whether the payload has ended and all outcomes were fetched."""
        return self._worker.over and not self._desk.outbox

    @property
    def fruitful(self) -> bool:
        """Whether anything came of a range."""
        return self._worker.fruitful

    def give(self, leased: Leased, now: float) -> None:
        """Take a range; it is written for the payload with others that come soon."""
        self._worker.give(self._job, leased, now)

    def filenos(self) -> Sequence[int]:
        """Give none, as `FilesSlot`."""
        return ()

    def next_event(self) -> float:
        """Steady seconds of the next look, or of the next piece of an output."""
        return -math.inf if self._desk.outbox else self._worker.next_event()

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
