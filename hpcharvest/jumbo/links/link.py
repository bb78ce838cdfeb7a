"""The two ends of a link, whatever it is made of. Nothing here ever blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from hpcharvest.jumbo.links.messages import HeadMessage, NodeMessage


class HeadLink(Protocol):
    """The head's end: all its nodes."""

    def fileno(self) -> int:
        """Give a descriptor that becomes readable when there is something to do; -1: there is none, call often."""

    def receive(self) -> Sequence[tuple[str, NodeMessage | None]]:
        """Take what came, in order, each with its node's name; None instead of a message: the node's end is gone.

        Also sends on what could not be sent before. A node that said Hello is a node; what comes before is dropped.
        """

    def send(self, node: str, message: HeadMessage) -> None:
        """Send as soon as the node takes it; to a node that is gone, nothing happens."""

    def drop(self, node: str) -> None:
        """Hang up on a node, whose silence was too long."""

    def close(self) -> None:
        """Hang up on everybody, after a last try to send what is left."""


class NodeLink(Protocol):
    """A node's end: its head, which may go away and come back as another one."""

    def fileno(self) -> int:
        """As the head's; it may be another after each `receive`."""

    def receive(self, now: float) -> Sequence[HeadMessage]:
        """Take what came; connect (again) if it is time to. `now`: steady seconds.

        When it has connected, `fresh` is true once: the node says Hello and repeats what was not acknowledged.
        """

    def fresh(self) -> bool:
        """Whether it has connected since this was asked last."""

    @property
    def connected(self) -> bool:
        """Whether there is a head at the other end, as far as one knows."""

    def next_event(self) -> float:
        """Steady seconds when `receive` is to be called although nothing came; infinity: never."""

    def send(self, message: NodeMessage) -> None:
        """Send if there is a head; else nothing happens, as the node says all again that matters."""

    def close(self) -> None:
        """Hang up, after a last try to send what is left."""
