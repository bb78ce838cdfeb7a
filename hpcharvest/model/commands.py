"""Commands: what should be done about a record, as it follows from the record's state.

A command is carried out after the state that calls for it is committed, and at most once at a time per record. It may
be carried out again after a crash, so every effect is one that may be repeated.
"""

from __future__ import annotations

from dataclasses import dataclass

from hpcharvest.model.ids import AllocationId, Attempt, JobId


@dataclass(frozen=True, slots=True)
class StartDag:
    """Give the job's DAG to Parsl; the memoizer answers the stages that are done."""

    job: JobId


@dataclass(frozen=True, slots=True)
class StopPayload:
    """Leave a kill note for the runner."""

    job: JobId
    attempt: Attempt
    allocation: AllocationId


@dataclass(frozen=True, slots=True)
class Submit:
    """Look for the allocation's tag if it may be there already, else submit it."""

    allocation: AllocationId


@dataclass(frozen=True, slots=True)
class CancelBatch:
    """Tell the batch system to end it."""

    allocation: AllocationId


@dataclass(frozen=True, slots=True)
class CloseJournal:
    """Win the end of the allocation's journal, so that nothing can follow."""

    allocation: AllocationId


JobCommand = StartDag | StopPayload
AllocationCommand = Submit | CancelBatch | CloseJournal
Command = JobCommand | AllocationCommand
