"""What becomes of a job whose processes are gone. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpcharvest.sandbox.batch.job import State

if TYPE_CHECKING:
    from hpcharvest.sandbox.batch.job import Job

_BY_SIGNAL = range(129, 193)  # what a shell gives for a command that a signal killed


def outcome(job: Job, *, code: int | None, killed_by: int | None = None, found: bool = True, now: float) -> Job:
    """Give the job after its run.

    `code` is what the wrapper wrote, None if it was killed first, `killed_by` then the signal, where that is known.
    `found` is False if nobody saw the run end: its host was restarted, or it never started.
    """
    if code is None and killed_by is not None:
        code = 128 + killed_by
    state, reason = _state(job, code, found=found)
    if state is State.PENDING:
        return job.back_to_queue(reason)
    return job.move(
        state,
        reason=reason,
        end_time=now,
        exit_code=code,
        signal=code - 128 if code is not None and code in _BY_SIGNAL else None,
        ending=None,
        kill_at=None,
    )


def ending_for(job: Job, state: State) -> State:
    """Give what a job becomes that loses its nodes: `state`, or PENDING again if it may be requeued."""
    return State.PENDING if job.requeue else state


def _state(job: Job, code: int | None, *, found: bool) -> tuple[State, str]:
    if job.ending is not None:
        return job.ending, job.reason
    if code == 0:
        return State.COMPLETED, ""
    if code is not None:
        return State.FAILED, f"the script ended with exit code {code}"
    if found:
        return State.FAILED, "the wrapper was killed from outside"
    return ending_for(job, State.NODE_FAIL), "its processes were lost while the batch system was away"
