"""What to say of a batch job, by what SAGA says and what its own start and end left on disk. Pure.

SAGA has seven words. It says `Canceled` of a walltime that is over and of preemption too, and `Failed` of a lost node;
its `Unknown` may mean a batch system that is down. So the marks that a batch job leaves itself come first: an exit code
is never doubted, and a start proves that there is one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

PENDING, RUNNING, UNKNOWN = "PENDING", "RUNNING", "UNKNOWN"
COMPLETED, FAILED, TIMED_OUT, CANCELLED = "COMPLETED", "FAILED", "TIMED_OUT", "CANCELLED"
ENDS: Final = frozenset({COMPLETED, FAILED, TIMED_OUT, CANCELLED})

SAGA: Final = {
    "New": PENDING,
    "Pending": PENDING,
    "Running": RUNNING,
    "Suspended": RUNNING,
    "Done": COMPLETED,
    "Failed": FAILED,
    "Canceled": CANCELLED,
}
"""The words of SAGA's job model; another one, and its own `Unknown`, is UNKNOWN."""

LATE_S: Final = 300.0
"""So long after its walltime a batch job does not run any more, whatever SAGA knows of it: it ends itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """What is known of a batch job without SAGA. Times are seconds since the epoch."""

    walltime_s: int
    began: float | None = None
    """When its newest start was; None: it has not begun."""
    ended: float | None = None
    """When that start ended, by itself; None: it goes on, or was killed."""
    code: int = 0
    """The exit code with which it ended."""
    cancelled: bool = False
    """Whether we asked for its end."""
    revoked: bool = False
    """Whether it was kept from starting, and cannot any more."""

    @property
    def is_over_time(self) -> bool:
        """Whether it ended when its walltime did."""
        return self.began is not None and self.ended is not None and self.ended - self.began >= self.walltime_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What is said of a batch job: one of the words above, and in which words."""

    state: str
    words: str


def needs_saga(marks: Marks) -> bool:
    """Tell whether SAGA must be asked: not about a batch job that ended well by itself."""
    return marks.ended is None or marks.code != 0


def judge(marks: Marks, told: str | None, now: float) -> Said | None:
    """Say what is known; `told` is SAGA's word, None: it does not know the batch job. None: nothing is known of it."""
    if marks.ended is not None and marks.code == 0:
        return Said(state=COMPLETED, words="its script ended with exit code 0")
    late = marks.began is not None and now - marks.began > marks.walltime_s + LATE_S
    if told is None or (told not in SAGA and (late or marks.revoked)):
        return _without_saga(marks, late=late)
    state = SAGA.get(told, UNKNOWN)
    if marks.ended is not None:
        # SAGA's view may be old, or the batch system starts it again: its exit code is an end with SAGA's word only.
        return _failed(marks, told) if state in ENDS else Said(state=state, words=told)
    if state in {FAILED, CANCELLED} and marks.cancelled:
        return Said(state=CANCELLED, words=f"{told} as we asked")
    if state == CANCELLED:
        return Said(state=CANCELLED, words="Canceled, by somebody or something: SAGA does not tell preemption apart")
    return Said(state=state, words=told)


def _without_saga(marks: Marks, *, late: bool) -> Said | None:
    if marks.ended is not None:
        return _failed(marks, "SAGA does not know it")
    if marks.began is None:
        return Said(state=CANCELLED, words="kept from starting") if marks.revoked else None
    return None if late else Said(state=RUNNING, words="it began; SAGA does not know it")


def _failed(marks: Marks, told: str) -> Said:
    words = f"{told}, exit code {marks.code}"
    if marks.cancelled:
        return Said(state=CANCELLED, words=f"{words}, as we asked")
    if marks.is_over_time:
        return Said(state=TIMED_OUT, words=f"{words}: its walltime was over")
    return Said(state=CANCELLED if SAGA.get(told) == CANCELLED else FAILED, words=words)
