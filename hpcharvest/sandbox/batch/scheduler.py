"""What is due now, and when to look again: starts, warnings, ends, kills and forgetting. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

from hpcharvest.sandbox.batch.job import LIVE, State
from hpcharvest.sandbox.batch.placement import Placement, place

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hpcharvest.sandbox.batch.job import Job
    from hpcharvest.sandbox.batch.placement import Node


class Due(Enum):
    """What the clock brings to a job."""

    WARN = auto()  # send its warning signal
    END = auto()  # its walltime is over
    KILL = auto()  # its grace is over too
    FORGET = auto()  # it ended so long ago that nobody asks any more


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """What to do now, and when the clock brings the next thing (None: never, unless something happens)."""

    placement: Placement
    due: tuple[tuple[Due, int], ...]
    wake_at: float | None


def next_due(job: Job, retention_s: float) -> tuple[Due, float] | None:
    """Give what the clock brings to this job next, and when."""
    if job.state is State.RUNNING:
        return _next_while_running(job)
    if job.state not in LIVE and job.end_time is not None:
        return Due.FORGET, job.end_time + retention_s
    return None


def _next_while_running(job: Job) -> tuple[Due, float] | None:
    if job.kill_at is not None:
        return None if job.killed else (Due.KILL, job.kill_at)
    if job.deadline is None:
        return None
    if job.warn_signal is not None and not job.warned:
        return Due.WARN, job.deadline - job.warn_before_s
    return Due.END, job.deadline


def decide(jobs: Iterable[Job], nodes: Sequence[Node], now: float, retention_s: float) -> Decision:
    """Decide what to do at `now` about these jobs on these nodes."""
    jobs = tuple(jobs)
    due: list[tuple[Due, int]] = []
    later: list[float] = []
    for job in jobs:
        coming = next_due(job, retention_s)
        if coming is None:
            continue
        what, when = coming
        if when <= now:
            due.append((what, job.id))
        else:
            later.append(when)
    return Decision(placement=place(jobs, nodes), due=tuple(due), wake_at=min(later, default=None))
