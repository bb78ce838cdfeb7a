"""Virtual time: a heap of what is due leads from one moment to the next, and nothing waits."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable


class Loop:
    """What is due when, on virtual time."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._serial = itertools.count()

    def at(self, moment: float, act: Callable[[], None]) -> None:
        """Let something happen, at the earliest now."""
        heapq.heappush(self._due, (max(moment, self.now), next(self._serial), act))

    def run(self, until: float, enough: Callable[[], bool] = lambda: False) -> None:
        """Let time pass."""
        while self._due and self._due[0][0] <= until and not enough():
            self.now, _, act = heapq.heappop(self._due)
            act()


class Ticker:
    """Ticks something when it is due, and no oftener than is asked for."""

    def __init__(self, loop: Loop, tick: Callable[[], float]) -> None:
        self._loop = loop
        self._tick = tick
        self._next = math.inf

    def wake(self, moment: float) -> None:
        """Tick at this moment, or earlier."""
        if moment < self._next:
            self._next = moment
            self._loop.at(moment, lambda: self._ring(moment))

    def _ring(self, moment: float) -> None:
        if moment == self._next:
            self._next = math.inf
            self.wake(self._tick())
