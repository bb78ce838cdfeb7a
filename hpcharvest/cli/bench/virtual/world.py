"""An allocation on virtual time: one head, many nodes, one job."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

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

JOB = JobId(1)


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
    margin_s: float = 60.0
    heartbeat_s: float = 10.0
    width: int = 1
    """Ranges side by side in one slot, as payloads with workers of their own have them."""
    records: list[Record] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.loop = Loop()
        self.hub = Hub(self.loop)
        self.watch = Watch(self.nodes * self.cores)
        kind = PayloadKind.COMMAND if self.width == 1 else PayloadKind.SERVICE
        self.task = EventTask(
            job=JOB, attempt=Attempt(1), kind=kind, argv=("true",), folder="/allocation", cores=self.width
        )
        self.names = [f"n{number:05d}" for number in range(self.nodes)]
        self.spools: dict[tuple[str, int], dict[str, list[str]]] = {}
        self.desk = Desk(
            (self.task,),
            self.names,
            self.hub,
            feeds(JOB, self.ranges, 50_000, 50),
            self.records.append,
            salvage=self._salvage,
            heartbeat_s=self.heartbeat_s,
            wall=lambda: self.loop.now,
            leave_at=self.length_s - self.margin_s,
        )
        self.desk.offer([Room(self.cores, math.inf)] * self.nodes)
        self.head = Head(self.loop, self.hub, self.desk)
        self.loop.at(self.length_s - self.margin_s, lambda: self.desk.leave("the end is near", self.margin_s))

    def start(self, starts: Iterable[float]) -> None:
        """Start the nodes' processes, each at its moment."""
        for name, moment in zip(self.names, starts, strict=True):
            self.loop.at(moment, self._starter(name))

    def _starter(self, name: str) -> Callable[[], None]:
        def begin() -> None:
            wire = Wire(self.loop, lambda: self.hub, name)
            storage = Storage(self.task, name, 0, lambda index: range_id(JOB, index), self.loop)
            self.spools[name, 0] = storage.spool
            agent = Agent(
                node=name,
                life=0,
                tasks=(self.task,),
                link=wire,
                make_slot=lambda _task, _gpus: VirtualSlot(self.width, self.seconds, never, self.watch),
                outputs=storage,
                heartbeat_s=self.heartbeat_s,
            )
            Node(self.loop, wire, agent)

        return begin

    def _salvage(self, node: str, life: int) -> list[Record]:
        return saved(JOB, self.spools.get((node, life), {}), self.loop.now)

    def counted_s(self) -> float:
        """Give the core seconds of all ranges that count, in archives that are closed."""
        closed = [record for record in self.records if isinstance(record, ArchiveClosed)]
        return sum(one.wall_s for record in closed for one in record.ranges)
