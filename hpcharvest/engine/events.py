"""What comes to the loop besides facts: answers to what it asked for, and the ends of what it set in motion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hpcharvest.errors import HarvestError
from hpcharvest.messenger.protocol import Segment
from hpcharvest.model.facts import Fact
from hpcharvest.model.ids import AllocationId, JobId
from hpcharvest.panda.client import UpdateAnswer
from hpcharvest.providers.dialect import BatchStatus
from hpcharvest.store.changes import Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """PanDA answered for a queue. `body` None: nothing to do there."""

    queue: str
    at: float
    body: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchFailed:
    """PanDA could not be asked for jobs, or its answer was lost."""

    queue: str
    error: HarvestError


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerKept:
    """An answer of PanDA's is durable, and may be parsed."""

    answer: Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportsAnswered:
    """PanDA answered to a batch of reports, each named by job and serial: one answer each, in their order."""

    sent: tuple[tuple[JobId, int], ...]
    answers: Sequence[UpdateAnswer]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportsFailed:
    """A batch of reports certainly did not arrive, or (`unsure`) may have arrived."""

    sent: tuple[tuple[JobId, int], ...]
    unsure: bool
    error: HarvestError


@dataclass(frozen=True, slots=True, kw_only=True)
class FateKnown:
    """PanDA was asked what became of final reports whose answer was lost. Missing jobs: it would not say."""

    arrived: Mapping[JobId, bool]
    asked: tuple[tuple[JobId, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentArrived:
    """The next segment of an allocation's journal was read."""

    allocation: AllocationId
    segment: Segment
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StraysSeen:
    """A batch system has live batch jobs of ours that belong to none of the allocations it was asked about."""

    site: str
    found: tuple[BatchStatus, ...]
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DagEnded:
    """Nothing of the job's DAG is left in Parsl."""

    job: JobId


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectEnded:
    """Something that was set in motion under this key has come to its end."""

    key: object


@dataclass(frozen=True, slots=True, kw_only=True)
class StopAsked:
    """Somebody wants the controller to stop in good order."""

    why: str


Event = (
    Fact
    | Fetched
    | FetchFailed
    | AnswerKept
    | ReportsAnswered
    | ReportsFailed
    | FateKnown
    | SegmentArrived
    | StraysSeen
    | DagEnded
    | EffectEnded
    | StopAsked
)
