"""Who is there: what the head knows of each node's process. Bookkeeping in memory, no I/O and no clock."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from hpcharvest.jumbo.links.messages import Ack

START_S: Final = 600.0
"""A node that has not come after so long, at first or after it was lost, is not waited for. It is welcome though."""


@dataclass(slots=True)
class Peer:
    """A node, and what it is owed. Times are steady seconds."""

    name: str
    place: int
    """Among the nodes of the allocation."""
    life: int = -1
    """Of the process that was there last; -1: none was."""
    there: bool = False
    """Whether it said Hello, and neither Bye nor nothing for too long since."""
    heard_at: float = 0.0
    lost_at: float | None = None
    """When it was given up; or when it should have come."""
    heeded: bool = False
    """Whether the process at the other end is that one; else it is an older one that was told to go."""
    left: bool = False
    """Whether it said Bye."""
    given_up: set[int] = field(default_factory=set)
    """Lives whose ranges are others' by now: such a process must go."""
    facts: Mapping[str, float] = field(default_factory=dict)
    """What its monitors saw last."""
    _number: int = 0
    _void: dict[str, list[int]] = field(default_factory=dict)
    _unpublished: bool = False

    def greet(self, life: int, now: float) -> None:
        """Note that a process of this life is there (again)."""
        self._number = self._number if life == self.life else 0
        self.life, self.there, self.heeded, self.left = life, True, True, False
        self.heard_at, self.lost_at = now, None
        self._void, self._unpublished = {}, False

    def take_in(self, number: int, job: int, void: Iterable[int] = (), *, publishes: bool = False) -> None:
        """Note that a numbered message was taken in; `publishes`: it is not, until the journal has it."""
        self._number = max(self._number, number)
        vain = list(void)
        if vain:
            self._void.setdefault(str(job), []).extend(vain)
        self._unpublished |= publishes

    def acknowledge(self, *, published: bool) -> Ack | None:
        """Give what is to be acknowledged now. `published`: whether the journal has all that was said."""
        if self._unpublished and not published:
            return None
        ack = Ack(number=self._number, void=self._void)
        self._void, self._unpublished = {}, False
        return ack


class Muster:
    """All nodes of the allocation, and of those that are there, who was silent for longest."""

    def __init__(self, nodes: Iterable[str], now: float) -> None:
        self._peers = {node: Peer(node, place) for place, node in enumerate(nodes)}
        self._by_silence: dict[str, None] = {}
        self._began_at = now
        self.places: dict[str, int] = {}
        """Of the nodes that are there."""

    def __iter__(self) -> Iterator[Peer]:
        return iter(self._peers.values())

    @property
    def all_came(self) -> bool:
        """Whether all nodes are there."""
        return len(self.places) == len(self._peers)

    def may_come(self, peer: Peer, now: float) -> bool:
        """Tell whether a node is there, or is still waited for."""
        since = self._began_at if peer.lost_at is None else peer.lost_at
        return peer.there or (not peer.left and now < since + START_S)

    def overdue(self, now: float) -> list[Peer]:
        """Give those that never came, and should have."""
        if now < self._began_at + START_S:
            return []
        return [peer for peer in self if peer.life < 0 and peer.lost_at is None]

    def get(self, node: str) -> Peer | None:
        """Give a node; None: it is none of the allocation's."""
        return self._peers.get(node)

    def there(self) -> list[Peer]:
        """Give those that are there."""
        return [self._peers[node] for node in self._by_silence]

    def greet(self, peer: Peer, life: int, now: float) -> None:
        """Note that a node's process is there (again)."""
        peer.greet(life, now)
        self.heard(peer, now)

    def heard(self, peer: Peer, now: float) -> None:
        """Note that a node which is there said something."""
        peer.heard_at = now
        self._by_silence.pop(peer.name, None)
        self._by_silence[peer.name] = None
        self.places[peer.name] = peer.place

    def excuse(self, seconds: float) -> None:
        """Pass over so many seconds in which nobody listened to those that are there."""
        for peer in self.there():
            peer.heard_at += seconds

    def gone(self, peer: Peer) -> None:
        """Note that a node is there no longer."""
        peer.there = False
        self._by_silence.pop(peer.name, None)
        self.places.pop(peer.name, None)

    def silent_since(self, moment: float) -> list[Peer]:
        """Give those that are there and said nothing after this moment."""
        silent = []
        for node in self._by_silence:
            if self._peers[node].heard_at >= moment:
                break
            silent.append(self._peers[node])
        return silent
