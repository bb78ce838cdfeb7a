"""When to stop: pure rules about the time that is left."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

HUNG_TIMES: Final = 10.0
"""A range that takes so many times as long as nineteen of twenty is hung,"""
KNOWN_ENOUGH: Final = 20
"""once so many were done."""
EXCESS: Final = 1.1
"""Ranges are asked for beyond what can be done, as the fastest of them decide what that is."""
AHEAD_S: Final = 60.0
"""How long the feed takes to answer, before it has answered."""
SHORTEST_AHEAD_S: Final = 10.0
LONGEST_AHEAD_S: Final = 900.0
FRESH: Final = 8
"""One value of so many may be missing."""
MOST_AHEAD: Final = 5_000_000
"""Ranges at a time, whatever their pace."""


def leave_at(now: float, left_s: float | None, margin_s: float) -> float:
    """Give the moment, on the clock of `now`, when the runner has to begin to leave; infinity: never."""
    return math.inf if left_s is None else now + left_s - margin_s


def fits(walltime_s: float, left_s: float) -> bool:
    """Tell whether a payload with this limit (0: none) may start with `left_s` to go before the runner leaves.

    One without a limit may start while there is any time: nobody knows better.
    """
    return left_s > 0 and walltime_s <= left_s


def spent(walltime_s: float, ran_s: float, start_s: float) -> bool:
    """Tell whether a payload with this limit (0: none) has had its time, but for the seconds that a start takes.

    Of one so near its limit it is not the allocation's fault that it has to go: it would only go round for ever.
    """
    return 0 < walltime_s <= ran_s + min(start_s, walltime_s / 2)


class Quantile:
    """What share of the newest values stays below what: bounded, and exact but for the very newest."""

    def __init__(self, share: float, keep: int = 4096) -> None:
        self._share = share
        self._keep = keep
        self._ring: list[float] = []
        self._place = 0
        self._sorted: list[float] = []
        self._unsorted = 0
        self.seen = 0
        self.total = 0.0

    def add(self, values: Sequence[float]) -> None:
        """Learn more values; of very many at once, the last."""
        self.seen += len(values)
        self.total += sum(values)
        values = values[-self._keep :]
        room = self._keep - len(self._ring)
        self._ring += values[:room]
        for value in values[room:]:
            self._ring[self._place] = value
            self._place = (self._place + 1) % self._keep
        self._unsorted += len(values)

    def value(self) -> float:
        """Give the value below which that share lies; 0: nothing is known."""
        if not self._ring:
            return 0.0
        if self._unsorted * FRESH >= len(self._ring):  # sorting is dear, and it is asked for at every turn
            self._sorted = sorted(self._ring)
            self._unsorted = 0
        return self._sorted[max(math.ceil(self._share * len(self._sorted)), 1) - 1]

    def mean(self) -> float:
        """Give the mean of all values; 0: nothing is known."""
        return self.total / self.seen if self.seen else 0.0


class Pace:
    """How long the event ranges of one job take, in wall seconds: learnt while they run."""

    def __init__(self, range_walltime_s: float = 0.0) -> None:
        self._range_walltime_s = range_walltime_s
        self._walls = Quantile(0.95)

    def learn(self, walls_s: Sequence[float]) -> None:
        """Learn how long ranges took that were done; what is no time is passed over."""
        self._walls.add([wall_s for wall_s in walls_s if 0 <= wall_s < math.inf])

    @property
    def mean_s(self) -> float:
        """How long one takes; 0: not known."""
        return self._walls.mean()

    @property
    def needs_s(self) -> float:
        """How much time there must be for one to begin: what nineteen of twenty need. 0: not known, begin freely."""
        return self._walls.value()

    @property
    def limit_s(self) -> float:
        """What takes longer is hung; 0: there is no limit, or none is known yet."""
        if self._range_walltime_s > 0:
            return self._range_walltime_s
        return HUNG_TIMES * self.needs_s if self._walls.seen >= KNOWN_ENOUGH else 0.0


def appetite(told: int, slots: int, mean_s: float, ahead_s: float, left_s: float) -> int:
    """Tell how many ranges of a job are wanted in this allocation, in all.

    `told`: those that have an outcome; `slots`: ranges that are under way at a time; `mean_s`: how long one takes (0:
    not known); `ahead_s`: how long the feed takes to answer; `left_s`: until the runner leaves. Two for each slot and
    as many as are done before the feed answers, but no more than can be done at all, and a tenth of that.
    """
    if left_s <= 0:
        return told
    rate = slots / mean_s if mean_s > 0 else 0.0
    wanted = 2 * slots + math.ceil(min(rate * ahead_s, MOST_AHEAD))
    if rate and rate * left_s * EXCESS < wanted:
        wanted = math.ceil(rate * left_s * EXCESS)
    return told + wanted


def ahead(ahead_s: float, answered_s: float) -> float:
    """Learn from an answer of the feed how long the next may take: quickly when it is late, slowly when it is early."""
    safe_s = min(max(1.5 * answered_s, SHORTEST_AHEAD_S), LONGEST_AHEAD_S)
    return max(safe_s, ahead_s + 0.2 * (safe_s - ahead_s))
