"""Every life: which states there are, why each exists, and what may follow what.

A state says what is *true*, never what is being done about it: what should be done follows from the state
(`engine.lifecycle.next_command`), and so a restart needs no memory of what was under way.
"""

from __future__ import annotations

from enum import StrEnum


class JobState(StrEnum):
    """The life of a PanDA job in our hands."""

    RECEIVED = "received"
    """The server gave it to us and its definition is durable. Its inputs are not here yet."""
    STAGED_IN = "staged_in"
    """Every input is on this machine, with the promised size and checksum."""
    QUEUED = "queued"
    """Its DAG has come to the payload: it may be given to an allocation. Apart from STAGED_IN, because Parsl orders."""
    ASSIGNED = "assigned"
    """It belongs to an allocation, under a numbered attempt; the runner has not said that it started."""
    RUNNING = "running"
    """The runner started its payload."""
    SERVED = "served"
    """An event-service job: its event ranges are being done, in as many allocations as there are. Apart from RUNNING,
    because it belongs to no single allocation, and no end of one ends it."""
    RAN = "ran"
    """The payload's outcome is known, good or bad; its outputs and log are not yet at their destination."""
    FINISHED = "finished"
    """Payload succeeded and every output was confirmed at its destination. Final."""
    FAILED = "failed"
    """It will not succeed here: payload, data or definition at fault, or lost too often. Final."""
    CANCELLED = "cancelled"
    """Somebody asked us to stop it. Final, and apart from FAILED because nothing is at fault."""

    @property
    def final(self) -> bool:
        """Whether nothing follows."""
        return not JOB_LIFE[self]


JOB_LIFE: dict[JobState, frozenset[JobState]] = {
    JobState.RECEIVED: frozenset({JobState.STAGED_IN, JobState.FAILED, JobState.CANCELLED}),
    JobState.STAGED_IN: frozenset({JobState.QUEUED, JobState.FAILED, JobState.CANCELLED}),
    JobState.QUEUED: frozenset({JobState.ASSIGNED, JobState.SERVED, JobState.FAILED, JobState.CANCELLED}),
    # Back to QUEUED: the allocation was lost, which is no fault of the payload's.
    JobState.ASSIGNED: frozenset(
        {JobState.RUNNING, JobState.RAN, JobState.QUEUED, JobState.FAILED, JobState.CANCELLED}
    ),
    JobState.RUNNING: frozenset({JobState.RAN, JobState.QUEUED, JobState.FAILED, JobState.CANCELLED}),
    JobState.SERVED: frozenset({JobState.RAN, JobState.FAILED, JobState.CANCELLED}),
    JobState.RAN: frozenset({JobState.FINISHED, JobState.FAILED, JobState.CANCELLED}),
    JobState.FINISHED: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELLED: frozenset(),
}


class AllocationState(StrEnum):
    """The life of an allocation: one batch job."""

    INTENDED = "intended"
    """We want it, under a tag that nobody else uses; it may or may not have been submitted."""
    SUBMITTED = "submitted"
    """The batch system has it, and its batch id is known. Nothing ran yet, as far as we know."""
    RUNNING = "running"
    """Its runner won the start: the first segment of its journal is the runner's."""
    ENDED = "ended"
    """Its journal is closed, by the runner or by us: no outcome can follow. Final."""

    @property
    def final(self) -> bool:
        """Whether nothing follows."""
        return not ALLOCATION_LIFE[self]


ALLOCATION_LIFE: dict[AllocationState, frozenset[AllocationState]] = {
    AllocationState.INTENDED: frozenset({AllocationState.SUBMITTED, AllocationState.RUNNING, AllocationState.ENDED}),
    AllocationState.SUBMITTED: frozenset({AllocationState.RUNNING, AllocationState.ENDED}),
    AllocationState.RUNNING: frozenset({AllocationState.ENDED}),
    AllocationState.ENDED: frozenset(),
}


class AllocationOutcome(StrEnum):
    """How an allocation ended. Kept apart everywhere: only the second is the payload's own doing."""

    DONE = "done"
    """Its runner said goodbye and left nothing behind."""
    PAYLOAD_FAILED = "payload_failed"
    """The runner said goodbye, and at least one payload failed."""
    INFRASTRUCTURE_FAILED = "infrastructure_failed"
    """Node failure, launch failure, out of memory, refused, vanished: nobody's payload is to blame."""
    TIMED_OUT = "timed_out"
    """The batch system killed it at its walltime."""
    PREEMPTED = "preempted"
    """Somebody more important needed the nodes."""
    CANCELLED = "cancelled"
    """Withdrawn, by us."""
    CANCELLED_BY_OTHERS = "cancelled_by_others"
    """Withdrawn by somebody else: a user or an administrator, who told the batch system and not us."""


class BatchState(StrEnum):
    """What a batch system says of a batch job: a hint, never the truth about a payload."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    PREEMPTED = "preempted"
    NODE_FAILED = "node_failed"
    OUT_OF_MEMORY = "out_of_memory"
    """The batch system killed it for its memory: apart from FAILED, as its words alone would not reach people."""
    LAUNCH_FAILED = "launch_failed"
    """Its nodes were there, its script was never started."""
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"
    """The batch system used a word that we do not know. Never read as an end."""
    ABSENT = "absent"
    """The batch system answered and does not list it: too new, or long gone. Not an end by itself."""

    @property
    def ended(self) -> bool:
        """Whether the batch system says that the batch job is over."""
        return self in BATCH_ENDS


BATCH_ENDS = frozenset(
    {
        BatchState.COMPLETED,
        BatchState.FAILED,
        BatchState.TIMED_OUT,
        BatchState.PREEMPTED,
        BatchState.NODE_FAILED,
        BatchState.OUT_OF_MEMORY,
        BatchState.LAUNCH_FAILED,
        BatchState.CANCELLED,
    }
)


class PayloadResult(StrEnum):
    """How a payload ended, in the words of the runner that watched it."""

    DONE = "done"
    """Exit code 0, every promised output there, and nobody was stopping it."""
    FAILED = "failed"
    """A non-zero exit code, a signal of its own making, or an output missing."""
    TIMED_OUT = "timed_out"
    """It passed its own time limit and was killed by the runner."""
    KILLED = "killed"
    """We asked the runner to stop it."""
    NOT_RUN = "not_run"
    """The runner left before it could be started, or stopped it to leave in time: not the payload's doing."""


class ReportState(StrEnum):
    """The life of something that we owe to PanDA."""

    OWED = "owed"
    """Not sent, or certainly not received."""
    SENDING = "sending"
    """Given to the network: after a crash or a lost answer nobody knows, so we ask before we repeat it."""


class RequestState(StrEnum):
    """The life of an operator's request in the inbox."""

    NEW = "new"
    DONE = "done"
    REFUSED = "refused"


class RangeState(StrEnum):
    """The life of an event range in our hands."""

    READY = "ready"
    """The server handed it to us; no allocation has it."""
    FED = "fed"
    """It was written for the runner of an allocation; it may be under way."""
    FINISHED = "finished"
    """Its output is in a closed archive, which is one bundle."""
    FAILED = "failed"
    """Its payload failed, here and again; PanDA may try it elsewhere. In a bundle of failures."""
    FATAL = "fatal"
    """It fails wherever it runs: PanDA is not to try again. In a bundle of failures."""


RANGE_LIFE: dict[RangeState, frozenset[RangeState]] = {
    RangeState.READY: frozenset({RangeState.FED}),
    # Back to READY: its allocation ended without an outcome of it.
    RangeState.FED: frozenset({RangeState.READY, RangeState.FINISHED, RangeState.FAILED, RangeState.FATAL}),
    # Back to READY: the archive with its output was lost before PanDA knew of it.
    RangeState.FINISHED: frozenset({RangeState.READY}),
    RangeState.FAILED: frozenset(),
    RangeState.FATAL: frozenset(),
}


class BundleState(StrEnum):
    """The life of a bundle: ranges whose outcomes PanDA is told together."""

    CLOSED = "closed"
    """Its archive is whole on the shared file system, not yet at its destination."""
    STORED = "stored"
    """Its archive was confirmed at its destination; PanDA is owed its outcomes. Failures begin here."""
    SENDING = "sending"
    """Given to the network: after a crash or a lost answer nobody knows, so we ask before we repeat it."""
    SETTLED = "settled"
    """PanDA knows of all its ranges, or will not hear of them. Final."""
    LOST = "lost"
    """Its archive is gone, or is not what it was: its ranges are ready again. Final."""

    @property
    def final(self) -> bool:
        """Whether nothing follows."""
        return not BUNDLE_LIFE[self]


BUNDLE_LIFE: dict[BundleState, frozenset[BundleState]] = {
    BundleState.CLOSED: frozenset({BundleState.STORED, BundleState.LOST}),
    BundleState.STORED: frozenset({BundleState.SENDING, BundleState.LOST}),
    BundleState.SENDING: frozenset({BundleState.STORED, BundleState.SETTLED}),
    BundleState.SETTLED: frozenset(),
    BundleState.LOST: frozenset(),
}
