"""What comes to the loop besides facts: answers to what it asked for, and the ends of what it set in motion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hpcharvest.errors import HarvestError
from hpcharvest.messenger.protocol import Record, Segment
from hpcharvest.model.facts import Fact
from hpcharvest.model.ids import AllocationId, BundleId, JobId
from hpcharvest.model.job import JobSpec
from hpcharvest.panda.client import UpdateAnswer
from hpcharvest.providers.dialect import BatchStatus
from hpcharvest.store.changes import Answer
from hpcharvest.store.event_ranges import FeedFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """PanDA answered for a queue. `body` None: nothing to do there."""

    queue: str
    at: float
    body: bytes | None
    job: JobId | None = None
    """Whose event ranges it answered with; None: with jobs."""


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
class RangesFetchFailed:
    """PanDA could not be asked for event ranges, or (`unsure`) its answer was lost, perhaps with some in it."""

    job: JobId
    unsure: bool
    error: HarvestError


@dataclass(frozen=True, slots=True, kw_only=True)
class RangesCounted:
    """PanDA said how many event ranges of a job could be had."""

    job: JobId
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedWritten:
    """A file of a feed is whole in its allocation's folder."""

    file: FeedFile


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleStored:
    """A bundle's archive was confirmed at its destination."""

    bundle: BundleId
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleFailed:
    """A bundle's archive did not get to its destination. `lost`: it is gone, or is not what it was."""

    bundle: BundleId
    lost: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Salvaged:
    """What was left in the folder of an allocation that has ended was looked through."""

    allocation: AllocationId
    records: tuple[Record, ...]
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RangesReported:
    """What became of a report about bundles of a job: of each, the ranges that PanDA took, and those it will not."""

    job: JobId
    bundles: tuple[BundleId, ...]
    taken: Mapping[BundleId, tuple[str, ...]]
    refused: Mapping[BundleId, tuple[str, ...]]
    left: Mapping[BundleId, int]
    """How many ranges of each PanDA is owed still."""
    stop: bool = False
    """Whether PanDA wants no more of the job."""
    lost: int | None = None
    """How many ranges PanDA says that we have, of which we know nothing; None: that cannot be told."""
    asked: bool = False
    """Whether this is what it said when it was asked, and not its answer to the report."""
    took_s: float = 0.0
    """How long it took to say it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RangesUnreported:
    """A report about bundles certainly did not arrive, or (`unsure`) may have arrived."""

    bundles: tuple[BundleId, ...]
    unsure: bool
    error: HarvestError


@dataclass(frozen=True, slots=True, kw_only=True)
class RangesUnasked:
    """PanDA did not say where a job's ranges are."""

    job: JobId
    error: HarvestError


@dataclass(frozen=True, slots=True, kw_only=True)
class MergesPlanned:
    """What ranges of a job left was looked through for what can be merged.

    `specs`: jobs that are to be, without a number; `short`: by name, how many events an output lacks for good.
    """

    job: JobId
    specs: tuple[JobSpec, ...]
    short: dict[str, int]
    over: bool
    took_s: float


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
    | RangesFetchFailed
    | RangesCounted
    | FeedWritten
    | BundleStored
    | BundleFailed
    | Salvaged
    | RangesReported
    | RangesUnreported
    | RangesUnasked
    | MergesPlanned
    | SegmentArrived
    | StraysSeen
    | DagEnded
    | EffectEnded
    | StopAsked
)
