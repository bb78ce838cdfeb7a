"""Slots on virtual time."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from hpcharvest.jumbo.slots.slot import Done, Failed, Leased, Outcome
from hpcharvest.model.event_range import EventRange

BEGIN_S: Final = 0.01
"""From one range in a slot to the next: a process ends, another starts."""

Seconds = Callable[[EventRange], float]
"""How long a range takes."""


@dataclass(slots=True)
class Watch:
    """How many ranges are under way in the whole world, and when there were as many as there is room for."""

    wanted: int
    now: int = 0
    full_at: float | None = None

    def began(self, moment: float) -> None:
        """Count one more."""
        self.now += 1
        if self.now >= self.wanted and self.full_at is None:
            self.full_at = moment

    def ended(self, count: int = 1) -> None:
        """Count them off."""
        self.now -= count


class VirtualSlot:
    """A slot whose ranges take their time, `width` of them side by side; a `Slot`."""

    def __init__(self, width: int, seconds: Seconds, fails: Callable[[EventRange], str], watch: Watch) -> None:
        self._width = width
        self._seconds = seconds
        self._fails = fails
        self._watch = watch
        self._ends: list[tuple[float, int, float, Leased]] = []
        self._stopped: list[Outcome] = []
        self._finishing = False

    @property
    def room(self) -> int:
        """How many more it would take."""
        return 0 if self._finishing else self._width - len(self._ends)

    @property
    def held(self) -> Sequence[Leased]:
        """What it has."""
        return [one[3] for one in self._ends]

    @property
    def over(self) -> bool:
        """Whether nothing is left."""
        return self._finishing and not self._ends and not self._stopped

    def give(self, leased: Leased, now: float) -> None:
        """Begin a range."""
        wall_s = self._seconds(leased.range)
        heapq.heappush(self._ends, (now + BEGIN_S + wall_s, leased.index, wall_s, leased))
        self._watch.began(now)

    def filenos(self) -> Sequence[int]:
        """There are none."""
        return ()

    def next_event(self) -> float:
        """When the next range ends."""
        if self._stopped:
            return -math.inf
        return self._ends[0][0] if self._ends else math.inf

    def serve(self, now: float) -> Sequence[Outcome]:
        """Give the ranges that have ended."""
        found, self._stopped = self._stopped, []
        while self._ends and self._ends[0][0] <= now:
            _, _, wall_s, leased = heapq.heappop(self._ends)
            self._watch.ended()
            error = self._fails(leased.range)
            if error:
                found.append(Failed(leased=leased, error=error, wall_s=wall_s))
            else:
                found.append(Done(leased=leased, output="", cpu_s=wall_s, wall_s=wall_s))
        return found

    def finish(self, now: float) -> None:  # noqa: ARG002  # as every slot
        """Take no more."""
        self._finishing = True

    def stop(self, ranges: Sequence[Leased], reason: str, now: float) -> None:  # noqa: ARG002  # as every slot
        """Stop ranges at once."""
        doomed = {one.index for one in ranges}
        self._stopped += [
            Failed(leased=one[3], error=reason, wall_s=0.0, ours=True) for one in self._ends if one[1] in doomed
        ]
        self._ends = [one for one in self._ends if one[1] not in doomed]
        heapq.heapify(self._ends)
        self._watch.ended(len(doomed))
