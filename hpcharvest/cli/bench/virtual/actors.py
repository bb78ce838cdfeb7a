"""The real desk and the real agent, each ticked on virtual time."""

from __future__ import annotations

import math
import time

from hpcharvest.cli.bench.virtual.links import Hub, Wire
from hpcharvest.cli.bench.virtual.loop import Loop, Ticker
from hpcharvest.jumbo.desk import Desk
from hpcharvest.jumbo.node.agent import Agent


class Head:
    """Ticks a desk; what its CPU takes passes in the world (times `slowness`)."""

    def __init__(self, loop: Loop, hub: Hub, desk: Desk, slowness: float = 1.0) -> None:
        self._loop, self._hub, self._desk, self._slowness = loop, hub, desk, slowness
        self.cpu_s = 0.0
        self.dead = False
        self._free_at = loop.now
        self._ticker = Ticker(loop, self._tick)
        hub.ring = lambda due: self._ticker.wake(max(due, self._free_at))
        self._ticker.wake(loop.now)

    def _tick(self) -> float:
        if self.dead:
            return math.inf
        began = time.thread_time()
        self._desk.tick(self._loop.now)
        spent = (time.thread_time() - began) * self._slowness
        self.cpu_s += spent
        self._free_at = self._loop.now + spent
        self._hub.post(self._free_at)
        return max(self._free_at, self._desk.next_event())


class Node:
    """A node's process: its agent, which is ticked when it is due. A dead one does nothing more."""

    def __init__(self, loop: Loop, wire: Wire, agent: Agent) -> None:
        self._loop, self._wire = loop, wire
        self.agent = agent
        self.dead = False
        self._frozen_until = -math.inf
        self._ticker = Ticker(loop, self._tick)
        wire.ring = self._ticker.wake
        self._ticker.wake(loop.now)

    def kill(self) -> None:
        """End it as SIGKILL does."""
        self.dead = True
        self._wire.close()

    def cut(self) -> None:
        """Break its connection."""
        self._wire.cut()

    def freeze(self, seconds: float) -> None:
        """Stop it for a while, as SIGSTOP does."""
        self._frozen_until = self._loop.now + seconds

    def _tick(self) -> float:
        if self.dead or self.agent.over:
            return math.inf
        if self._loop.now < self._frozen_until:
            return self._frozen_until
        self.agent.tick(self._loop.now)
        return self.agent.next_event()
