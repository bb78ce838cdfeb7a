"""How long a slot waits before it starts a process again: so that one that dies at once does not spin. Pure."""

from __future__ import annotations

from typing import Final

FIRST_S: Final = 0.1
LONGEST_S: Final = 30.0
AT_ONCE_S: Final = 1.0
"""A process that fails after less than this has died at once."""


class Pause:
    """Grows from failure to failure, and is gone with the first success. Steady seconds."""

    def __init__(self) -> None:
        self.until = 0.0
        self.failures = 0
        """In a row."""

    def over(self, now: float) -> bool:
        """Whether a process may be started."""
        return now >= self.until

    def failed(self, now: float) -> None:
        """Wait, and longer than the last time."""
        self.until = now + min(LONGEST_S, FIRST_S * 2 ** min(self.failures, 16))
        self.failures += 1

    def succeeded(self) -> None:
        """Wait no more."""
        self.until, self.failures = 0.0, 0
