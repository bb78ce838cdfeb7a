"""Feeding: which event ranges go to which allocation, and the files by which they get there.

That ranges are fed is committed first; the file is written then, and may be written again, since what it has follows
from the database. One that is there is never changed: its runner may have read it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from functools import partial
from queue import SimpleQueue

from hpcharvest.apps.folders import Folders
from hpcharvest.clock import Clock
from hpcharvest.config.schema import Configuration
from hpcharvest.engine import event_tasks
from hpcharvest.engine.effects import Hands, Kind
from hpcharvest.engine.events import Event, FeedWritten
from hpcharvest.engine.range_book import RangeBook
from hpcharvest.engine.turn import Turn
from hpcharvest.errors import HarvestError
from hpcharvest.messenger.mailbox import Mailbox
from hpcharvest.messenger.ranges import FEED, Feed, feed_name
from hpcharvest.model.allocation import Allocation
from hpcharvest.model.ids import AllocationId, JobId
from hpcharvest.model.job import Job
from hpcharvest.model.states import AllocationState, RangeState
from hpcharvest.store.changes import Fed
from hpcharvest.store.database import Database
from hpcharvest.store.event_ranges import FeedFile

logger = logging.getLogger(__name__)

AT_ONCE = 5_000
"""Ranges in one file of a feed at the most."""
FILES = 10
"""Files of one feed in one turn at the most."""
WRITE_PAUSE_S = 5.0
"""Seconds before a file that could not be written is tried again."""

FeedKey = tuple[AllocationId, JobId, int]


class Feeding:
    """Gives ranges to allocations that have work for them."""

    def __init__(
        self,
        *,
        configuration: Configuration,
        database: Database,
        folders: Folders,
        book: RangeBook,
        hands: Hands,
        events: SimpleQueue[Event],
        clock: Clock,
    ) -> None:
        self._queues = configuration.queues
        self._database = database
        self._folders = folders
        self._book = book
        self._hands = hands
        self._events = events
        self._clock = clock
        self._unwritten: dict[FeedKey, float] = {}
        """Files that were committed and may not be there yet: steady seconds when to try next."""

    @property
    def busy(self) -> bool:
        """Whether a file is to be written."""
        return bool(self._unwritten)

    def recover(self, files: Iterable[FeedFile]) -> None:
        """Look after files that an earlier process committed, and may not have written."""
        for file in files:
            self._unwritten[_key(file)] = 0.0

    def need(self, job: Job, allocations: Iterable[Allocation]) -> int:
        """Say how many ranges of a job its allocations have work for, beyond what they were fed.

        One that does not run yet is to find a first helping ready.
        """
        return sum(
            self._hunger(one, job.id)
            for one in allocations
            if (job.id, job.attempt) in one.event_jobs and not one.gone_at and not one.cancel_requested
        )

    def feed(self, job: Job, turn: Turn, *, more: bool) -> None:
        """Feed a job's ranges to the allocations that run. `more`: whether PanDA may have others."""
        ready = self._book.number(job.id, RangeState.READY)
        done = not more and not turn.changes.new_ranges
        for allocation in turn.live_allocations():
            if _takes(allocation, job):
                files = list(self._files(allocation, job.id, ready, done=done))
                ready -= sum(one.size for one in files)
                turn.changes.feeds += files

    def _files(self, allocation: Allocation, job: JobId, ready: int, *, done: bool) -> Iterator[Fed]:
        """Give the files that an allocation is to get now. `done`: nothing follows what is `ready`."""
        standing = self._book.standing(allocation.id, job)
        left = min(self._hunger(allocation, job), ready, AT_ONCE * FILES)
        number, first = standing.number, standing.fed
        ends = done and left == ready and not standing.last
        while left or ends:
            size = min(left, AT_ONCE)
            left -= size
            last = ends and not left
            ends = ends and not last
            yield Fed(job=job, allocation=allocation.id, number=number, first=first, size=size, last=last)
            number, first = number + 1, first + size

    def write(self, turn: Turn) -> None:
        """Write what was committed, and what could not be written before."""
        now = self._clock.steady()
        for fed in turn.changes.feeds:
            self._unwritten[fed.allocation, fed.job, fed.number] = 0.0
        for key, due in self._unwritten.items():
            if now >= due and not self._hands.holds(("feed", key)):
                self._unwritten[key] = now + WRITE_PAUSE_S
                self._hands.carry_out(Kind.NOTE, ("feed", key), partial(self._write, key))

    def written(self, event: FeedWritten) -> None:
        """Note that a file is there."""
        self._unwritten.pop(_key(event.file), None)

    def forget(self, allocation: AllocationId) -> None:
        """Write no more for an allocation that has ended."""
        for key in [one for one in self._unwritten if one[0] == allocation]:
            del self._unwritten[key]

    def _hunger(self, allocation: Allocation, job: JobId) -> int:
        """Say how many more ranges an allocation has work for; of one that did not say yet, for its start."""
        queue = self._queues.get(allocation.queue)
        standing = self._book.standing(allocation.id, job)
        if queue is None or standing.last:
            return 0
        first = event_tasks.first_helping(queue, allocation.shape)
        return max(0, max(dict(allocation.wanted).get(job, 0), first) - standing.fed)

    def _write(self, key: FeedKey) -> None:
        allocation, job, number = key
        mailbox = Mailbox(self._folders.allocation(allocation))
        try:
            file = self._database.event_ranges.feed_file(*key)
            if file is not None:
                if not (mailbox.folder / FEED / feed_name(job, number)).exists():
                    ranges = self._database.event_ranges.fed(file)
                    mailbox.feed(Feed(job=job, number=number, first=file.first, ranges=ranges, last=file.last))
                self._events.put(FeedWritten(file=file))
        except (HarvestError, OSError) as error:
            logger.warning("allocation %s: event ranges cannot be fed: %s; will try again", allocation, error)


def _takes(allocation: Allocation, job: Job) -> bool:
    """Whether an allocation takes ranges of a job now."""
    live = allocation.state is AllocationState.RUNNING and not allocation.gone_at and not allocation.cancel_requested
    return live and (job.id, job.attempt) in allocation.event_jobs


def _key(file: FeedFile) -> FeedKey:
    return file.allocation, file.job, file.number
