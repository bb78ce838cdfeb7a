"""The care of allocations: planned, submitted, read, cancelled, closed."""

from __future__ import annotations

import logging
import secrets
from queue import SimpleQueue

from hpcharvest.apps.folders import Folders
from hpcharvest.clock import Clock
from hpcharvest.config.schema import Configuration, Queue
from hpcharvest.engine import launch, lifecycle
from hpcharvest.engine.effects import Hands
from hpcharvest.engine.events import Event, SegmentArrived
from hpcharvest.engine.turn import Turn
from hpcharvest.engine.watch import Watch
from hpcharvest.errors import BatchUnreachable, ConfigurationError, HarvestError, StorageUnavailable, SubmissionUnknown
from hpcharvest.messenger.mailbox import Mailbox
from hpcharvest.messenger.protocol import Closed, PayloadEnded, PayloadStarted, Record, RunnerLeft, RunnerStarted
from hpcharvest.model import facts
from hpcharvest.model.allocation import Allocation
from hpcharvest.model.commands import CancelBatch, CloseJournal, Submit
from hpcharvest.model.ids import AllocationId, Attempt, JobId
from hpcharvest.model.job import Job
from hpcharvest.model.states import AllocationOutcome, AllocationState, JobState, PayloadResult
from hpcharvest.providers.batch import BatchSystem
from hpcharvest.providers.dialect import BatchRequest
from hpcharvest.sizing.policy import Candidate, Limits, Plan, plan, why_never

logger = logging.getLogger(__name__)

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
        folders: Folders,
        systems: dict[str, BatchSystem],
        watch: Watch,
        hands: Hands,
        events: SimpleQueue[Event],
        clock: Clock,
        first: AllocationId,
    ) -> None:
        self._configuration = configuration
        self._patience = configuration.controller.patience
        self._folders = folders
        self._systems = systems
        self._watch = watch
        self._hands = hands
        self._events = events
        self._clock = clock
        self._next = first
        self._cancelled: dict[AllocationId, float] = {}
        self._look_again: dict[str, float] = {}
        """By queue: steady seconds until which its waiting jobs wait for company."""
        self._next_withdrawal = 0.0

    def plan(self, turn: Turn) -> float:
        """Put waiting jobs into new allocations; give the seconds after which to look again."""
        now = self._clock.steady()
        for name, waiting in turn.mirror.queued.items():
            queue = self._configuration.queues.get(name)
            if queue is None or not waiting:
                self._look_again.pop(name, None)
                continue
            limits = launch.limits(queue.site)
            alive = sum(1 for one in turn.live_allocations() if self._site(one) == queue.site.name)
            if alive >= limits.max_allocations:
                self._look_again.pop(name, None)
                continue
            if name not in self._look_again:
                self._look_again[name] = now + self._for_company(waiting, limits, turn)
            if now >= self._look_again[name] or len(waiting) >= limits.max_jobs:
                self._look_again.pop(name)
                self._plan(name, queue, limits, alive, turn)
        return min(self._look_again.values(), default=float("inf")) - now

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
        elif allocation.state is not AllocationState.INTENDED or allocation.submissions:
            self._watch.follow(allocation, self._site(allocation), self._mailbox(allocation.id))

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
            self._hands.carry_out(command, lambda: self._submit(allocation, jobs))
        elif isinstance(command, CloseJournal):
            self._hands.carry_out(command, lambda: self._close(allocation))
        elif isinstance(command, CancelBatch) and turn.now >= self._cancelled.get(allocation.id, 0.0):
            self._cancelled[allocation.id] = turn.now + CANCEL_PAUSE_S
            self._hands.carry_out(command, lambda: self._cancel(allocation))

    def stop_payload(self, job: JobId, attempt: Attempt, allocation: AllocationId) -> None:
        """Leave a note for the runner."""
        self._hands.carry_out(("stop", job, attempt), lambda: self._leave_note(job, attempt, allocation))

    def read(self, event: SegmentArrived, turn: Turn) -> None:
        """Let a segment of an allocation's journal become facts."""
        allocation = turn.allocation(event.allocation)
        if allocation is None or allocation.state.final or event.segment.number != allocation.next_segment:
            return
        turn.tell_allocation(facts.SegmentRead(allocation=allocation.id, number=event.segment.number, at=event.at))
        for record in event.segment.records:
            self._tell(record, allocation.id, event.at, turn)

    def withdraw_empty(self, turn: Turn) -> None:
        """Withdraw what waits in the batch system for jobs that are all to be stopped."""
        if self._clock.steady() < self._next_withdrawal:
            return
        self._next_withdrawal = self._clock.steady() + WITHDRAW_PAUSE_S
        for allocation in turn.mirror.allocations.values():
            if allocation.state is AllocationState.RUNNING or allocation.cancel_requested:
                continue
            jobs = [job for number, _ in allocation.jobs if (job := turn.mirror.jobs.get(number))]
            if not any(job.allocation == allocation.id and not job.kill_requested for job in jobs):
                by = "its jobs, none of which is wanted any more"
                turn.tell_allocation(facts.CancelAsked(allocation=allocation.id, by=by, at=turn.now))

    def _plan(self, name: str, queue: Queue, limits: Limits, alive: int, turn: Turn) -> None:
        candidates = self._candidates(turn.mirror.queued[name], queue, turn)
        for one in plan(candidates, alive, limits, turn.now):
            self._intend(one, name, turn)

    def _candidates(self, waiting: dict[JobId, Job], queue: Queue, turn: Turn) -> list[Candidate]:
        """Give the jobs that may be given to an allocation, best first; those that can never run are told so."""
        limits = launch.limits(queue.site)
        found = []
        for job in sorted(waiting.values(), key=lambda job: (-job.spec.priority, job.received_at, job.id)):
            if (job.id in turn.changes.jobs and turn.changes.jobs[job.id].state is not JobState.QUEUED) or (
                lifecycle.waits(job.not_before, turn.now, self._patience)
            ):
                continue
            footprint = launch.size(job.spec, queue)
            if reason := why_never(footprint, limits):
                turn.tell(facts.Unfit(job=job.id, reason=reason, at=turn.now))
                continue
            found.append(Candidate(job=job.id, footprint=footprint, since=job.since))
        return found

    def _intend(self, planned: Plan, queue: str, turn: Turn) -> None:
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
                tag=f"{self._configuration.controller.harvester_id}-{number}-{secrets.token_hex(3)}",
                jobs=tuple(jobs),
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
                cancelled = AllocationOutcome.CANCELLED
                turn.tell(
                    facts.PayloadLost(job=record.job, attempt=record.attempt, outcome=cancelled, reason=reason, at=at)
                )
            case PayloadEnded():
                turn.tell(facts.PayloadEnded(job=record.job, attempt=record.attempt, outcome=record.outcome, at=at))
            case RunnerStarted():
                turn.tell_allocation(
                    facts.RunnerStarted(allocation=number, batch_id=record.batch_id, nodes=record.nodes, at=at)
                )
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
        failed = any(job.outcome and job.outcome.result is not PayloadResult.DONE for job in mine)
        finished = isinstance(last, RunnerLeft) and len(mine) == len(allocation.jobs) and not lost
        outcome = lifecycle.how_it_ended(allocation, finished=finished, payload_failed=failed)
        reason = allocation.batch_words or (last.reason if isinstance(last, RunnerLeft) else last.by)
        for job in lost:
            turn.tell(facts.PayloadLost(job=job.id, attempt=job.attempt, outcome=outcome, reason=reason, at=at))
        turn.tell_allocation(facts.JournalClosed(allocation=allocation.id, outcome=outcome, at=at))

    def _site(self, allocation: Allocation) -> str:
        queue = self._configuration.queues.get(allocation.queue)
        return queue.site.name if queue else ""

    def _queue(self, allocation: Allocation) -> Queue:
        queue = self._configuration.queues.get(allocation.queue)
        if queue is None:
            raise ConfigurationError(f"the queue {allocation.queue} is configured no more")
        return queue

    def _mailbox(self, number: AllocationId) -> Mailbox:
        return Mailbox(self._folders.allocation(number))

    # --- effects: in a thread of the hands' ---

    def _submit(self, allocation: Allocation, jobs: list[Job]) -> None:
        """Look for the batch job by its tag if it may be there already; else write what it needs, and submit it."""
        at = self._clock.wall
        try:
            queue = self._queue(allocation)
            system = self._systems[queue.site.name]
            batch_id = system.find(allocation.tag) if allocation.submissions > 1 else ""
            if not batch_id:
                batch_id = system.submit(self._prepare(allocation, jobs, queue))
        except HarvestError as error:
            transient = error.transient
            reason = f"{type(error).__name__}: {error}"
            self._events.put(
                facts.SubmissionFailed(allocation=allocation.id, transient=transient, reason=reason, at=at())
            )
            level = logging.WARNING if isinstance(error, BatchUnreachable | SubmissionUnknown) else logging.ERROR
            logger.log(level, "allocation %s was not submitted: %s", allocation.id, error)
        else:
            self._events.put(facts.Submitted(allocation=allocation.id, batch_id=batch_id, at=at()))

    def _prepare(self, allocation: Allocation, jobs: list[Job], queue: Queue) -> BatchRequest:
        mailbox = self._mailbox(allocation.id)
        heartbeat_s = self._patience.heartbeat_s
        mailbox.write_manifest(launch.manifest(allocation, jobs, queue, self._folders, heartbeat_s))
        site = queue.site
        request = launch.batch_request(allocation.tag, allocation.shape, mailbox.folder, site)
        try:
            prologue = site.software.prologue.read_text() if site.software.prologue else ""
            request.script.write_text(launch.script(request, site, self._systems[site.name].dialect, prologue))
        except OSError as error:
            raise StorageUnavailable(f"cannot write {request.script}: {error.strerror}") from error
        return request

    def _close(self, allocation: Allocation) -> None:
        """Win the end; the poller will read it like any other segment."""
        mailbox = self._mailbox(allocation.id)
        try:
            (mailbox.folder / "journal").mkdir(parents=True, exist_ok=True)
            mailbox.journal.close(
                allocation.next_segment, by=allocation.batch_words or "the controller", at=self._clock.wall()
            )
        except (HarvestError, OSError) as error:
            logger.warning("allocation %s cannot be closed: %s; will try again", allocation.id, error)
        self._watch.follow(allocation, self._site(allocation), mailbox)

    def _cancel(self, allocation: Allocation) -> None:
        """Ask the runner to leave, which works also while the batch system does not answer, and the batch system."""
        try:
            self._mailbox(allocation.id).leave_kill_all()
            self._systems[self._queue(allocation).site.name].cancel([allocation.batch_id])
        except HarvestError as error:
            logger.warning("allocation %s cannot be cancelled: %s; will try again", allocation.id, error)

    def _leave_note(self, job: JobId, attempt: Attempt, allocation: AllocationId) -> None:
        try:
            self._mailbox(allocation).leave_kill_note(job, attempt)
        except HarvestError as error:
            logger.warning("job %s: no kill note could be left: %s", job, error)
