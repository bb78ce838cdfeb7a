"""How many ranges a node asks for: pure. Enough that no slot waits, and no more, as others may be idle."""

from __future__ import annotations

import math
from typing import Final

SHORT_S: Final = 60.0
"""Of ranges that take less than this, each slot has one that waits."""
LONGEST_ANSWER_S: Final = 10.0
"""A head that answers later than this has nothing to give; asking for more would not help."""
MOST: Final = 10_000
"""Ranges of one job that wait on one node."""
_WEIGHT: Final = 0.2
"""Of the newest, in an average."""


class Meter:
    """How long ranges take here, and answers of the head, in seconds; 0: not known yet."""

    def __init__(self) -> None:
        self.range_s = 0.0
        self.answer_s = 0.0
        self._asked_at: float | None = None

    def ended(self, wall_s: float) -> None:
        """Learn that a range was done in so many seconds."""
        self.range_s = _mean(self.range_s, wall_s)

    def asked(self, now: float) -> None:
        """Learn that the head was asked for more."""
        if self._asked_at is None:
            self._asked_at = now

    def answered(self, now: float) -> None:
        """Learn that some came."""
        if self._asked_at is not None:
            self.answer_s = _mean(self.answer_s, min(now - self._asked_at, LONGEST_ANSWER_S))
            self._asked_at = None


def spare(capacity: int, range_s: float, answer_s: float) -> int:
    """Tell how many ranges should wait beside the `capacity` that are under way.

    Half of them last for as long as an answer takes, as more are asked for when half are gone.
    """
    if not capacity:
        return 0
    meanwhile = 2 * math.ceil(capacity * answer_s / range_s) if range_s else 0
    return min(MOST, max(meanwhile, capacity if range_s < SHORT_S else 1))


def want(capacity: int, spare_: int, have: int, asked: int) -> int | None:
    """Tell how many more to ask for now; None: it is not time to. `asked`: were asked for before and did not come."""
    if not capacity:
        return 0 if asked else None
    return capacity + spare_ - have if have + asked < capacity + (spare_ + 1) // 2 else None


def _mean(old: float, new: float) -> float:
    return old + _WEIGHT * (new - old) if old else new
