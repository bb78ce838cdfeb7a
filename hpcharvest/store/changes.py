"""What one turn of the loop wants to be durable: a basket that is committed as one transaction."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from hpcharvest.model.allocation import Allocation
from hpcharvest.model.event_range import Bundle, EventRange, RangeOutcome
from hpcharvest.model.ids import AllocationId, BundleId, JobId
from hpcharvest.model.job import Job
from hpcharvest.model.report import Report
from hpcharvest.model.request import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A line of the journal: what was done to whom, and when (wall seconds)."""

    at: float
    subject: str
    """`job`, `allocation` or `service`."""
    id: int
    """The subject's number; 0 for the service."""
    action: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The server's answer to a request for jobs, or for event ranges, kept as it came until all in it is durable."""

    id: int
    """Ours; larger than `Answers.last_id`."""
    queue: str
    at: float
    body: bytes = field(repr=False)
    job: JobId | None = None
    """Whose event ranges it has; None: it has jobs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRanges:
    """Event ranges the server just handed out; those that are known already stay as they are."""

    job: JobId
    ranges: tuple[EventRange, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fed:
    """So many READY ranges go to an allocation, as its feed's file of that number, or as many as there are.

    Nothing happens if there is a file of that number already.
    """

    job: JobId
    allocation: AllocationId
    number: int
    first: int
    """How many were fed there before."""
    size: int
    last: bool = False
    """Nothing will follow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """What became of ranges that were FED to an allocation; of any others, this says nothing."""

    job: JobId
    allocation: AllocationId
    bundle: BundleId
    outcomes: tuple[RangeOutcome, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """PanDA took the outcomes of these ranges, or will not hear of them."""

    job: JobId
    taken: bool
    ranges: tuple[str, ...]


@dataclass(slots=True, kw_only=True)
class Changes:
    """A basket to be filled. Committing does not change it, so that a commit that failed can be repeated."""

    new_jobs: dict[JobId, Job] = field(default_factory=dict)
    """Jobs the server just gave us: the only ones whose spec is written. A job that is known already is replaced,
    spec and all: PanDA gave it again, as another attempt. A job may be in `jobs` too: that record is then the newer."""
    jobs: dict[JobId, Job] = field(default_factory=dict)
    """Known jobs, whole records; their spec is not written."""
    allocations: dict[AllocationId, Allocation] = field(default_factory=dict)
    """New or known, whole records."""
    journal: list[Entry] = field(default_factory=list)
    reports: dict[JobId, Report] = field(default_factory=dict)
    """Takes the place of the job's report, unless that one has a higher serial."""
    settled: list[tuple[JobId, int]] = field(default_factory=list)
    """Nothing more is owed for reports of that job with that serial or a lower one. Looked at after `reports`."""
    answers: list[Answer] = field(default_factory=list)
    answers_read: list[int] = field(default_factory=list)
    """Answers whose jobs are durable, as of this transaction."""
    bundles: dict[BundleId, Bundle] = field(default_factory=dict)
    """New or known, whole records. The ranges of one that is LOST become READY."""
    new_ranges: list[NewRanges] = field(default_factory=list)
    outcomes: list[Outcomes] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    released: list[AllocationId] = field(default_factory=list)
    """Allocations whose ranges that are FED still become READY. Looked at after `outcomes`."""
    feeds: list[Fed] = field(default_factory=list)
    """Looked at after everything else about ranges."""
    requests: list[Request] = field(default_factory=list)
    """Requests of the inbox, with what became of them."""

    def __bool__(self) -> bool:
        return any(getattr(self, one.name) for one in fields(self))
