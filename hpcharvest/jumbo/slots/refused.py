"""A slot of a job whose payload cannot be had on this node: it says so, range by range, and harms no other job."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hpcharvest.jumbo.slots.pause import Pause
from hpcharvest.jumbo.slots.slot import Failed, Leased, Outcome


class RefusedSlot:
    """Fails every range, less and less often."""

    def __init__(self, error: str, *, ours: bool = False) -> None:
        """Begin. `ours`: it is the node's fault, and not the payload's."""
        self._error, self._ours = error, ours
        self._pause = Pause()
        self._ready: list[Outcome] = []
        self._finishing = False
        self._now = 0.0

    @property
    def room(self) -> int:
        """1, but for the pauses."""
        return 0 if self._ready or self._finishing or not self._pause.over(self._now) else 1

    @property
    def held(self) -> Sequence[Leased]:
        """Nothing."""
        return ()

    @property
    def over(self) -> bool:
        """Whether it takes no more."""
        return self._finishing and not self._ready

    def give(self, leased: Leased, now: float) -> None:
        """Let it fail."""
        self._pause.failed(now)
        self._ready.append(Failed(leased=leased, error=self._error, wall_s=0.0, ours=self._ours))

    def filenos(self) -> Sequence[int]:
        """Give none."""
        return ()

    def next_event(self) -> float:
        """Steady seconds when it takes or tells something."""
        if self._ready:
            return -math.inf
        return math.inf if self._finishing or self._pause.over(self._now) else self._pause.until

    def serve(self, now: float) -> Sequence[Outcome]:
        """Tell what failed."""
        self._now = now
        ready, self._ready = self._ready, []
        return ready

    def finish(self, now: float) -> None:
        """Take no more."""
        self._now = now
        self._finishing = True

    def stop(self, ranges: Sequence[Leased], reason: str, now: float) -> None:
        """Do nothing: nothing runs."""
