"""The lives of a job and of an event range on the server, and what may be reported in which state.

Source: states and rules seen on panda-server 1.0.3.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum


class JobState(StrEnum):
    """Where a job is on the server."""

    ACTIVATED = "activated"
    SENT = "sent"
    STARTING = "starting"
    RUNNING = "running"
    TRANSFERRING = "transferring"
    HOLDING = "holding"
    FINISHED = "finished"
    MERGING = "merging"
    """An event-service job whose job set is done, and is with a merge job now."""
    FAILED = "failed"
    CANCELLED = "cancelled"
    CLOSED = "closed"


REPORTABLE = frozenset(
    {
        JobState.RUNNING,
        JobState.FAILED,
        JobState.FINISHED,
        JobState.HOLDING,
        JobState.STARTING,
        JobState.TRANSFERRING,
    }
)
"""What `update_job` accepts; anything else is `Invalid job status`."""

FINAL = frozenset({JobState.FINISHED, JobState.FAILED})
"""The reports that put a job to holding, for the adder to judge."""

ARCHIVED = frozenset({JobState.FINISHED, JobState.MERGING, JobState.FAILED, JobState.CANCELLED, JobState.CLOSED})
"""Nothing follows; an update of such a job is answered with `tobekilled`."""

WITH_EVENTS = frozenset({JobState.SENT, JobState.STARTING, JobState.RUNNING})
"""A job in one of these may ask for event ranges."""

REPORTS_EVENTS = WITH_EVENTS | {JobState.TRANSFERRING}
"""A job in one of these may report on event ranges."""


class EventState(IntEnum):
    """Where an event range is; the numbers are those of the server's table."""

    READY = 0
    SENT = 1
    RUNNING = 2
    FINISHED = 3
    CANCELLED = 4
    DISCARDED = 5
    DONE = 6
    FAILED = 7
    FATAL = 8
    MERGED = 9
    CORRUPTED = 10
