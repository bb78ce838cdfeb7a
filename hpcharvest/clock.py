"""What time it is: the only module that asks the machine.

Two clocks, never mixed: *wall* seconds since the epoch (UTC) go into records, reports and file names, and may jump;
*steady* seconds are for intervals and deadlines within one process, and never do.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Something that tells the time."""

    def wall(self) -> float:
        """Seconds since the epoch, UTC."""

    def steady(self) -> float:
        """Seconds since some moment in this process; never goes back."""


class SystemClock:
    """The machine's own clocks."""

    def wall(self) -> float:
        """Seconds since the epoch, UTC."""
        return time.time()

    def steady(self) -> float:
        """Seconds since some moment in this process; never goes back."""
        return time.monotonic()


class ManualClock:
    """A clock that goes on only when it is told to; for tests and simulations."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def wall(self) -> float:
        """Seconds since the epoch, as set."""
        return self.now

    def steady(self) -> float:
        """Tell the same as `wall`."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass."""
        self.now += seconds
