"""Links on virtual time. Messages are encoded and decoded as on real ones, as that is the head's work too."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from hpcharvest.cli.bench.virtual.loop import Loop
from hpcharvest.jumbo.links import messages
from hpcharvest.jumbo.links.messages import HeadMessage, NodeMessage

LATENCY_S: Final = 0.001
"""Of a message, one way."""


class Hub:
    """The head's end of the links: a `HeadLink`. Messages are encoded and decoded as on a real one."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._came: deque[tuple[float, Wire, int, bytes]] = deque()
        self._wires: dict[str, Wire] = {}
        self.ring: Callable[[float], None] = lambda _: None
        self._outbox: list[tuple[Wire, bytes]] = []

    def join(self, wire: Wire) -> None:
        """Let a node be reached here, and no longer where it was before."""
        other = self._wires.get(wire.node, wire)
        if other is not wire:
            other.cut()
        self._wires[wire.node] = wire

    def bring(self, wire: Wire, line: bytes) -> None:
        """Take a node's message on its way."""
        due = self._loop.now + LATENCY_S
        self._came.append((due, wire, wire.connection, line))
        self.ring(due)

    def fileno(self) -> int:
        """There is none."""
        return -1

    def receive(self) -> Sequence[tuple[str, NodeMessage | None]]:
        """Take what came."""
        taken: list[tuple[str, NodeMessage | None]] = []
        while self._came and self._came[0][0] <= self._loop.now:
            _, wire, connection, line = self._came.popleft()
            message = messages.decode(line)
            if connection == wire.connection and self._wires.get(wire.node) is wire:
                taken.append((wire.node, message))  # type: ignore[arg-type]  # nodes say nothing else
        return taken

    def send(self, node: str, message: HeadMessage) -> None:
        """Send to a node that is there."""
        wire = self._wires.get(node)
        if wire is not None:
            self._outbox.append((wire, messages.encode(message)))

    def post(self, moment: float) -> None:
        """Let what the head has said go out at this moment."""
        outbox, self._outbox = self._outbox, []
        for wire, line in outbox:
            wire.deliver(line, moment)

    def drop(self, node: str) -> None:
        """Hang up on a node."""
        wire = self._wires.pop(node, None)
        if wire is not None:
            wire.cut()

    def close(self) -> None:
        """Hang up on all."""
        for node in list(self._wires):
            self.drop(node)


class Wire:
    """A node's end of a link: a `NodeLink`. It finds the head one second after it began, or half of one after a cut."""

    FIRST_S: Final = 1.0
    AGAIN_S: Final = 0.5

    def __init__(self, loop: Loop, hub: Callable[[], Hub | None], node: str) -> None:
        self._loop, self._hub, self.node = loop, hub, node
        self._came: deque[HeadMessage] = deque()
        self._fresh = False
        self._due = loop.now + self.FIRST_S
        self.connection = 0
        self.connected = False
        self.ring: Callable[[float], None] = lambda _: None

    def cut(self) -> None:
        """Lose the connection, with all that is on its way."""
        self.connection += 1
        self.connected = False
        self._came.clear()
        self._due = self._loop.now + self.AGAIN_S
        self.ring(self._due)

    def deliver(self, line: bytes, moment: float) -> None:
        """Take the head's message, which goes out at this moment, on its way."""
        connection = self.connection

        def arrive() -> None:
            if connection == self.connection:
                self._came.append(messages.decode(line))  # type: ignore[arg-type]  # a head says nothing else
                self.ring(self._loop.now)

        self._loop.at(moment + LATENCY_S, arrive)

    def fileno(self) -> int:
        """There is none."""
        return -1

    def receive(self, now: float) -> Sequence[HeadMessage]:
        """Take what came; connect if it is time to and there is a head."""
        hub = self._hub()
        if not self.connected and now >= self._due:
            self._due = now + self.AGAIN_S
            if hub is not None:
                hub.join(self)
                self.connected = self._fresh = True
        taken, self._came = list(self._came), deque()
        return taken

    def fresh(self) -> bool:
        """Whether it has connected since this was asked last."""
        fresh, self._fresh = self._fresh, False
        return fresh

    def next_event(self) -> float:
        """When to connect."""
        return math.inf if self.connected else self._due

    def send(self, message: NodeMessage) -> None:
        """Send if there is a head."""
        hub = self._hub()
        if self.connected and hub is not None:
            hub.bring(self, messages.encode(message))

    def close(self) -> None:
        """Hang up for good."""
        self.connection += 1
        self.connected = False
        self._due = math.inf
