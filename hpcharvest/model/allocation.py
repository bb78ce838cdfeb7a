"""An allocation: one batch job of ours, in which one job or many run."""

from __future__ import annotations

from dataclasses import dataclass

from hpcharvest.model.ids import AllocationId, Attempt, JobId
from hpcharvest.model.shape import Shape
from hpcharvest.model.states import AllocationOutcome, AllocationState, BatchState


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """A batch job: wanted, submitted, running or over."""

    id: AllocationId
    queue: str
    shape: Shape
    tag: str
    """Unique, and part of the batch job's name: by it the batch job is found again if we die before we know its id."""
    jobs: tuple[tuple[JobId, Attempt], ...] = ()
    event_jobs: tuple[tuple[JobId, Attempt], ...] = ()
    """Jobs whose event ranges it does with what the others leave free."""
    wanted: tuple[tuple[JobId, int], ...] = ()
    """How many ranges of each its runner wants to have been fed, since its start."""
    state: AllocationState = AllocationState.INTENDED
    since: float = 0.0
    created_at: float = 0.0
    not_before: float = 0.0
    """Wall seconds: when a submission that failed for a transient reason may be tried again."""
    submissions: int = 0
    """How often we tried to submit it."""
    batch_id: str = ""
    batch_state: BatchState = BatchState.UNKNOWN
    batch_words: str = ""
    """The batch system's own words about it."""
    batch_ended_at: float = 0.0
    """Wall seconds when we first heard that it is over; 0: we did not."""
    next_segment: int = 0
    """The first segment of its journal that was not read."""
    heard_at: float = 0.0
    """Wall seconds, on our clock, when its heartbeat was last seen to move."""
    heartbeat: float = 0.0
    """The heartbeat as last seen, in seconds on the file server's clock: it is compared with itself only."""
    gone_at: float = 0.0
    """Wall seconds when its runner left something undone; the batch system is waited for to say why. 0: it did not."""
    nodes: tuple[str, ...] = ()
    cancel_requested: str = ""
    """Who wants it withdrawn; empty: nobody."""
    outcome: AllocationOutcome | None = None
