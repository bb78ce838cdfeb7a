"""Facts: things that happened, each with the moment we learnt it. They are what the loop eats and the journal keeps.

Parsl's futures, the pollers, the PanDA client and the operators only *make* facts; `engine.lifecycle.apply` alone turns
them into states. A fact may come late or twice: a record that is past it stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

from hpcharvest.model.ids import AllocationId, Attempt, JobId
from hpcharvest.model.job import PayloadOutcome, StoredFile
from hpcharvest.model.states import AllocationOutcome, BatchState


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """Something that happened. `at`: wall seconds when we learnt it."""

    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFact(Fact):
    """Something that happened to a job."""

    job: JobId


@dataclass(frozen=True, slots=True, kw_only=True)
class StagedIn(JobFact):
    """All its inputs are here, whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PayloadWanted(JobFact):
    """Its DAG has come to the payload."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assigned(JobFact):
    """It was put into an allocation, as this attempt."""

    attempt: Attempt
    allocation: AllocationId


@dataclass(frozen=True, slots=True, kw_only=True)
class Served(JobFact):
    """An event-service job: from now on its ranges are asked for, and done in allocations, as this attempt."""

    attempt: Attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class RangesLost(JobFact):
    """The server says that we have so many event ranges that never came: nobody can do them while the job lives."""

    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RangesEnded(JobFact):
    """Some of its event ranges came to an end in an allocation: those that came to nothing before count no more."""

    attempt: Attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocationLeft(JobFact):
    """An allocation that was to do its event ranges has ended.

    `started`: whether it ever ran. `useful`: whether any range ended in it. `wished`: whether somebody withdrew it.
    """

    attempt: Attempt
    started: bool
    useful: bool
    wished: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RangesOver(JobFact):
    """There are no more event ranges of it to be done, and PanDA knows of all that were."""

    attempt: Attempt
    outcome: PayloadOutcome


@dataclass(frozen=True, slots=True, kw_only=True)
class PayloadStarted(JobFact):
    """The runner started its payload."""

    attempt: Attempt
    node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PayloadEnded(JobFact):
    """The runner published the payload's outcome."""

    attempt: Attempt
    outcome: PayloadOutcome


@dataclass(frozen=True, slots=True, kw_only=True)
class PayloadLost(JobFact):
    """Its allocation's journal was closed without an outcome of this attempt: none can follow.

    `started`: whether the allocation ever ran. `wished`: whether an operator withdrew it, or its jobs were all stopped.
    """

    attempt: Attempt
    reason: str
    started: bool = True
    wished: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StagedOut(JobFact):
    """Its outputs and log are confirmed at their destination."""

    attempt: Attempt
    stored: tuple[StoredFile, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StageFailed(JobFact):
    """Staging in or out failed."""

    transient: bool
    reason: str
    code: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfit(JobFact):
    """It can never run here: too large, too long, or not to be started in any way that we know."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KillAsked(JobFact):
    """PanDA or an operator wants it stopped."""

    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryAsked(JobFact):
    """An operator wants it tried again now."""

    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocationFact(Fact):
    """Something that happened to an allocation."""

    allocation: AllocationId


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionBegun(AllocationFact):
    """From now on the batch job may exist."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted(AllocationFact):
    """The batch system has it, or had it already when we looked for its tag."""

    batch_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionFailed(AllocationFact):
    """The batch system did not take it: for now (transient), or for good."""

    transient: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchReported(AllocationFact):
    """The batch system said something about it."""

    state: BatchState
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerStarted(AllocationFact):
    """Its runner won the start."""

    batch_id: str
    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentRead(AllocationFact):
    """A segment of its journal was read whole; what it told is in the facts beside this one."""

    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RangesWanted(AllocationFact):
    """Its runner has work for so many event ranges of a job, counted from its start."""

    job: JobId
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HeartbeatMoved(AllocationFact):
    """Its runner is alive. `beat`: the heartbeat as last seen, in seconds on the file server's clock."""

    beat: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerGone(AllocationFact):
    """Its journal is closed by its runner, with something left undone: why, the batch system may know."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalClosed(AllocationFact):
    """No outcome can follow: the runner said goodbye, or we won the end."""

    outcome: AllocationOutcome


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelAsked(AllocationFact):
    """Somebody wants it withdrawn."""

    by: str
