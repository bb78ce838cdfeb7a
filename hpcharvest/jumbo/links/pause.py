"""Pauses between tries in vain: each twice as long as the last, up to a longest."""

from __future__ import annotations


class Pause:
    """How long to wait after a try in vain; in seconds."""

    def __init__(self, shortest_s: float, longest_s: float) -> None:
        self._shortest_s = shortest_s
        self._longest_s = longest_s
        self._next_s = shortest_s

    def next(self, chance: float = 1.0) -> float:
        """Give the pause that is due, and let the next be longer.

        `chance`, from 0 to 1, shortens it by up to a half, so that many who failed together do not come back together.
        """
        pause_s, self._next_s = self._next_s, min(2 * self._next_s, self._longest_s)
        return pause_s * (1 + chance) / 2

    def reset(self) -> None:
        """Begin with the shortest again: it went well."""
        self._next_s = self._shortest_s
