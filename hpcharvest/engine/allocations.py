"""The care of allocations: planned, submitted, read, cancelled, closed."""

from __future__ import annotations

import logging
import secrets
from dataclasses import replace

from hpcharvest.clock import Clock
from hpcharvest.config.schema import Configuration, Queue
from hpcharvest.engine import launch, lifecycle
from hpcharvest.engine.batch_jobs import BatchJobs
from hpcharvest.engine.effects import Hands, Kind
from hpcharvest.engine.event_ranges import EventJobs, EventRanges
from hpcharvest.engine.events import SegmentArrived
from hpcharvest.engine.strays import tag_of
from hpcharvest.engine.turn import Turn
from hpcharvest.engine.watch import Watch
from hpcharvest.errors import StoreError
from hpcharvest.messenger.protocol import Closed, PayloadEnded, PayloadStarted, Record, RunnerLeft, RunnerStarted
from hpcharvest.messenger.ranges import ArchiveClosed, RangesFailed, RangesWanted
from hpcharvest.model import facts
from hpcharvest.model.allocation import Allocation
from hpcharvest.model.commands import CancelBatch, CloseJournal, Submit
from hpcharvest.model.ids import AllocationId, Attempt, JobId
from hpcharvest.model.job import Job
from hpcharvest.model.states import AllocationState, JobState, PayloadResult
from hpcharvest.sizing.policy import Candidate, Limits, Plan, plan, why_never

logger = logging.getLogger(__name__)

CLOSE_PAUSE_S = 5.0
"""Seconds before the end of an allocation is tried to be won once more."""
CANCEL_PAUSE_S = 10.0
"""Seconds before a batch job that is still alive is cancelled once more."""
WITHDRAW_PAUSE_S = 1.0
"""Seconds between two searches for allocations that nobody needs any more."""


class Allocations:
    """Everything that is done about allocations; the loop's side."""

    def __init__(
        self,
        *,
        configuration: Configuration,
        effects: BatchJobs,
        ranges: EventRanges,
        watch: Watch,
        hands: Hands,
        clock: Clock,
        first: AllocationId,
    ) -> None:
        self._configuration = configuration
        self._patience = configuration.controller.patience
        self._effects = effects
        self._ranges = ranges
        self._watch = watch
        self._hands = hands
        self._clock = clock
        self._next = first
        self._cancelled: dict[AllocationId, float] = {}
        self._closing: dict[AllocationId, float] = {}
        self._heard: set[AllocationId] = set()
        """Allocations of which the batch system spoke to this very process: no older word may end them."""
        self._planned: dict[str, float] = {}
        """By queue: steady seconds when it was served last."""
        self._look_again: dict[str, float] = {}
        """By queue: steady seconds until which its waiting jobs wait for company."""
        self._next_withdrawal = 0.0

    def plan(self, turn: Turn) -> float:
        """Put waiting jobs into new allocations; give the seconds after which to look again."""
        now = self._clock.steady()
        fairly = sorted(turn.mirror.queued.items(), key=lambda item: self._planned.get(item[0], 0.0))
        for name, waiting in fairly:  # queues may share a site: the one that was served longest ago comes first
            queue = self._configuration.queues.get(name)
            if queue is None or not waiting:
                self._look_again.pop(name, None)
                continue
            limits = launch.limits(queue.site)
            live = turn.live_allocations()
            alive = sum(1 for one in live if self.site(one) == queue.site.name and not one.gone_at)
            if alive >= limits.max_allocations:
                self._look_again.pop(name, None)
                continue
            if name not in self._look_again:
                self._look_again[name] = now + self._for_company(waiting, limits, turn)
            if now >= self._look_again[name] or len(waiting) >= limits.max_jobs:
                self._look_again.pop(name)
                self._plan(name, queue, limits, alive, turn)
        return min(self._look_again.values(), default=float("inf")) - now

    def plan_for_ranges(self, turn: Turn) -> None:
        """Ask for allocations for the event ranges that no other is to do."""
        for name in {job.queue for job in turn.mirror.served.values()}:
            queue = self._configuration.queues.get(name)
            if queue is None:
                continue
            alive = sum(1 for one in turn.live_allocations() if self.site(one) == queue.site.name and not one.gone_at)
            for one in self._ranges.plans(name, queue, alive, turn):
                wanted = ((job, turn.job(job)) for job in one.jobs)
                event_jobs = tuple((number, job.attempt) for number, job in wanted if job is not None)
                self._intend(replace(one, jobs=()), name, turn, event_jobs)

    def _for_company(self, waiting: dict[JobId, Job], limits: Limits, turn: Turn) -> float:
        """Give the seconds for which waiting jobs wait for company; what they waited for an earlier process counts."""
        ready = [job.since for job in waiting.values() if not lifecycle.waits(job.not_before, turn.now, self._patience)]
        waited = turn.now - min(ready, default=turn.now)
        return min(max(limits.linger_s - waited, 0.0), limits.linger_s)

    def follow(self, allocation: Allocation) -> None:
        """Look after an allocation that is alive, and no more after one that is over."""
        if allocation.state.final:
            self._watch.forget(allocation.id)
            self._cancelled.pop(allocation.id, None)
            self._closing.pop(allocation.id, None)
            self._heard.discard(allocation.id)
        elif allocation.state is not AllocationState.INTENDED or allocation.submissions:
            self._watch.follow(allocation, self.site(allocation), self._effects.mailbox(allocation.id))

    def begin(self, turn: Turn) -> None:
        """Find which allocations are to be submitted, and commit that they may exist from now on."""
        for allocation in turn.live_allocations():
            command = lifecycle.next_allocation_command(allocation, turn.now, self._patience)
            if isinstance(command, Submit) and not self._hands.holds(command):
                turn.tell_allocation(facts.SubmissionBegun(allocation=allocation.id, at=turn.now))

    def issue(self, allocation: Allocation, turn: Turn, *, begun: bool) -> None:
        """Carry out what follows from an allocation's committed state. `begun`: its submission was just announced."""
        command = lifecycle.next_allocation_command(allocation, turn.now, self._patience)
        if isinstance(command, Submit) and begun:
            jobs = [
                job for number, _ in allocation.jobs if (job := turn.job(number)) and job.allocation == allocation.id
            ]
            jobs += [job for number, _ in allocation.event_jobs if (job := turn.mirror.served.get(number))]
            self._hands.carry_out(Kind.BATCH, command, lambda: self._effects.submit(allocation, jobs))
        elif isinstance(command, CloseJournal):
            self._issue_close(command, allocation, turn)
        elif isinstance(command, CancelBatch) and turn.now >= self._cancelled.get(allocation.id, 0.0):
            self._cancelled[allocation.id] = turn.now + CANCEL_PAUSE_S
            self._hands.carry_out(Kind.BATCH, command, lambda: self._effects.cancel(allocation))

    def heard(self, fact: facts.BatchReported) -> None:
        """Note that the batch system spoke of an allocation to this process."""
        self._heard.add(fact.allocation)

    def name_ends(self, turn: Turn) -> None:
        """Name the ends of allocations whose runner left something undone, once the batch system has said why."""
        for allocation in turn.live_allocations():
            if lifecycle.may_be_named(allocation, turn.now, self._patience):
                outcome = lifecycle.how_it_ended(allocation, finished=False, payload_failed=False)
                self._ranges.ended(allocation, turn)
                turn.tell_allocation(facts.JournalClosed(allocation=allocation.id, outcome=outcome, at=turn.now))

    def _issue_close(self, command: CloseJournal, allocation: Allocation, turn: Turn) -> None:
        """Win the end of an allocation, but not on what the batch system told an earlier process."""
        asked_for = allocation.state is not AllocationState.INTENDED and self.site(allocation)
        known = not asked_for or allocation.id in self._heard
        if known and turn.now >= self._closing.get(allocation.id, 0.0):
            self._closing[allocation.id] = turn.now + CLOSE_PAUSE_S
            self._watch.follow(allocation, self.site(allocation), self._effects.mailbox(allocation.id))
            self._hands.carry_out(Kind.BATCH, command, lambda: self._effects.close(allocation))

    def stop_payload(self, job: JobId, attempt: Attempt, allocation: AllocationId) -> None:
        """Leave a note for the runner."""
        self._hands.carry_out(
            Kind.NOTE, ("stop", job, attempt), lambda: self._effects.leave_note(job, attempt, allocation)
        )

    def read(self, event: SegmentArrived, turn: Turn) -> None:
        """Let a segment of an allocation's journal become facts."""
        allocation = turn.allocation(event.allocation)
        if allocation is None or allocation.state.final or event.segment.number != allocation.next_segment:
            return
        turn.tell_allocation(facts.SegmentRead(allocation=allocation.id, number=event.segment.number, at=event.at))
        for record in event.segment.records:
            try:
                self._tell(record, allocation.id, event.at, turn)
            except StoreError:
                raise
            except Exception:
                # One record that breaks must not take the others with it, the closing one least of all.
                logger.exception("allocation %s: %r could not be taken in", allocation.id, record)

    def withdraw_empty(self, turn: Turn) -> None:
        """Withdraw what waits in the batch system for jobs that are all to be stopped."""
        if self._clock.steady() < self._next_withdrawal:
            return
        self._next_withdrawal = self._clock.steady() + WITHDRAW_PAUSE_S
        for allocation in turn.mirror.allocations.values():
            if allocation.state is AllocationState.RUNNING or allocation.cancel_requested:
                continue
            jobs = [job for number, _ in allocation.jobs if (job := turn.mirror.jobs.get(number))]
            if not self._ranges.needed(allocation, turn) and not any(
                job.allocation == allocation.id and not job.kill_requested for job in jobs
            ):
                by = "its jobs, none of which is wanted any more"
                turn.tell_allocation(facts.CancelAsked(allocation=allocation.id, by=by, at=turn.now))

    def _plan(self, name: str, queue: Queue, limits: Limits, alive: int, turn: Turn) -> None:
        self._planned[name] = self._clock.steady()
        candidates = self._candidates(turn.mirror.queued[name], queue, turn)
        for one in plan(candidates, alive, limits, turn.now):
            self._intend(one, name, turn, self._ranges.companions(name, turn))

    def _candidates(self, waiting: dict[JobId, Job], queue: Queue, turn: Turn) -> list[Candidate]:
        """Give the jobs that may be given to an allocation, best first; those that can never run are told so."""
        limits = launch.limits(queue.site)
        found = []
        for job in sorted(waiting.values(), key=_urgency):
            if (job.id in turn.changes.jobs and turn.changes.jobs[job.id].state is not JobState.QUEUED) or (
                lifecycle.waits(job.not_before, turn.now, self._patience)
            ):
                continue
            footprint = launch.size(job.spec, queue)
            if reason := why_never(footprint, limits):
                turn.tell(facts.Unfit(job=job.id, reason=reason, at=turn.now))
                continue
            found.append(Candidate(job=job.id, footprint=footprint, since=job.since, setbacks=_setbacks(job)))
        return found

    def _intend(self, planned: Plan, queue: str, turn: Turn, event_jobs: EventJobs) -> None:
        number = self._next
        self._next = AllocationId(number + 1)
        jobs = []
        for job_id in planned.jobs:
            job = turn.job(job_id)
            if job is None:
                continue
            attempt = Attempt(job.attempt + 1)
            turn.tell(facts.Assigned(job=job_id, attempt=attempt, allocation=number, at=turn.now))
            jobs.append((job_id, attempt))
        turn.intend(
            Allocation(
                id=number,
                queue=queue,
                shape=planned.shape,
                tag=tag_of(self._configuration.controller.harvester_id, number, secrets.token_hex(3)),
                jobs=tuple(jobs),
                event_jobs=event_jobs,
                since=turn.now,
                created_at=turn.now,
            ),
            planned.reason,
        )

    def _tell(self, record: Record, number: AllocationId, at: float, turn: Turn) -> None:
        match record:
            case PayloadStarted():
                turn.tell(facts.PayloadStarted(job=record.job, attempt=record.attempt, node=record.node, at=at))
            case PayloadEnded() if self._withdrawn(record, number, turn):
                reason = "its allocation was withdrawn"
                turn.tell(facts.PayloadLost(job=record.job, attempt=record.attempt, reason=reason, wished=True, at=at))
            case PayloadEnded():
                turn.tell(facts.PayloadEnded(job=record.job, attempt=record.attempt, outcome=record.outcome, at=at))
            case RunnerStarted():
                turn.tell_allocation(
                    facts.RunnerStarted(allocation=number, batch_id=record.batch_id, nodes=record.nodes, at=at)
                )
            case RangesWanted() | ArchiveClosed() | RangesFailed():
                self._ranges.take(record, number, at, turn)
            case RunnerLeft() | Closed():
                self._closed(number, record, at, turn)

    def _withdrawn(self, record: PayloadEnded, number: AllocationId, turn: Turn) -> bool:
        """Whether a payload was not run because somebody withdrew its allocation."""
        allocation = turn.allocation(number)
        return record.outcome.result is PayloadResult.NOT_RUN and bool(allocation and allocation.cancel_requested)

    def _closed(self, number: AllocationId, last: RunnerLeft | Closed, at: float, turn: Turn) -> None:
        """Nothing can follow: name the end, and let go of the jobs whose outcome will never come."""
        allocation = turn.allocation(number)
        if allocation is None:
            return
        jobs = [(job, attempt) for number, attempt in allocation.jobs if (job := turn.job(number))]
        mine = [job for job, attempt in jobs if job.allocation == allocation.id and job.attempt == attempt]
        lost = [job for job in mine if job.state in {JobState.ASSIGNED, JobState.RUNNING}]
        failed = any(job.outcome and job.outcome.result in _PAYLOAD_FAILURES for job in mine)
        finished = isinstance(last, RunnerLeft) and len(mine) == len(allocation.jobs) and not lost
        reason = allocation.batch_words or (last.reason if isinstance(last, RunnerLeft) else last.by)
        ran, wished = allocation.state is AllocationState.RUNNING, bool(allocation.cancel_requested)
        for job in lost:
            turn.tell(
                facts.PayloadLost(job=job.id, attempt=job.attempt, reason=reason, started=ran, wished=wished, at=at)
            )
        if isinstance(last, RunnerLeft) and not finished:
            turn.tell_allocation(facts.RunnerGone(allocation=allocation.id, reason=reason, at=at))
            return
        outcome = lifecycle.how_it_ended(allocation, finished=finished, payload_failed=failed)
        self._ranges.ended(allocation, turn)
        turn.tell_allocation(facts.JournalClosed(allocation=allocation.id, outcome=outcome, at=at))

    def site(self, allocation: Allocation) -> str:
        """Give the name of an allocation's site; empty if its queue is configured no more."""
        queue = self._configuration.queues.get(allocation.queue)
        return queue.site.name if queue else ""


_PAYLOAD_FAILURES = frozenset({PayloadResult.FAILED, PayloadResult.TIMED_OUT})


def _setbacks(job: Job) -> int:
    return job.infrastructure_losses + job.refusals


def _urgency(job: Job) -> tuple[int, float, int]:
    """Order jobs by priority, then by age."""
    return -job.spec.priority, job.received_at, job.id
