"""The two ends of a link as the scenarios of the contract use them: with patience, and with what was heard so far."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from hpcharvest.jumbo.links.link import HeadLink, NodeLink
from hpcharvest.jumbo.links.messages import HeadMessage, Hello, NodeMessage

PATIENCE_S = 60.0


def wait(descriptor: int, seconds: float = 0.02) -> None:
    """Wait until there is something to do, as the loops of head and nodes do."""
    if descriptor >= 0:
        select.select([descriptor], [], [], seconds)
    else:
        time.sleep(0.001)


def until(
    true: Callable[[], object],
    turn: Callable[[], None],
    what: str,
    heard: Sequence[object],
    patience_s: float = PATIENCE_S,
) -> None:
    end = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < end, f"waited in vain for {what}; heard: {heard[-5:]}"
        turn()


@dataclass
class AtHead:
    """The head's end, and all that it heard: with names."""

    link: HeadLink
    heard: list[tuple[str, NodeMessage | None]] = field(default_factory=list)

    def turn(self) -> None:
        wait(self.link.fileno())
        self.heard += self.link.receive()

    def until(self, true: Callable[[], object], what: str) -> None:
        until(true, self.turn, what, self.heard)

    def until_here(self, *nodes: str) -> None:
        self.until(lambda: set(nodes) <= {node for node, said in self.heard if isinstance(said, Hello)}, f"{nodes}")

    def until_gone(self, *nodes: str) -> None:
        self.until(lambda: set(nodes) <= {node for node, said in self.heard if said is None}, f"the end of {nodes}")

    def of(self, node: str) -> list[NodeMessage | None]:
        return [said for name, said in self.heard if name == node]

    def has(self, node: str, message: NodeMessage | None) -> bool:
        return (node, message) in self.heard


@dataclass
class AtNode:
    """A node's end, all that it heard, and how often it said Hello, which it does whenever it is to."""

    link: NodeLink
    name: str
    polite: bool = True
    heard: list[HeadMessage] = field(default_factory=list)
    greeted: int = 0

    def turn(self) -> None:
        wait(self.link.fileno())
        self.heard += self.link.receive(time.monotonic())
        if self.polite and self.link.fresh():
            self.greeted += 1
            self.link.send(Hello(node=self.name, life=0))

    def until(self, true: Callable[[], object], what: str) -> None:
        until(true, self.turn, what, self.heard)

    def until_heard(self, count: int) -> None:
        self.until(lambda: len(self.heard) >= count, f"{count} messages")
