"""Bundles: what the runners tell of event ranges becomes bundles, and their archives go to their destination.

An archive is brought away while its allocation goes on, by a Parsl DAG of its own. One that is lost, or is not what it
was, gives its ranges back. When an allocation has ended, what its nodes left unsaid is salvaged from its folder first;
then the ranges of which nothing is known are ready again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from hpcharvest.apps.archive import ArchiveTicket
from hpcharvest.apps.folders import Folders
from hpcharvest.apps.ticket import Ticket
from hpcharvest.clock import Clock
from hpcharvest.config.schema import Configuration
from hpcharvest.engine import launch, lifecycle
from hpcharvest.engine.effects import Hands, Kind
from hpcharvest.engine.events import BundleFailed, BundleStored, Event, Salvaged
from hpcharvest.engine.range_book import RangeBook
from hpcharvest.engine.turn import Turn
from hpcharvest.errors import HarvestError, IllegalTransition, StorageUnavailable
from hpcharvest.messenger.protocol import Record
from hpcharvest.messenger.ranges import ARCHIVES, ArchiveClosed, RangesFailed
from hpcharvest.model.event_range import Bundle, RangeOutcome
from hpcharvest.model.facts import RangesEnded
from hpcharvest.model.ids import AllocationId, Attempt, BundleId
from hpcharvest.model.job import Job
from hpcharvest.model.states import BUNDLE_LIFE, BundleState, JobState, RangeState
from hpcharvest.model.words import counted
from hpcharvest.store.changes import Outcomes
from hpcharvest.store.database import Database

logger = logging.getLogger(__name__)

SALVAGE_TRIES = 20
"""How often an ended allocation's folder is looked through that cannot be, with ever longer pauses, so that a file
system may be away for hours; then its ranges are done again."""
STAGING = 16
"""Bundles that are staged out at once at the most: more would only wait in Parsl."""

Salvage = Callable[[Path, Collection[str], Collection[str]], Sequence[Record]]
"""Makes closed archives, and tells failures, of what nodes left in an allocation's folder; archives of these names, and
outcomes of these ranges, are known already. May be repeated, with the same result."""


def moved(bundle: Bundle, state: BundleState, at: float, **changes: Any) -> Bundle:
    """Give a bundle as it is in another state. IllegalTransition: its life does not lead there."""
    if state not in BUNDLE_LIFE[bundle.state]:
        raise IllegalTransition(f"bundle {bundle.id} cannot go from {bundle.state} to {state}")
    return replace(bundle, state=state, since=at, **changes)


class Bundles:
    """Looks after bundles until PanDA may be told of them."""

    def __init__(
        self,
        *,
        configuration: Configuration,
        database: Database,
        folders: Folders,
        book: RangeBook,
        start: Callable[[ArchiveTicket], None],
        salvage: Salvage,
        hands: Hands,
        events: SimpleQueue[Event],
        clock: Clock,
    ) -> None:
        self._patience = configuration.controller.patience
        self._storages = {name: launch.storage(queue) for name, queue in configuration.queues.items()}
        self._database = database
        self._folders = folders
        self._book = book
        self._start = start
        self._salvage = salvage
        self._hands = hands
        self._events = events
        self._clock = clock
        self._next = BundleId(database.bundles.last_id() + 1)
        self._staging: set[BundleId] = set()
        self._salvages: dict[AllocationId, tuple[int, float]] = {}
        """By allocation: how often it was looked through, and the steady seconds when it may be again."""

    @property
    def busy(self) -> bool:
        """Whether an archive is on its way, or an allocation to be looked through."""
        return bool(self._staging or self._salvages)

    def archive(self, allocation: AllocationId) -> Path:
        """Give the folder of an allocation's archives."""
        return self._folders.allocation(allocation) / ARCHIVES

    def closed(self, record: ArchiveClosed, allocation: AllocationId, turn: Turn) -> None:
        """Take in an archive: its ranges are finished, if they were fed there and nobody told of them before."""
        job = self._job(record, allocation, turn)
        if job is None or not record.ranges or self._known(allocation, record.name, turn):
            return
        if "/" in record.name or record.name in {"", ".", ".."}:
            logger.error("allocation %s: %r is no name of an archive; it is left alone", allocation, record.name[:100])
            return
        outcomes = tuple(
            RangeOutcome(id=one.id, state=RangeState.FINISHED, cpu_s=one.cpu_s, cores=one.cores)
            for one in record.ranges
        )
        bundle = Bundle(
            id=self._number(),
            job=job.id,
            allocation=allocation,
            archive=record.name,
            size=record.size,
            adler32=record.adler32,
            ranges=len(outcomes),
            wall_s=sum(one.wall_s for one in record.ranges),
            since=turn.now,
        )
        self._take(bundle, outcomes, job.attempt, turn)

    def failed(self, record: RangesFailed, allocation: AllocationId, turn: Turn) -> None:
        """Take in failures, of which PanDA is told at once."""
        job = self._job(record, allocation, turn)
        if job is None or not record.ranges:
            return
        outcomes = tuple(
            RangeOutcome(
                id=one.id,
                state=RangeState.FATAL if one.fatal else RangeState.FAILED,
                error=f"{one.error} (on {one.node})" if one.node else one.error,
            )
            for one in record.ranges
        )
        bundle = Bundle(
            id=self._number(),
            job=job.id,
            allocation=allocation,
            ranges=len(outcomes),
            state=BundleState.STORED,
            since=turn.now,
        )
        self._take(bundle, outcomes, job.attempt, turn)

    def stage(self, turn: Turn) -> None:
        """Let archives go to their destination, as many at once as is good."""
        for bundle in self._book.bundles.values():
            if len(self._staging) >= STAGING:
                return
            if bundle.state is not BundleState.CLOSED or bundle.id in self._staging:
                continue
            job = turn.mirror.served.get(bundle.job)
            storage = self._storages.get(job.queue) if job else None
            if job is None or storage is None or lifecycle.waits(bundle.not_before, turn.now, self._patience):
                continue
            self._staging.add(bundle.id)
            ticket = Ticket(spec=job.spec, folders=self._folders, storage=storage)
            source = self.archive(bundle.allocation) / bundle.archive
            self._start(ArchiveTicket(ticket=ticket, bundle=bundle, source=source))

    def stored(self, event: BundleStored, turn: Turn) -> None:
        """Note that an archive is where it belongs."""
        self._staging.discard(event.bundle)
        bundle = self.now(event.bundle, turn)
        if bundle is not None and bundle.state is BundleState.CLOSED:
            logger.info("job %s: archive %s is at %s", bundle.job, bundle.archive, event.url)
            self.move(bundle, turn, BundleState.STORED, url=event.url, tries=0, not_before=0.0, problem="")

    def store_failed(self, event: BundleFailed, turn: Turn) -> None:
        """Give the ranges of a lost archive back; let any other wait, however long it takes."""
        self._staging.discard(event.bundle)
        bundle = self.now(event.bundle, turn)
        if bundle is None or bundle.state is not BundleState.CLOSED:
            return
        if event.lost:
            logger.error("job %s: %s; its %d event ranges are done again", bundle.job, event.reason, bundle.ranges)
            self.move(bundle, turn, BundleState.LOST, problem=event.reason)
            return
        tries = bundle.tries + 1
        wait = turn.now + lifecycle.backoff(self._patience, tries)
        logger.warning("archive %s: %s; will try again", bundle.archive, event.reason)
        turn.changes.bundles[bundle.id] = replace(bundle, tries=tries, not_before=wait, problem=event.reason)

    def look_through(self, turn: Turn) -> None:
        """Salvage what ended allocations left unsaid."""
        now = self._clock.steady()
        for number in self._book.allocations_with_fed():
            if number in turn.changes.allocations or number in turn.changes.released:
                continue  # its end, and what its journal told last, are to be committed first
            allocation = turn.allocation(number)
            if allocation is not None and not allocation.state.final:
                continue
            tries, due = self._salvages.get(number, (0, 0.0))
            if tries >= SALVAGE_TRIES:
                logger.error("allocation %s: its folder cannot be looked through; its event ranges go on", number)
                self._release(number, turn)
            elif now >= due and not self._hands.holds(("salvage", number)):
                self._salvages[number] = (tries + 1, now + lifecycle.backoff(self._patience, tries + 1))
                self._hands.carry_out(Kind.SWEEP, ("salvage", number), partial(self._salvage_all, number))

    def salvaged(self, event: Salvaged, turn: Turn) -> None:
        """Take in what was salvaged; what is left is ready again."""
        if event.records:
            logger.info("allocation %s: %d records were salvaged", event.allocation, len(event.records))
        for record in event.records:
            if isinstance(record, ArchiveClosed):
                self.closed(record, event.allocation, turn)
            elif isinstance(record, RangesFailed):
                self.failed(record, event.allocation, turn)
        self._release(event.allocation, turn)

    def give_up(self, job: Job, turn: Turn) -> None:
        """Bring no more archives away, of a job that is stopped, and tell of none whose queue nobody configures."""
        states = [BundleState.CLOSED] if job.queue in self._storages else [BundleState.CLOSED, BundleState.STORED]
        for bundle in self._book.open_bundles(job.id, *states):
            if bundle.id not in self._staging and bundle.id not in turn.changes.bundles:
                self.move(bundle, turn, BundleState.LOST, problem="its job was stopped")

    def now(self, bundle: BundleId, turn: Turn) -> Bundle | None:
        """Give a bundle as it is in this turn."""
        return turn.changes.bundles.get(bundle) or self._book.bundles.get(bundle)

    def move(self, bundle: Bundle, turn: Turn, state: BundleState, **changes: object) -> None:
        """Let a bundle come into a state that its life leads to."""
        turn.changes.bundles[bundle.id] = moved(bundle, state, turn.now, **changes)

    def _job(self, record: ArchiveClosed | RangesFailed, allocation: AllocationId, turn: Turn) -> Job | None:
        """Give the job that a record is about, if its ranges are still being done, by this allocation among others."""
        job, here = turn.job(record.job), turn.allocation(allocation)
        if job is None or job.state is not JobState.SERVED or here is None:
            return None
        return job if (job.id, job.attempt) in here.event_jobs else None

    def _known(self, allocation: AllocationId, name: str, turn: Turn) -> bool:
        new = (one for one in turn.changes.bundles.values() if one.allocation == allocation)
        return any(one.archive == name for one in new) or self._database.bundles.has_archive(allocation, name)

    def _number(self) -> BundleId:
        number = self._next
        self._next = BundleId(number + 1)
        return number

    def _take(self, bundle: Bundle, outcomes: tuple[RangeOutcome, ...], attempt: Attempt, turn: Turn) -> None:
        what = f"went into archive {bundle.archive}" if bundle.archive else f"failed, such as by {outcomes[0].error!r}"
        many = counted(bundle.ranges, "event range")
        logger.info("job %s: %s of allocation %s %s", bundle.job, many, bundle.allocation, what)
        turn.changes.bundles[bundle.id] = bundle
        turn.changes.outcomes.append(
            Outcomes(job=bundle.job, allocation=bundle.allocation, bundle=bundle.id, outcomes=outcomes)
        )
        turn.tell(RangesEnded(job=bundle.job, attempt=attempt, at=turn.now))

    def _release(self, allocation: AllocationId, turn: Turn) -> None:
        self._salvages.pop(allocation, None)
        turn.changes.released.append(allocation)

    def _salvage_all(self, number: AllocationId) -> None:
        folder = self._folders.allocation(number)
        try:
            archives = self._database.bundles.archives(number)
            ranges = self._database.event_ranges.ended_in(number)
            here = folder.is_dir()
            if not here and not self._folders.allocations.is_dir():
                raise StorageUnavailable(f"{self._folders.allocations} is not there")
            records = tuple(self._salvage(folder, archives, ranges)) if here else ()
        except (HarvestError, OSError) as error:
            logger.warning("allocation %s cannot be looked through: %s; will try again", number, error)
        else:
            self._events.put(Salvaged(allocation=number, records=records, at=self._clock.wall()))
