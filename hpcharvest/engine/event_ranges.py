"""The care of event-service jobs: their ranges are acquired, fed, bundled and reported, until there are no more.

Everything follows from committed records: what is to be acquired from what allocations want, what is fed from what is
ready, what is reported from the bundles. So a start is nothing special, and neither is an end: whatever an allocation
took with it comes back.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from hpcharvest.clock import Clock
from hpcharvest.config.schema import Configuration, Queue
from hpcharvest.engine import event_tasks, events, launch, lifecycle, served
from hpcharvest.engine.acquiring import Acquiring
from hpcharvest.engine.batch_jobs import BatchJobs
from hpcharvest.engine.bundles import Bundles
from hpcharvest.engine.effects import Hands, Kind
from hpcharvest.engine.feeding import Feeding
from hpcharvest.engine.merging import Merged, Merging
from hpcharvest.engine.range_book import RangeBook
from hpcharvest.engine.range_reports import RangeReports
from hpcharvest.engine.turn import Turn
from hpcharvest.messenger.protocol import Record
from hpcharvest.messenger.ranges import ArchiveClosed, RangesFailed, RangesWanted
from hpcharvest.model import facts
from hpcharvest.model.allocation import Allocation
from hpcharvest.model.ids import AllocationId, Attempt, JobId
from hpcharvest.model.job import Job, PayloadOutcome
from hpcharvest.model.states import AllocationState, JobState, PayloadResult, RangeState
from hpcharvest.sizing.policy import Plan
from hpcharvest.sizing.ranges import Demand, capacity, plan_ranges
from hpcharvest.store.database import Database

logger = logging.getLogger(__name__)

NOTE_PAUSE_S, LATE_NOTE_PAUSE_S = 10.0, 600.0
"""Seconds before the runners of a job that is being stopped, or that is over, are told once more."""

EventJobs = tuple[tuple[JobId, Attempt], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Staff:
    """Who does the work."""

    book: RangeBook
    acquiring: Acquiring
    feeding: Feeding
    bundles: Bundles
    merging: Merging
    reports: RangeReports


class EventRanges:
    """What the loop does about event ranges."""

    def __init__(
        self, staff: Staff, *, configuration: Configuration, effects: BatchJobs, hands: Hands, clock: Clock
    ) -> None:
        self._staff = staff
        self._queues = configuration.queues
        self._patience = configuration.controller.patience
        self._effects = effects
        self._hands = hands
        self._clock = clock
        self._noted: dict[tuple[JobId, AllocationId], float] = {}

    def handlers(self) -> dict[type[Any], Callable[[Any, Turn], None]]:
        """Give what is done about each kind of event."""
        staff = self._staff
        return {
            events.RangesFetchFailed: lambda event, _: staff.acquiring.failed(event),
            events.RangesCounted: lambda event, _: staff.acquiring.counted(event),
            events.FeedWritten: lambda event, _: staff.feeding.written(event),
            events.BundleStored: staff.bundles.stored,
            events.BundleFailed: staff.bundles.store_failed,
            events.Salvaged: staff.bundles.salvaged,
            events.MergesPlanned: staff.merging.planned,
            events.RangesReported: self._reported,
            events.RangesUnreported: staff.reports.unreported,
            events.RangesUnasked: lambda event, _: staff.reports.unasked(event),
        }

    def recover(self, database: Database, jobs: Iterable[Job], allocations: Iterable[AllocationId]) -> None:
        """Bring to hand what an earlier process left."""
        known = [job.id for job in jobs if job.state is JobState.SERVED]
        files = self._staff.book.recover(known, allocations)
        self._staff.feeding.recover(files)
        self._staff.merging.recover(known)
        self._staff.acquiring.recover(known, [one.job for one in database.answers.unread() if one.job is not None])

    def fetched(self, event: events.Fetched) -> None:
        """Note an answer about ranges."""
        self._staff.acquiring.fetched(event)

    def parse(self, event: events.AnswerKept, turn: Turn) -> None:
        """Take in the ranges of a durable answer."""
        self._staff.acquiring.parse(event, turn)

    def take(self, record: Record, allocation: AllocationId, at: float, turn: Turn) -> None:
        """Take in what a runner told about ranges."""
        match record:
            case RangesWanted():
                turn.tell_allocation(
                    facts.RangesWanted(allocation=allocation, job=record.job, total=record.total, at=at)
                )
            case ArchiveClosed():
                self._staff.bundles.closed(record, allocation, turn)
            case RangesFailed():
                self._staff.bundles.failed(record, allocation, turn)
            case _:
                raise TypeError(f"{type(record).__name__} says nothing about event ranges")

    def decide(self, turn: Turn) -> None:
        """Decide what nobody asked for but the state of things."""
        self._serve(turn)
        self._staff.bundles.look_through(turn)
        for job in turn.mirror.served.values():
            if job.kill_requested:
                self._staff.bundles.give_up(job, turn)
            if self._stopping(job):
                self._staff.merging.give_up(job, turn)
            else:
                self._staff.feeding.feed(job, turn, more=not self._staff.acquiring.exhausted(job.id))
            self._finish(job, turn)
        self._staff.reports.pick(turn)

    def act(self, turn: Turn) -> None:
        """Set in motion what follows from what is committed."""
        staff = self._staff
        staff.reports.send()
        staff.feeding.write(turn)
        staff.bundles.stage(turn)
        for one in turn.changes.allocations.values():
            if one.state.final:
                staff.feeding.forget(one.id)
                for number, _ in one.event_jobs:
                    self._noted.pop((number, one.id), None)
        for job in turn.mirror.served.values():
            if not self._stopping(job) and job.queue in self._queues and not self._hands.holds("where ranges are"):
                staff.acquiring.ask(job, self._need(job, turn), staff.book)
        self._tell_runners(turn)
        staff.reports.settle(turn, staff.acquiring.unsure, staff.acquiring.busy)

    def follow(self, turn: Turn) -> None:
        """Take over what was committed. May be repeated."""
        self._staff.book.follow(turn.changes)
        self._staff.merging.follow(turn.changes)
        for job in turn.changes.jobs.values():
            if job.state.final:
                self._staff.acquiring.forget(job.id)

    def quiet(self, turn_jobs: Iterable[Job], allocations: Iterable[Allocation]) -> bool:
        """Whether nothing is left to do but to wait for others."""
        staff, live = self._staff, list(allocations)
        moving = staff.feeding.busy or staff.bundles.busy or staff.reports.busy or bool(staff.book.bundles)
        return not moving and not any(
            staff.acquiring.due(job.id, staff.feeding.need(job, live), staff.book) for job in turn_jobs
        )

    # --- for the care of allocations ------------------------------------------------------------------------------

    def companions(self, queue: str, turn: Turn) -> EventJobs:
        """Give the jobs of a queue whose ranges may fill what other jobs leave free in a new allocation."""
        return tuple((job.id, job.attempt) for job in self._open_jobs(queue, turn) if self._there_is(job))

    def needed(self, allocation: Allocation, turn: Turn) -> bool:
        """Whether an allocation that waits in the batch system has ranges to do."""
        jobs = ((turn.mirror.served.get(job), attempt) for job, attempt in allocation.event_jobs)
        return any(job is not None and job.attempt == attempt and not self._stopping(job) for job, attempt in jobs)

    def ended(self, allocation: Allocation, turn: Turn) -> None:
        """Let its jobs know that an allocation has ended, and what it was good for."""
        book = self._staff.book
        fresh = {one.job for one in turn.changes.outcomes if one.allocation == allocation.id}
        for job, attempt in allocation.event_jobs:
            fed = book.standing(allocation.id, job).fed
            started = allocation.state is AllocationState.RUNNING
            turn.tell(
                facts.AllocationLeft(
                    job=job,
                    attempt=attempt,
                    started=started,
                    useful=job in fresh or book.ended_in(allocation.id, job) > 0,
                    wished=bool(allocation.cancel_requested) or (started and not fed),
                    reason=allocation.batch_words or "the runner left",
                    at=turn.now,
                )
            )

    def plans(self, name: str, queue: Queue, alive: int, turn: Turn) -> list[Plan]:
        """Give the allocations to ask for, for the ranges that no other allocation is to do yet."""
        limits = launch.limits(queue.site)
        demands = self._demands(name, queue, turn)
        return list(plan_ranges(demands, alive, event_tasks.wish(queue, limits), limits))

    def _demands(self, name: str, queue: Queue, turn: Turn) -> list[Demand]:
        """Say how many ranges of which job no allocation is to do yet."""
        book, every = self._staff.book, self._open_jobs(name, turn)
        jobs = [job for job in every if not lifecycle.waits(job.not_before, turn.now, self._patience)]
        paces = {job.id: event_tasks.range_s(queue, book.pace(job.id)) for job in jobs}
        left = {
            job.id: book.number(job.id, RangeState.READY) + (self._staff.acquiring.available(job.id) or 0)
            for job in jobs
        }
        for one in turn.live_allocations():
            if one.queue == name and not one.gone_at and not one.cancel_requested:
                spare = self._spare(one, queue, paces)
                for job in jobs:  # of those that it does not know, and of those that it has the last of, it gets none
                    takes = (job.id, job.attempt) in one.event_jobs and not book.standing(one.id, job.id).last
                    does = min(left[job.id], spare) if takes else 0
                    left[job.id], spare = left[job.id] - does, spare - does
        return [Demand(job=job, ranges=ranges, range_s=paces[job]) for job, ranges in left.items()]

    def _spare(self, allocation: Allocation, queue: Queue, paces: Mapping[JobId, float]) -> int:
        """Say how many ranges an allocation can do beyond what it was fed, if they are like the slowest of its jobs."""
        mine = [job for job, _ in allocation.event_jobs if job in paces]
        if not mine:
            return 0
        slowest = max(paces[job] for job in mine)
        does = capacity(allocation.shape, event_tasks.slot(queue), slowest, launch.limits(queue.site))
        return max(0, does - sum(self._staff.book.standing(allocation.id, job).fed for job, _ in allocation.event_jobs))

    # --- its own --------------------------------------------------------------------------------------------------

    def _open_jobs(self, queue: str, turn: Turn) -> list[Job]:
        mine = [job for job in turn.mirror.served.values() if job.queue == queue and not self._stopping(job)]
        return sorted(mine, key=lambda job: (-job.spec.priority, job.received_at, job.id))

    def _there_is(self, job: Job) -> bool:
        ready = self._staff.book.number(job.id, RangeState.READY)
        return bool(ready or self._staff.acquiring.available(job.id) or 0)

    def _stopping(self, job: Job) -> bool:
        return bool(job.kill_requested or served.out_of_patience(job, self._patience))

    def _need(self, job: Job, turn: Turn) -> int:
        return self._staff.feeding.need(job, turn.live_allocations())

    def _serve(self, turn: Turn) -> None:
        """Begin with jobs whose inputs are here."""
        for job in turn.mirror.unserved.values():
            queue = self._queues.get(job.queue)
            if queue is None:
                continue
            if reason := event_tasks.why_never(job.spec, queue):
                turn.tell(facts.Unfit(job=job.id, reason=reason, at=turn.now))
            else:
                turn.tell(facts.Served(job=job.id, attempt=Attempt(job.attempt + 1), at=turn.now))

    def _finish(self, job: Job, turn: Turn) -> None:
        """End a job of which nothing is left: neither here, nor with PanDA, nor to be told, nor to be merged."""
        book, over = self._staff.book, self._over(job, turn)
        merged = Merged() if self._stopping(job) else self._staff.merging.look(job, turn, over=over)
        if merged is None or not over:
            return
        finished, total = book.number(job.id, RangeState.FINISHED), book.number(job.id)
        reason = served.out_of_patience(job, self._patience)
        if not reason and total and not finished:
            reason = f"none of its {total} event ranges finished"
        said = f"{finished} of {total} event ranges finished{merged.words}"
        logger.info("job %s: %s, and there are no more", job.id, said)
        outcome = PayloadOutcome(
            result=PayloadResult.FAILED if reason else PayloadResult.DONE,
            reason=reason or said,
            started_at=job.since,
            ended_at=turn.now,
        )
        fact = facts.RangesOver(job=job.id, attempt=job.attempt, outcome=outcome, stored=merged.stored, at=turn.now)
        turn.tell(fact)

    def _over(self, job: Job, turn: Turn) -> bool:
        """Whether no range of a job will finish any more, and PanDA knows of all that did."""
        book, changes = self._staff.book, turn.changes
        moved = {one.job for one in changes.new_ranges} | {one.job for one in changes.outcomes}
        moved |= {one.job for one in changes.feeds} | {one.job for one in changes.bundles.values()}
        unsettled = changes.released or job.id in moved or book.open_bundles(job.id)
        if unsettled or turn.job(job.id) is not job:
            return False
        left = book.number(job.id, RangeState.READY, RangeState.FED)
        return self._stopping(job) or not (left or not self._staff.acquiring.exhausted(job.id))

    def _tell_runners(self, turn: Turn) -> None:
        """Leave notes in every allocation that runs, about those of its jobs whose ranges nobody wants any more.

        Also about those that are over: one that was just starting then, or a note that got lost, would else keep its
        nodes waiting for ranges until its walltime.
        """
        now = self._clock.steady()
        for one in turn.mirror.allocations.values():
            if one.state is not AllocationState.RUNNING or one.gone_at:
                continue
            for number, attempt in one.event_jobs:
                job, key = turn.mirror.served.get(number), (number, one.id)
                here = job is not None and job.attempt == attempt
                if (here and job and not self._stopping(job)) or now < self._noted.get(key, 0.0):
                    continue
                self._noted[key] = now + (NOTE_PAUSE_S if here else LATE_NOTE_PAUSE_S)
                note = partial(self._effects.leave_note, number, attempt, one.id)
                self._hands.carry_out(Kind.NOTE, ("stop", number, attempt, one.id), note)

    def _reported(self, event: events.RangesReported, turn: Turn) -> None:
        self._staff.reports.reported(event, turn)
        if event.lost is not None:
            self._staff.acquiring.unsure.discard(event.job)
