"""A head in small, for tests of nodes: it hands out ranges, acknowledges what it hears, and remembers all of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from hpcharvest.clock import SystemClock
from hpcharvest.jumbo.links.messages import (
    Ack,
    Archived,
    Ask,
    Beat,
    Bye,
    Hello,
    Lease,
    Leave,
    NodeMessage,
    Slots,
    Told,
    Welcome,
)
from hpcharvest.jumbo.links.sockets import SocketHead
from hpcharvest.messenger.ranges import LINK
from tests.services.range_slots import JOB, leased


@dataclass
class SmallHead:
    """Serves one job, of `total` ranges. Ranges in `void` do not count; `deaf`: it acknowledges nothing."""

    folder: Path
    total: int
    slots: int = 2
    incarnation: int = 0
    void: frozenset[int] = frozenset()
    deaf: bool = False
    left_s: float | None = None
    limit_s: float = 0.0
    ready: list[int] = field(default_factory=list)
    done: dict[int, int] = field(default_factory=dict)
    """How often each was told as done."""
    failed: dict[int, str] = field(default_factory=dict)
    back: list[int] = field(default_factory=list)
    hellos: list[Hello] = field(default_factory=list)
    beats: list[Beat] = field(default_factory=list)
    archives: dict[str, Archived] = field(default_factory=dict)
    byes: list[Bye] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ready = self.ready or list(range(self.total))
        self.link = SocketHead(
            self.folder / LINK, host="127.0.0.1", incarnation=self.incarnation, nodes=1, clock=SystemClock()
        )

    def serve(self, until: Callable[[], object], patience_s: float = 60.0) -> None:
        end = time.monotonic() + patience_s
        while not until():
            assert time.monotonic() < end, f"waited in vain: {self}"
            for node, message in self.link.receive():
                if message is not None:
                    self.hear(node, message)
            time.sleep(0.005)

    def leave(self, reason: str, left_s: float) -> None:
        self.link.send("n1", Leave(reason=reason, left_s=left_s))

    def hear(self, node: str, message: NodeMessage) -> None:
        match message:
            case Hello(held=held):
                self.hellos.append(message)
                self.ready = [one for one in self.ready if one not in held.get(str(JOB), [])]
                self.link.send(node, Welcome(left_s=self.left_s))
                self.link.send(node, Slots(job=JOB, count=self.slots, limit_s=self.limit_s))
            case Ask(want=want):
                given, self.ready = self.ready[:want], self.ready[want:]
                ranges = [leased(index) for index in given]
                rows = [[one.index, one.range.id, one.range.start, one.range.last, "0"] for one in ranges]
                self.link.send(node, Lease(job=JOB, ranges=rows, files={"0": ["in.root", "G", "s"]}))
            case Told():
                for row in message.done:
                    self.done[row[0]] = self.done.get(row[0], 0) + 1
                self.failed |= {row[0]: row[1] for row in message.failed}
                self.back += message.back
                void = [row[0] for row in message.done if row[0] in self.void]
                self.acknowledge(node, message.number, void)
            case Archived():
                self.archives[message.name] = message
                self.acknowledge(node, message.number, [])
            case Beat():
                self.beats.append(message)
            case Bye():
                self.byes.append(message)

    def acknowledge(self, node: str, number: int, void: list[int]) -> None:
        if not self.deaf:
            self.link.send(node, Ack(number=number, void={str(JOB): void} if void else {}))

    @property
    def counted(self) -> list[int]:
        return sorted(row[0] for one in self.archives.values() for row in one.ranges)
