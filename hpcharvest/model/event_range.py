"""Event ranges: slices of the events of an event-service job, and the bundles in which their outcomes are told."""

from __future__ import annotations

from dataclasses import dataclass

from hpcharvest.model.ids import AllocationId, BundleId, JobId
from hpcharvest.model.states import BundleState, RangeState


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRange:
    """A slice of the events of one input file, as the server handed it out. Events are counted from 1."""

    id: str
    """The server's eventRangeID: `<taskID>-<PandaID>-<fileID>-<processID>-<attempts left>`."""
    start: int
    last: int
    lfn: str
    guid: str = ""
    scope: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeOutcome:
    """How a range ended, as its runner told it."""

    id: str
    state: RangeState
    """FINISHED, FAILED or FATAL."""
    cpu_s: float = 0.0
    cores: int = 1
    error: str = ""
    """Of a range that failed: why, in one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """The ranges whose outcomes PanDA is told together: those of one archive, or some that failed."""

    id: BundleId
    job: JobId
    allocation: AllocationId
    archive: str = ""
    """The archive's name in its allocation's folder, and at its destination; empty: these are failures."""
    size: int = 0
    adler32: str = ""
    ranges: int = 0
    """How many it has."""
    wall_s: float = 0.0
    """Seconds that they took, one after another: from this it is learnt how many can be done in an allocation."""
    state: BundleState = BundleState.CLOSED
    since: float = 0.0
    """Wall seconds: when it came into its state."""
    tries: int = 0
    not_before: float = 0.0
    """Wall seconds: when its stage-out or its report may be tried again."""
    url: str = ""
    """Where its archive is, once that is confirmed."""
    problem: str = ""
    """Why it is where it is."""
