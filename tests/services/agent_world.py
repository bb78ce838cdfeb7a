"""An agent on virtual time: its link, its slots and its outputs are all made up, and so is its head."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from hpcharvest.jumbo.links.messages import (
    Ack,
    Archived,
    Ask,
    Beat,
    Bye,
    HeadMessage,
    Hello,
    Lease,
    NodeMessage,
    Slots,
    Told,
    Welcome,
)
from hpcharvest.jumbo.node.agent import Agent
from hpcharvest.jumbo.node.outputs import Kept, Shut
from hpcharvest.jumbo.slots.slot import Done, Failed, Leased, Outcome
from hpcharvest.messenger.ranges import EventTask, PayloadKind
from hpcharvest.model.ids import Attempt, JobId
from tests.services.range_slots import JOB, leased

TASK = EventTask(job=JOB, attempt=Attempt(1), kind=PayloadKind.COMMAND, argv=("x",), folder="/nowhere")


class VirtualLink:
    """A node's end; messages take `delay_s` each way, and are lost with the connection."""

    def __init__(self, delay_s: float) -> None:
        self.delay_s = delay_s
        self.now = 0.0
        self._connected = False
        self._fresh = False
        self.inbound: deque[tuple[float, HeadMessage]] = deque()
        self.outbound: deque[tuple[float, NodeMessage]] = deque()
        self.sent: list[NodeMessage] = []

    def connect(self) -> None:
        self._connected = self._fresh = True

    def cut(self) -> None:
        self._connected = False
        self.inbound.clear()
        self.outbound.clear()

    def say(self, message: HeadMessage) -> None:
        if self._connected:
            self.inbound.append((self.now + self.delay_s, message))

    def heard(self) -> list[NodeMessage]:
        found = []
        while self.outbound and self.outbound[0][0] <= self.now:
            found.append(self.outbound.popleft()[1])
        return found

    def fileno(self) -> int:
        return -1

    def receive(self, now: float) -> Sequence[HeadMessage]:
        found = []
        while self.inbound and self.inbound[0][0] <= now:
            found.append(self.inbound.popleft()[1])
        return found

    def fresh(self) -> bool:
        fresh, self._fresh = self._fresh, False
        return fresh

    @property
    def connected(self) -> bool:
        return self._connected

    def next_event(self) -> float:
        return self.inbound[0][0] if self.inbound else math.inf

    def send(self, message: NodeMessage) -> None:
        self.sent.append(message)
        if self._connected:
            self.outbound.append((self.now + self.delay_s, message))

    def close(self) -> None:
        self.cut()


@dataclass
class Plan:
    """What ranges do: how long they take, which fail (how often), and which never end."""

    range_s: float = 10.0
    failures: dict[int, int] = field(default_factory=dict)
    hang: frozenset[int] = frozenset()


class VirtualSlot:
    """A slot of one range at a time."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.run: tuple[Leased, float] | None = None
        self.finishing = False
        self.idle_since = world.now
        self.stopped: str = ""

    @property
    def room(self) -> int:
        return 0 if self.run or self.finishing else 1

    @property
    def held(self) -> Sequence[Leased]:
        return [self.run[0]] if self.run else []

    @property
    def over(self) -> bool:
        return self.finishing and self.run is None

    def give(self, one: Leased, now: float) -> None:
        assert self.room
        self._world.idle_s += now - self.idle_since
        self.run = one, math.inf if one.index in self._world.plan.hang else now + self._world.plan.range_s
        self._world.begun.append(one.index)

    def filenos(self) -> Sequence[int]:
        return ()

    def next_event(self) -> float:
        return self.run[1] if self.run else math.inf

    def serve(self, now: float) -> Sequence[Outcome]:
        if not self.run or now < self.run[1]:
            return ()
        one, self.run, self.idle_since = self.run[0], None, now
        plan = self._world.plan
        if self.stopped:
            reason, self.stopped = self.stopped, ""
            return [Failed(leased=one, error=reason, wall_s=1.0, ours=True)]
        if plan.failures.get(one.index, 0) > 0:
            plan.failures[one.index] -= 1
            return [Failed(leased=one, error="bad", wall_s=plan.range_s)]
        return [Done(leased=one, output="", cpu_s=1.0, wall_s=plan.range_s)]

    def finish(self, now: float) -> None:
        assert now >= 0
        self.finishing = True

    def stop(self, ranges: Sequence[Leased], reason: str, now: float) -> None:
        if self.run and self.run[0] in ranges:
            self.stopped = reason
            self.run = self.run[0], now


class VirtualOutputs:
    """Outputs that become durable after `durable_s`, in archives of `most` ranges."""

    full = False

    def __init__(self, world: World, durable_s: float, most: int) -> None:
        self._world, self._durable_s, self._most = world, durable_s, most
        self._coming: deque[tuple[float, Kept]] = deque()
        self._out: list[Kept | Shut] = []
        self._open: dict[int, bool] = {}
        """By index: whether it was acknowledged."""
        self._sealed: list[dict[int, bool]] = []
        self._serial = 0
        self.durable: set[int] = set()

    @property
    def idle(self) -> bool:
        return not self._coming and not self._out

    def fileno(self) -> int:
        return -1

    def next_event(self) -> float:
        return -math.inf if self._out else self._coming[0][0] if self._coming else math.inf

    def add_done(self, job: JobId, done: Done) -> None:
        index = done.leased.index
        kept = Kept(job=job, done=([index, done.cpu_s, done.wall_s],))
        self._coming.append((self._world.now + self._durable_s, kept))

    def add_failed(self, job: JobId, one: Leased, error: str) -> None:
        self._coming.append((self._world.now + self._durable_s, Kept(job=job, failed=([one.index, error],))))

    def settle(self, job: JobId, indices: Collection[int], void: Collection[int]) -> None:
        assert job == JOB
        for archive in [*self._sealed, self._open]:
            for index in set(indices) & archive.keys():
                if index in void:
                    del archive[index]
                else:
                    archive[index] = True
        self._close()

    def seal(self, job: JobId) -> None:
        assert job == JOB
        if self._open:
            self._sealed.append(self._open)
            self._open = {}
        self._close()

    def take(self, now: float) -> Sequence[Kept | Shut]:
        while self._coming and self._coming[0][0] <= now:
            kept = self._coming.popleft()[1]
            self._out.append(kept)
            for row in kept.done:
                self.durable.add(row[0])
                self._open[row[0]] = False
            if len(self._open) >= self._most:
                self.seal(JOB)
        out, self._out = self._out, []
        return out

    def _close(self) -> None:
        for archive in [one for one in self._sealed if all(one.values())]:
            self._sealed.remove(archive)
            if archive:
                self._serial += 1
                rows = tuple([index, leased(index).range.id, 1.0, 1.0] for index in sorted(archive))
                self._out.append(Shut(job=JOB, name=f"a{self._serial}", size=1, adler32="0", ranges=rows))


class VirtualHead:
    """Counts each range once. What `known` says is done was counted by an earlier head."""

    def __init__(self, world: World, known: dict[int, str], total: int) -> None:
        self._world = world
        self.state = {index: known.get(index, "ready") for index in range(total)}
        self.numbers = 0
        self.names: set[str] = set()
        self._void: list[int] = []
        self.grudge: set[int] = set()
        """Ranges that somebody else has done meanwhile: they are void here."""

    def hear(self, message: NodeMessage) -> None:
        match message:
            case Hello(held=held):
                self.greet(set(held.get(str(JOB), [])))
            case Ask(want=want):
                self.lease(want)
            case Told():
                self.told(message)
            case Archived():
                self.archived(message)
            case Beat():
                self._world.beats += 1
            case Bye():
                self.part()

    def part(self) -> None:
        """Take back what was on its way to the node when it went; it told of everything else."""
        coming = {row[0] for _, one in self._world.link.inbound if isinstance(one, Lease) for row in one.ranges}
        leased_now = {index for index, state in self.state.items() if state == "leased"}
        assert leased_now <= coming
        self.state |= dict.fromkeys(leased_now, "ready")

    def greet(self, held: set[int]) -> None:
        for index, state in self.state.items():
            if state == "leased" and index not in held:
                self.state[index] = "ready"
            if state == "ready" and index in held:
                self.state[index] = "leased"
        self._world.link.say(Welcome(left_s=self._world.left_s))
        self._world.link.say(self._world.orders)

    def lease(self, want: int) -> None:
        ready = [index for index, state in self.state.items() if state == "ready"][:want]
        self.state |= dict.fromkeys(ready, "leased")
        if ready:
            ranges = [leased(index).range for index in ready]
            rows = [[index, one.id, one.start, one.last, "f"] for index, one in zip(ready, ranges, strict=True)]
            self._world.link.say(Lease(job=JOB, ranges=rows, files={"f": ["in.root", "G", "s"]}))

    def archived(self, message: Archived) -> None:
        assert message.number > self.numbers or message.name in self.names
        if message.name not in self.names:
            self.names.add(message.name)
            for row in message.ranges:
                assert self.state[row[0]] in {"done", "leased"}, (row, self.state[row[0]])
                self.state[row[0]] = "archived"
        self.acknowledge(message.number, [])

    def told(self, message: Told) -> None:
        void = []
        for row in message.done:
            if row[0] in self.grudge or self.state[row[0]] == "elsewhere":
                void.append(row[0])
                self.state[row[0]] = "elsewhere"
            elif message.number > self.numbers:
                assert self.state[row[0]] == "leased", (row, self.state[row[0]])
                self.state[row[0]] = "done"
        if message.number > self.numbers:
            for row in message.failed:
                assert self.state[row[0]] in {"leased", "failed"}, (row, self.state[row[0]])
                self.state[row[0]] = "failed"
            for index in message.back:
                assert self.state[index] == "leased", (index, self.state[index])
                self.state[index] = "ready"
        self.acknowledge(message.number, void)

    def acknowledge(self, number: int, void: list[int]) -> None:
        self.numbers = max(self.numbers, number)
        self._void += void
        if not self._world.deaf:
            self._world.link.say(Ack(number=number, void={str(JOB): self._void} if self._void else {}))
            self._void = []


@dataclass
class World:
    """All of it. Steady seconds."""

    total: int = 100
    slots: int = 2
    delay_s: float = 0.01
    durable_s: float = 0.1
    most: int = 10
    plan: Plan = field(default_factory=Plan)
    task: EventTask = TASK
    left_s: float | None = None
    needs_s: float = 0.0
    limit_s: float = 0.0
    deaf: bool = False
    connect: bool = True

    def __post_init__(self) -> None:
        self.now = 0.0
        self.idle_s = 0.0
        self.beats = 0
        self.begun: list[int] = []
        self.made: list[VirtualSlot] = []
        self.link = VirtualLink(self.delay_s)
        self.outputs = VirtualOutputs(self, self.durable_s, self.most)
        self.head = VirtualHead(self, {}, self.total)
        self.agent = Agent(
            node="n1", life=0, tasks=[self.task], link=self.link, make_slot=self._make, outputs=self.outputs
        )
        if self.connect:
            self.link.connect()

    @property
    def orders(self) -> Slots:
        return Slots(job=JOB, count=self.slots, needs_s=self.needs_s, limit_s=self.limit_s)

    def _make(self, _task: EventTask, _gpus: int, _nodes: Sequence[str]) -> VirtualSlot:
        self.made.append(VirtualSlot(self))
        return self.made[-1]

    def cut(self, *, new_head: bool = False) -> None:
        """Cut the connection; there is another head then, or the same."""
        self.link.cut()
        if new_head:
            published = {"archived", "failed", "elsewhere"}
            known = {index: state for index, state in self.head.state.items() if state in published}
            names = self.head.names
            self.head = VirtualHead(self, known, self.total)
            self.head.names = names

    def run(self, seconds: float) -> None:
        """Let time pass, from one thing that happens to the next."""
        end = self.now + seconds
        for _ in range(100_000):
            self.link.now = self.now
            self.agent.tick(self.now)
            for message in self.link.heard():
                self.head.hear(message)
            running = sum(1 for one in self.made if one.run)
            assert running <= self.slots
            if self.agent.over:
                for _, message in self.link.outbound:
                    self.head.hear(message)
                self.link.outbound.clear()
            if self.agent.over or self.now >= end:
                return
            coming = self.link.outbound[0][0] if self.link.outbound else math.inf
            due = min(self.agent.next_event(), coming, end)
            self.now = max(self.now, due) if due > self.now else self.now + 1e-6
        raise AssertionError("the agent spins")

    @property
    def said_goodbye(self) -> bool:
        return isinstance(self.link.sent[-1], Bye)

    def states(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for state in self.head.state.values():
            found[state] = found.get(state, 0) + 1
        return found
