"""An allocation on virtual time: a head, many nodes, one job; and all that may happen to them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from hpcharvest.cli.bench.virtual.actors import Head, Node
from hpcharvest.cli.bench.virtual.feed import feeds, range_id
from hpcharvest.cli.bench.virtual.links import Hub, Wire
from hpcharvest.cli.bench.virtual.loop import Loop
from hpcharvest.cli.bench.virtual.slots import Seconds, VirtualSlot, Watch
from hpcharvest.cli.bench.virtual.storage import Storage, saved
from hpcharvest.jumbo.desk import Desk
from hpcharvest.jumbo.node.agent import Agent
from hpcharvest.jumbo.placement import Room
from hpcharvest.messenger.protocol import Record
from hpcharvest.messenger.ranges import ArchiveClosed, EventTask, PayloadKind
from hpcharvest.model.event_range import EventRange
from hpcharvest.model.ids import Attempt, JobId

JOB: Final = JobId(1)
PUBLISH_S: Final = 0.2
"""From a head's word to the journal: what it has said until then dies with it."""
RESTART_S: Final = 2.0
"""Until another process is started on a node; and another head."""


def never(_one: EventRange) -> str:
    """Let no range fail."""
    return ""


@dataclass(kw_only=True)
class World:
    """An allocation that is over at `length_s`; its runner begins to leave `margin_s` before."""

    nodes: int
    cores: int
    length_s: float
    ranges: int
    seconds: Seconds
    fails: Callable[[EventRange], str] = never
    margin_s: float = 60.0
    heartbeat_s: float = 10.0
    width: int = 1
    """Ranges side by side in one slot, as payloads with workers of their own have them."""
    journal: list[Record] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.loop = Loop()
        self.watch = Watch(self.nodes * self.cores)
        kind = PayloadKind.COMMAND if self.width == 1 else PayloadKind.SERVICE
        self.task = EventTask(
            job=JOB, attempt=Attempt(1), kind=kind, argv=("true",), folder="/allocation", cores=self.width
        )
        self.names = [f"n{number:05d}" for number in range(self.nodes)]
        self.spools: dict[tuple[str, int], dict[str, list[str]]] = {}
        self.running: dict[str, Node] = {}
        self._lives: dict[str, int] = {}
        self._said: list[Record] = []
        self._feed = feeds(JOB, self.ranges, 50_000, 50)
        self.begin_head(takes_over=False)
        self.loop.at(self.length_s - self.margin_s, lambda: self.desk.leave("the end is near", self.margin_s))

    # The head

    def begin_head(self, *, takes_over: bool) -> None:
        """Start a head, the first or the next."""
        hub = self.hub = Hub(self.loop)
        self._said = []
        self.desk = Desk(
            (self.task,),
            self.names,
            hub,
            self._feed,
            self._say,
            salvage=self._salvage,
            heartbeat_s=self.heartbeat_s,
            wall=lambda: self.loop.now,
            now=self.loop.now,
            leave_at=self.length_s - self.margin_s,
            published=lambda: not self._said,
            known=tuple(self.journal),
            takes_over=takes_over,
        )
        self.desk.offer([Room(self.cores, math.inf)] * self.nodes)
        self.head: Head | None = Head(self.loop, hub, self.desk)

    def kill_head(self) -> None:
        """End the head as SIGKILL does; the next one is started."""
        if self.head is not None:
            self.head.dead = True
            self.head = None
            self._said = []
            for node in self.running.values():
                node.cut()
            self.loop.at(self.loop.now + RESTART_S, lambda: self.begin_head(takes_over=True))

    def _say(self, record: Record) -> None:
        if not self._said:
            head = self.head
            self.loop.at(self.loop.now + PUBLISH_S, lambda: self._publish(head))
        self._said.append(record)

    def _publish(self, head: Head | None) -> None:
        if head is self.head:
            self.journal += self._said
            self._said = []

    def _salvage(self, node: str, life: int) -> list[Record]:
        return saved(JOB, self.spools.get((node, life), {}), self.loop.now)

    # The nodes

    def start(self, starts: Iterable[float]) -> None:
        """Start the nodes' processes, each at its moment."""
        for name, moment in zip(self.names, starts, strict=True):
            self.loop.at(moment, self._starter(name))

    def kill_node(self, name: str) -> None:
        """End a node's process as SIGKILL does; another is started."""
        self.running[name].kill()
        self.loop.at(self.loop.now + RESTART_S, self._starter(name))

    def replace_lost(self) -> None:
        """Start other processes where some were given up, or ended by themselves: the runner's business."""
        over = [name for name, node in self.running.items() if node.agent.over and self.desk.expects(name)]
        for name in {*self.desk.lost(), *over}:
            self._starter(name)()

    def _starter(self, name: str) -> Callable[[], None]:
        def begin() -> None:
            life = self._lives[name] = self._lives.get(name, -1) + 1
            wire = Wire(self.loop, lambda: None if self.head is None else self.hub, name)
            storage = Storage(self.task, name, life, lambda index: range_id(JOB, index), self.loop)
            self.spools[name, life] = storage.spool
            agent = Agent(
                node=name,
                life=life,
                tasks=(self.task,),
                link=wire,
                make_slot=lambda _task, _gpus, _nodes: VirtualSlot(self.width, self.seconds, self.fails, self.watch),
                outputs=storage,
                heartbeat_s=self.heartbeat_s,
            )
            self.running[name] = Node(self.loop, wire, agent)

        return begin

    @property
    def head_cpu_s(self) -> float:
        """What the head that is there has used of its processor."""
        return self.head.cpu_s if self.head is not None else 0.0

    def counted_s(self) -> float:
        """Give the core seconds of all ranges that count, in archives that are closed."""
        closed = [record for record in self.journal if isinstance(record, ArchiveClosed)]
        return sum(one.wall_s for record in closed for one in record.ranges)
