"""What tests of the desk share: a link that only notes, tasks, and a desk with all that it asks for."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from hpcharvest.jumbo.desk import Desk
from hpcharvest.jumbo.links.messages import HeadMessage, Hello, Lease, NodeMessage
from hpcharvest.jumbo.placement import Room
from hpcharvest.messenger.protocol import Record
from hpcharvest.messenger.ranges import EventTask, Feed, PayloadKind
from hpcharvest.model.event_range import EventRange
from hpcharvest.model.ids import Attempt, JobId

Message = TypeVar("Message")


class Notebook:
    """A head's link: `came` is what nodes say next, `sent` what they were told."""

    def __init__(self) -> None:
        self.came: list[tuple[str, NodeMessage | None]] = []
        self.sent: list[tuple[str, HeadMessage]] = []
        self.dropped: list[str] = []

    def fileno(self) -> int:
        return -1

    def receive(self) -> Sequence[tuple[str, NodeMessage | None]]:
        came, self.came = self.came, []
        return came

    def send(self, node: str, message: HeadMessage) -> None:
        self.sent.append((node, message))

    def drop(self, node: str) -> None:
        self.dropped.append(node)

    def close(self) -> None:
        pass


def event_task(job: int = 1, **more: Any) -> EventTask:
    plain: dict[str, Any] = {"kind": PayloadKind.COMMAND, "argv": ("true",), "folder": "/nowhere"}
    return EventTask(job=JobId(job), attempt=Attempt(1), **(plain | more))


def feed_of(job: int, number: int, first: int, count: int, *, last: bool = False, files: int = 1) -> Feed:
    ranges = tuple(
        EventRange(id=f"{job}-{index}", start=index + 1, last=index + 1, lfn=f"f{(index - first) * files // count}")
        for index in range(first, first + count)
    )
    return Feed(job=JobId(job), number=number, first=first, ranges=ranges, last=last)


def nothing_saved(_node: str, _life: int) -> Sequence[Record]:
    return []


class Office:
    """A desk, and the hands of a test on all its sides."""

    def __init__(
        self,
        *tasks: EventTask,
        nodes: Iterable[str] = ("a", "b"),
        salvage: Callable[[str, int], Sequence[Record]] = nothing_saved,
        **more: Any,
    ) -> None:
        self.link = Notebook()
        self.feeds: dict[tuple[int, int], Feed | Exception] = {}
        self.looks: list[float] = []
        self.said: list[Record] = []
        self.published = True
        self.now = 0.0
        self.nodes = tuple(nodes)
        self.desk = Desk(
            tasks or (event_task(),),
            self.nodes,
            self.link,
            self.read,
            self.said.append,
            salvage=salvage,
            heartbeat_s=10.0,
            wall=lambda: 1000.0 + self.now,
            published=lambda: self.published,
            **more,
        )

    def read(self, job: JobId, number: int) -> Feed | None:
        self.looks.append(self.now)
        found = self.feeds.get((job, number))
        if isinstance(found, Exception):
            raise found
        return found

    def feed(self, feed: Feed) -> None:
        self.feeds[feed.job, feed.number] = feed

    def rooms(self, cores: int, memory_mb: float = math.inf, gpus: int = 0) -> None:
        self.desk.offer([Room(cores, memory_mb, gpus)] * len(self.nodes))

    def say(self, node: str, *messages: NodeMessage) -> list[tuple[str, HeadMessage]]:
        self.link.came += [(node, message) for message in messages]
        return self.tick()

    def hello(self, node: str, life: int = 0, **held: list[int]) -> list[tuple[str, HeadMessage]]:
        return self.say(node, Hello(node=node, life=life, held={job.strip("j"): these for job, these in held.items()}))

    def tick(self, seconds: float = 0.0) -> list[tuple[str, HeadMessage]]:
        """Let time pass, in steps of a second; give what nodes were told."""
        self.link.sent = []
        end = self.now + seconds
        while self.now < end - 1:
            self.now += 1
            self.desk.tick(self.now)
        self.now = end
        self.desk.tick(self.now)
        return self.link.sent


def of(kind: type[Message], sent: Iterable[tuple[str, HeadMessage]], node: str = "") -> list[Message]:
    """Give the messages of one kind, to one node or to all."""
    return [message for name, message in sent if isinstance(message, kind) and node in {"", name}]


def leased(sent: Iterable[tuple[str, HeadMessage]], node: str = "") -> list[int]:
    return [row[0] for lease in of(Lease, sent, node) for row in lease.ranges]
