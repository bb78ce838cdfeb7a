"""What a fact makes of a record, and what should be done about a record: the heart, and pure.

`apply` gives the new record, or the very same one when the fact is late, repeated or about an older attempt.
`next_command` gives what should be done about a record in its state, or nothing. Because commands follow from state and
not from facts, recovery is not a mode: a new process loads the records, asks for their commands, and goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from hpcharvest.config.schema import Patience
from hpcharvest.engine import served
from hpcharvest.errors import IllegalTransition
from hpcharvest.model import facts
from hpcharvest.model.allocation import Allocation
from hpcharvest.model.commands import (
    AllocationCommand,
    CancelBatch,
    CloseJournal,
    JobCommand,
    StartDag,
    StopPayload,
    Submit,
)
from hpcharvest.model.job import Job
from hpcharvest.model.states import (
    ALLOCATION_LIFE,
    JOB_LIFE,
    AllocationOutcome,
    AllocationState,
    BatchState,
    JobState,
    PayloadResult,
)

PAYLOAD_FAILURE_CODE = 1305
KILLED_CODE = 1144
WALLTIME_CODE = 1213
LOST_CODE = 1200
UNFIT_CODE = 1319
"""The pilot's error codes: payload failure, killed by PanDA, out of walltime, lost with its node, cannot be run."""


def backoff(patience: Patience, tries: int) -> float:
    """Seconds to wait after the `tries`-th failure in a row: doubling, with an upper bound."""
    return float(min(patience.retry_first_s * 2 ** min(tries - 1, 30), patience.retry_max_s))


def waits(not_before: float, now: float, patience: Patience) -> bool:
    """Whether it is too early at `now`. Nothing waits longer than `retry_max_s`: if it would, the clock jumped back."""
    return now < not_before <= now + patience.retry_max_s


# --- jobs ------------------------------------------------------------------------------------------------------------


def apply(job: Job, fact: facts.JobFact, patience: Patience) -> Job:
    """Give the job as it is after `fact`; the same object if the fact changes nothing."""
    if job.state.final:
        return job
    return _JOB_RULES[type(fact)](job, fact, patience)


def next_command(job: Job, now: float, patience: Patience) -> JobCommand | None:
    """Say what should be done about `job` at `now` (wall seconds), or nothing."""
    if job.state.final or waits(job.not_before, now, patience):
        return None
    if job.kill_requested and job.state in _IN_ALLOCATION and job.allocation is not None:
        return StopPayload(job.id, job.attempt, job.allocation)
    return StartDag(job.id)


_IN_ALLOCATION = frozenset({JobState.ASSIGNED, JobState.RUNNING})


def _go(job: Job, state: JobState, at: float, **changes: Any) -> Job:
    """Move `job` to `state`, if its life leads there."""
    if state not in JOB_LIFE[job.state]:
        raise IllegalTransition(f"job {job.id} cannot go from {job.state} to {state}")
    return replace(job, **{"state": state, "since": at, "tries": 0, "not_before": 0.0, **changes})


def _staged_in(job: Job, fact: facts.StagedIn, _: Patience) -> Job:
    return _go(job, JobState.STAGED_IN, fact.at, error="") if job.state is JobState.RECEIVED else job


def _payload_wanted(job: Job, fact: facts.PayloadWanted, _: Patience) -> Job:
    return _go(job, JobState.QUEUED, fact.at) if job.state is JobState.STAGED_IN else job


def _assigned(job: Job, fact: facts.Assigned, _: Patience) -> Job:
    if job.state is not JobState.QUEUED or fact.attempt != job.attempt + 1:
        return job
    return _go(job, JobState.ASSIGNED, fact.at, attempt=fact.attempt, allocation=fact.allocation)


def _served(job: Job, fact: facts.Served, _: Patience) -> Job:
    fits = job.state is JobState.QUEUED and job.spec.event_service and fact.attempt == job.attempt + 1
    return _go(job, JobState.SERVED, fact.at, attempt=fact.attempt, error="") if fits else job


def _ranges_over(job: Job, fact: facts.RangesOver, patience: Patience) -> Job:
    if job.state is not JobState.SERVED or fact.attempt != job.attempt:
        return job
    if job.kill_requested:
        return _cancelled(replace(job, outcome=fact.outcome), fact.at, job.kill_requested)
    error, code = _PAYLOAD_ERRORS[fact.outcome.result]
    code = LOST_CODE if served.out_of_patience(job, patience) else code
    return _go(job, JobState.RAN, fact.at, outcome=fact.outcome, error=error and fact.outcome.reason, error_code=code)


def _payload_started(job: Job, fact: facts.PayloadStarted, _: Patience) -> Job:
    if job.state is not JobState.ASSIGNED or fact.attempt != job.attempt:
        return job
    return _go(job, JobState.RUNNING, fact.at, error="")


def _payload_ended(job: Job, fact: facts.PayloadEnded, patience: Patience) -> Job:
    if job.state not in _IN_ALLOCATION or fact.attempt != job.attempt:
        return job
    outcome = fact.outcome
    if outcome.result is PayloadResult.NOT_RUN:
        return _requeued(job, fact.at, outcome.reason, patience)
    if outcome.result is PayloadResult.KILLED:
        return _cancelled(replace(job, outcome=outcome), fact.at, job.kill_requested or "the runner")
    error, code = _PAYLOAD_ERRORS[outcome.result]
    return _go(
        job, JobState.RAN, fact.at, outcome=outcome, error=error and f"{error}: {outcome.reason}", error_code=code
    )


_PAYLOAD_ERRORS = {
    PayloadResult.DONE: ("", 0),
    PayloadResult.FAILED: ("payload failed", PAYLOAD_FAILURE_CODE),
    PayloadResult.TIMED_OUT: ("payload passed its time limit", WALLTIME_CODE),
}


def _payload_lost(job: Job, fact: facts.PayloadLost, patience: Patience) -> Job:
    if job.state not in _IN_ALLOCATION or fact.attempt != job.attempt:
        return job
    if fact.wished and not job.kill_requested:  # no loss
        return _go(job, JobState.QUEUED, fact.at, allocation=None, error=fact.reason)
    if not fact.started:
        return _refused(job, fact.at, fact.reason, patience)
    return _requeued(job, fact.at, f"allocation {job.allocation} was lost: {fact.reason}", patience)


def _requeued(job: Job, at: float, reason: str, patience: Patience) -> Job:
    """Back to the queue, for the next attempt: at once the first time, then after ever longer pauses.

    Infrastructure never uses up the payload's chances, but has an end of its own: a job that no allocation ever brings
    to an outcome would else go round for good.
    """
    if job.kill_requested:
        return _cancelled(job, at, job.kill_requested)
    losses = job.infrastructure_losses + 1
    if losses > patience.infrastructure_losses:
        error = f"lost {losses} times, last: {reason}"
        return _go(job, JobState.FAILED, at, error=error, error_code=LOST_CODE, infrastructure_losses=losses)
    wait = at + backoff(patience, losses - 1) if losses > 1 else 0.0
    return _go(job, JobState.QUEUED, at, allocation=None, infrastructure_losses=losses, error=reason, not_before=wait)


def _refused(job: Job, at: float, reason: str, patience: Patience) -> Job:
    """Back to the queue, as nothing ran: after ever longer pauses, and for days.

    The batch system is not the job's fault; but a job that it will never take has an end all the same.
    """
    if job.kill_requested:
        return _cancelled(job, at, job.kill_requested)
    refusals = job.refusals + 1
    if refusals > patience.refusals:
        error = f"no allocation for it ever started, in {refusals} tries; last: {reason}"
        return _go(job, JobState.FAILED, at, error=error, error_code=UNFIT_CODE, refusals=refusals)
    wait = at + backoff(patience, refusals)
    return _go(job, JobState.QUEUED, at, allocation=None, refusals=refusals, error=reason, not_before=wait)


def _staged_out(job: Job, fact: facts.StagedOut, _: Patience) -> Job:
    if job.state is not JobState.RAN or fact.attempt != job.attempt or job.outcome is None:
        return job
    good = job.outcome.result is PayloadResult.DONE
    if not good:
        return _go(job, JobState.FAILED, fact.at, stored=fact.stored)
    return _go(job, JobState.FINISHED, fact.at, stored=fact.stored, error="", error_code=0)


def _stage_failed(job: Job, fact: facts.StageFailed, patience: Patience) -> Job:
    if job.state not in {JobState.RECEIVED, JobState.RAN}:
        return job
    tries = job.tries + 1
    if fact.transient and tries < patience.stage_tries:
        wait = fact.at + backoff(patience, tries)
        return replace(job, tries=tries, not_before=wait, error=fact.reason, error_code=fact.code)
    if job.outcome is not None and job.outcome.result is not PayloadResult.DONE:
        # What failed first is what its owner should read: the payload, not the log that could not be saved.
        return _go(job, JobState.FAILED, fact.at, error=f"{job.error}; and {fact.reason}")
    return _go(job, JobState.FAILED, fact.at, error=fact.reason, error_code=fact.code)


def _kill_asked(job: Job, fact: facts.KillAsked, _: Patience) -> Job:
    if job.state in _IN_ALLOCATION or job.state is JobState.SERVED:
        return job if job.kill_requested else replace(job, kill_requested=fact.by, not_before=0.0)
    return _cancelled(job, fact.at, fact.by)


def _cancelled(job: Job, at: float, by: str) -> Job:
    return _go(
        job, JobState.CANCELLED, at, error=f"stopped on request of {by}", error_code=KILLED_CODE, kill_requested=by
    )


def _unfit(job: Job, fact: facts.Unfit, _: Patience) -> Job:
    if job.state in _IN_ALLOCATION or job.state is JobState.RAN:
        return job
    return _go(job, JobState.FAILED, fact.at, error=fact.reason, error_code=UNFIT_CODE)


def _retry_asked(job: Job, fact: facts.RetryAsked, _: Patience) -> Job:
    waiting = job.not_before > fact.at
    return replace(job, not_before=0.0, tries=0) if waiting else job


_JOB_RULES: dict[type[facts.JobFact], Callable[[Job, Any, Patience], Job]] = {
    facts.StagedIn: _staged_in,
    facts.PayloadWanted: _payload_wanted,
    facts.Assigned: _assigned,
    facts.Served: _served,
    **served.RULES,
    facts.AllocationLeft: lambda job, fact, patience: served.allocation_left(job, fact, partial(backoff, patience)),
    facts.RangesOver: _ranges_over,
    facts.PayloadStarted: _payload_started,
    facts.PayloadEnded: _payload_ended,
    facts.PayloadLost: _payload_lost,
    facts.StagedOut: _staged_out,
    facts.StageFailed: _stage_failed,
    facts.KillAsked: _kill_asked,
    facts.Unfit: _unfit,
    facts.RetryAsked: _retry_asked,
}


# --- allocations -----------------------------------------------------------------------------------------------------


def apply_to_allocation(allocation: Allocation, fact: facts.AllocationFact, patience: Patience) -> Allocation:
    """Give the allocation as it is after `fact`; the same object if the fact changes nothing."""
    if allocation.state.final:
        return allocation
    return _ALLOCATION_RULES[type(fact)](allocation, fact, patience)


def next_allocation_command(allocation: Allocation, now: float, patience: Patience) -> AllocationCommand | None:
    """Say what should be done about `allocation` at `now` (wall seconds), or nothing."""
    if allocation.state.final:
        return None
    if _over(allocation, now, patience):
        return CloseJournal(allocation.id)
    if allocation.state is AllocationState.INTENDED:
        return None if waits(allocation.not_before, now, patience) else Submit(allocation.id)
    if allocation.cancel_requested and not allocation.batch_state.ended and not allocation.gone_at:
        return CancelBatch(allocation.id)
    return None


def _over(allocation: Allocation, now: float, patience: Patience) -> bool:
    """Whether its end may be won: the batch system says so, past a grace, and the heartbeat agrees."""
    if allocation.state is AllocationState.INTENDED:
        # Between two tries nothing is under way; should the batch job be there all the same, its journal is closed.
        between = not allocation.submissions or waits(allocation.not_before, now, patience)
        return allocation.batch_state.ended or bool(allocation.cancel_requested and between)
    if allocation.gone_at or not allocation.batch_ended_at or now < allocation.batch_ended_at + patience.batch_grace_s:
        return False
    return allocation.state is AllocationState.SUBMITTED or now >= allocation.heard_at + patience.heartbeat_stale_s


def _move(allocation: Allocation, state: AllocationState, at: float, **changes: Any) -> Allocation:
    if state not in ALLOCATION_LIFE[allocation.state]:
        raise IllegalTransition(f"allocation {allocation.id} cannot go from {allocation.state} to {state}")
    return replace(allocation, state=state, since=at, not_before=0.0, **changes)


def _submission_begun(allocation: Allocation, _fact: facts.SubmissionBegun, _: Patience) -> Allocation:
    return replace(allocation, submissions=allocation.submissions + 1)


def _submitted(allocation: Allocation, fact: facts.Submitted, _: Patience) -> Allocation:
    if allocation.state is AllocationState.INTENDED:
        return _move(allocation, AllocationState.SUBMITTED, fact.at, batch_id=fact.batch_id, batch_words="")
    return allocation if allocation.batch_id else replace(allocation, batch_id=fact.batch_id)


def _submission_failed(allocation: Allocation, fact: facts.SubmissionFailed, patience: Patience) -> Allocation:
    if allocation.state is not AllocationState.INTENDED:
        return allocation
    if fact.transient:  # however often: who says nothing has not said no
        wait = fact.at + backoff(patience, allocation.submissions)
        return replace(allocation, not_before=wait, batch_words=fact.reason)
    return replace(allocation, batch_state=BatchState.FAILED, batch_words=fact.reason, batch_ended_at=fact.at)


def _batch_reported(allocation: Allocation, fact: facts.BatchReported, _: Patience) -> Allocation:
    if allocation.state is AllocationState.INTENDED:
        return allocation
    if fact.state is BatchState.UNKNOWN and allocation.batch_state is not BatchState.ABSENT:
        # A word that we do not know: people shall read it, and nothing follows from it.
        return allocation if allocation.batch_words == fact.words else replace(allocation, batch_words=fact.words)
    if fact.state is BatchState.ABSENT and allocation.batch_state.ended:
        return allocation  # it has left the queue since it told us how it ended
    over = fact.state.ended or fact.state is BatchState.ABSENT
    ended_at = (allocation.batch_ended_at or fact.at) if over else 0.0
    after = replace(allocation, batch_state=fact.state, batch_words=fact.words, batch_ended_at=ended_at)
    return allocation if after == allocation else after


def _runner_started(allocation: Allocation, fact: facts.RunnerStarted, _: Patience) -> Allocation:
    batch_id = fact.batch_id or allocation.batch_id
    changes: dict[str, Any] = {"batch_id": batch_id, "nodes": fact.nodes, "heard_at": fact.at}
    if allocation.state is AllocationState.RUNNING:  # a requeued start that fenced the earlier one out
        return replace(allocation, **changes)
    if allocation.state is AllocationState.INTENDED or allocation.batch_state is BatchState.PENDING:
        changes["batch_words"] = ""  # why a try failed, or what it waited for, is no news of what runs
    return _move(allocation, AllocationState.RUNNING, fact.at, **changes)


def _segment_read(allocation: Allocation, fact: facts.SegmentRead, _: Patience) -> Allocation:
    if fact.number < allocation.next_segment:
        return allocation
    return replace(allocation, next_segment=fact.number + 1, heard_at=fact.at)


def _ranges_wanted(allocation: Allocation, fact: facts.RangesWanted, _: Patience) -> Allocation:
    known = dict(allocation.wanted)
    if fact.total <= known.get(fact.job, 0):
        return allocation
    return replace(allocation, wanted=tuple((known | {fact.job: fact.total}).items()))


def _heartbeat_moved(allocation: Allocation, fact: facts.HeartbeatMoved, _: Patience) -> Allocation:
    same = fact.beat == allocation.heartbeat
    return allocation if same else replace(allocation, heard_at=fact.at, heartbeat=fact.beat)


def _runner_gone(allocation: Allocation, fact: facts.RunnerGone, _: Patience) -> Allocation:
    return allocation if allocation.gone_at else replace(allocation, gone_at=fact.at, heard_at=fact.at)


def may_be_named(allocation: Allocation, now: float, patience: Patience) -> bool:
    """Whether an allocation whose runner left something undone need not wait any longer for the batch system's word."""
    if not allocation.gone_at or allocation.state.final:
        return False
    known = bool(allocation.cancel_requested) or allocation.batch_state.ended
    return known or now >= allocation.gone_at + patience.batch_grace_s


def _journal_closed(allocation: Allocation, fact: facts.JournalClosed, _: Patience) -> Allocation:
    return _move(allocation, AllocationState.ENDED, fact.at, outcome=fact.outcome)


def _cancel_asked(allocation: Allocation, fact: facts.CancelAsked, _: Patience) -> Allocation:
    return allocation if allocation.cancel_requested else replace(allocation, cancel_requested=fact.by)


_ALLOCATION_RULES: dict[type[facts.AllocationFact], Callable[[Allocation, Any, Patience], Allocation]] = {
    facts.SubmissionBegun: _submission_begun,
    facts.Submitted: _submitted,
    facts.SubmissionFailed: _submission_failed,
    facts.BatchReported: _batch_reported,
    facts.RunnerStarted: _runner_started,
    facts.SegmentRead: _segment_read,
    facts.RangesWanted: _ranges_wanted,
    facts.HeartbeatMoved: _heartbeat_moved,
    facts.RunnerGone: _runner_gone,
    facts.JournalClosed: _journal_closed,
    facts.CancelAsked: _cancel_asked,
}

_BATCH_OUTCOMES = {
    BatchState.TIMED_OUT: AllocationOutcome.TIMED_OUT,
    BatchState.PREEMPTED: AllocationOutcome.PREEMPTED,
    BatchState.CANCELLED: AllocationOutcome.CANCELLED_BY_OTHERS,
}


def how_it_ended(allocation: Allocation, *, finished: bool, payload_failed: bool) -> AllocationOutcome:
    """Name the end of an allocation whose journal is closed.

    `finished`: its runner said goodbye with nothing left to do; then only its payloads decide. Else it is the
    operator's wish, or what the batch system calls it, or the infrastructure's fault.
    """
    if finished:
        return AllocationOutcome.PAYLOAD_FAILED if payload_failed else AllocationOutcome.DONE
    if allocation.cancel_requested:
        return AllocationOutcome.CANCELLED
    return _BATCH_OUTCOMES.get(allocation.batch_state, AllocationOutcome.INFRASTRUCTURE_FAILED)
