"""The slots of one job on a node, and the ranges that wait for them. No effects but those of the slots."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from hpcharvest.jumbo.links.messages import Slots
from hpcharvest.jumbo.node.appetite import Meter
from hpcharvest.jumbo.slots.slot import Done, Failed, Leased, Outcome, Slot
from hpcharvest.messenger.ranges import EventTask

SlotMaker = Callable[[EventTask, int, Sequence[str]], Slot]
"""Makes a slot for a job, on these GPUs (as bits), and these nodes (none: this one)."""
HUNG: Final = "hung: it took longer than it may"
NODE_GONE: Final = "a node that it was on is gone"


@dataclass(slots=True)
class _Seat:
    slot: Slot
    gpus: int
    nodes: Sequence[str]
    closing: bool = False

    def suits(self, orders: Slots) -> bool:
        """Tell whether it may go on, as far as its place goes."""
        return not self.gpus & ~orders.gpus and self.nodes == orders.nodes


class Crew:
    """One job's slots and ranges on a node."""

    def __init__(self, task: EventTask, make_slot: SlotMaker) -> None:
        self.task = task
        self.meter = Meter()
        self.asked = 0
        """How many ranges were asked for and did not come yet."""
        self.kept: set[int] = set()
        """Ranges that are done here, until the head knows of their archive; or failed, until that is durable."""
        self.durable: set[int] = set()
        """Of these, what is done and durable."""
        self.returned: set[int] = set()
        """Ranges of which it was told that they failed or are given back, until that is acknowledged."""
        self._make_slot = make_slot
        self._orders = Slots(job=task.job, count=0)
        self._seats: list[_Seat] = []
        self._queue: deque[Leased] = deque()
        self._tries: dict[int, int] = {}
        self._given: dict[int, float] = {}
        self._turns: dict[int, int] = {}
        """Of ranges that wait in their payload: after how many others, each on its core, they are ended there."""
        self._hung: set[int] = set()
        self._widest = 1

    @property
    def empty(self) -> bool:
        """Whether it has no slot, and no range that waits for one."""
        return not self._seats and not self._queue

    @property
    def have(self) -> int:
        """How many ranges wait or are under way."""
        return len(self._queue) + len(self._given)

    @property
    def capacity(self) -> int:
        """How many ranges may be under way at a time, as far as is known."""
        return self._orders.count * self._widest

    @property
    def needs_s(self) -> float:
        """How much time there must be left for a range to begin, in seconds."""
        return self._orders.needs_s

    def held(self) -> list[int]:
        """Give the indices of all ranges that it has and will tell of."""
        return sorted({one.index for one in self._queue} | self._given.keys() | self.kept | self.returned)

    def order(self, orders: Slots, now: float) -> None:
        """Take the head's orders: slots that are too many end when their ranges have."""
        self._orders = orders
        for seat in self._seats:
            if seat.nodes != orders.nodes:
                seat.slot.stop(seat.slot.held, NODE_GONE, now)
        wrong = [seat for seat in self._open() if not seat.suits(orders)]
        right = [seat for seat in self._open() if seat.suits(orders)]
        right.sort(key=lambda seat: -len(seat.slot.held))  # so that idle ones go first
        for seat in wrong + right[max(0, orders.count) :]:
            seat.closing = True
            seat.slot.finish(now)

    def add(self, ranges: Iterable[Leased]) -> None:
        """Let ranges wait; those that are here already are passed over. What was returned may come again."""
        here = {one.index for one in self._queue} | self._given.keys() | self.kept
        fresh = [one for one in ranges if one.index not in here]
        self._queue.extend(fresh)
        self.returned.difference_update(one.index for one in fresh)

    def forget(self, done: Iterable[int]) -> None:
        """Keep these no longer: the head knows of their archive, or they do not count."""
        gone = set(done)
        self.kept -= gone
        self.durable -= gone

    def serve(self, now: float) -> list[Outcome]:
        """Do what is due; give the outcomes that are final here. What will be tried again is none."""
        final = []
        for seat in self._seats:
            for outcome in seat.slot.serve(now):
                self._given.pop(outcome.leased.index, None)
                self._turns.pop(outcome.leased.index, None)
                judged = self._judge(outcome)
                if judged is not None:
                    final.append(judged)
        self._seats = [seat for seat in self._seats if not seat.slot.over]
        self._stop_hung(now)
        return final

    def fill(self, now: float) -> None:
        """Open the slots that were ordered, and give them ranges."""
        while len(self._seats) < self._orders.count and (gpus := self._free_gpus()) is not None:
            nodes = self._orders.nodes
            self._seats.append(_Seat(self._make_slot(self.task, gpus, nodes), gpus, nodes))
        for seat in self._open():
            self._widest = max(self._widest, len(seat.slot.held) + seat.slot.room)
            while self._queue and seat.slot.room > 0:
                leased = self._queue.popleft()
                self._given[leased.index] = now
                if before := len(seat.slot.held) // max(1, self.task.cores):
                    self._turns[leased.index] = before + 1
                seat.slot.give(leased, now)

    def recall(self, indices: Collection[int] = ()) -> list[Leased]:
        """Take out ranges that were not begun; none named: all."""
        taken = [one for one in self._queue if not indices or one.index in indices]
        self._queue = deque(one for one in self._queue if indices and one.index not in indices)
        return taken

    def finish(self, now: float) -> None:
        """Let every slot end when its ranges have."""
        self._orders = Slots(job=self.task.job, count=0, needs_s=self._orders.needs_s, limit_s=self._orders.limit_s)
        for seat in self._open():
            seat.closing = True
            seat.slot.finish(now)

    def stop(self, reason: str, now: float, left_s: float = 0.0) -> None:
        """Stop the ranges that cannot end within `left_s`; 0: all, and the slots with them."""
        for seat in self._seats:
            doomed = [one for one in seat.slot.held if self._ends_in(one, now) > left_s]
            if doomed or not left_s:
                seat.slot.stop(doomed if left_s else seat.slot.held, reason, now)

    def next_event(self) -> float:
        """Steady seconds when `serve` is to be called although nothing happened; infinity: never."""
        slots = min((seat.slot.next_event() for seat in self._seats), default=math.inf)
        return min(slots, self._next_hung())

    def filenos(self) -> list[int]:
        """Give the descriptors of all its slots."""
        return [one for seat in self._seats for one in seat.slot.filenos()]

    def _open(self) -> list[_Seat]:
        return [seat for seat in self._seats if not seat.closing]

    def _free_gpus(self) -> int | None:
        """Choose the GPUs of one more slot, as bits; None: there are not enough."""
        free = self._orders.gpus
        for seat in self._seats:
            free &= ~seat.gpus
        chosen = 0
        for _ in range(self.task.gpus):
            lowest = free & -free
            if not lowest:
                return None
            chosen, free = chosen | lowest, free & ~lowest
        return chosen

    def _judge(self, outcome: Outcome) -> Outcome | None:
        index = outcome.leased.index
        if index in self._hung:
            self._hung.discard(index)
            self._tries.pop(index, None)
            return Failed(leased=outcome.leased, error=HUNG, wall_s=outcome.wall_s)
        if isinstance(outcome, Failed) and not outcome.ours:
            tries = self._tries.pop(index, 0) + 1
            if tries < self.task.tries and self._orders.count:
                self._tries[index] = tries
                self._queue.appendleft(outcome.leased)
                return None
        else:
            self._tries.pop(index, None)
        if isinstance(outcome, Done):
            self.meter.ended(outcome.wall_s)
        return outcome

    @property
    def _limit_s(self) -> float:
        return self.task.range_walltime_s or self._orders.limit_s or math.inf

    def _next_hung(self) -> float:
        limit_s = self._limit_s
        if math.isinf(limit_s):
            return math.inf
        waiting = ((index, since) for index, since in self._given.items() if index not in self._hung)
        return next((since + limit_s * self._turns.get(index, 1) for index, since in waiting), math.inf)

    def _stop_hung(self, now: float) -> None:
        if self._next_hung() > now:
            return
        limit_s = self._limit_s
        late = {i for i, since in self._given.items() if now >= since + limit_s * self._turns.get(i, 1)}
        fresh = late - self._hung
        self._hung |= fresh
        for seat in self._seats:
            hung = [one for one in seat.slot.held if one.index in fresh]
            if hung:
                seat.slot.stop(hung, HUNG, now)

    def _ends_in(self, leased: Leased, now: float) -> float:
        """Guess in how many seconds a range ends; 0 if nothing is known."""
        since = self._given.get(leased.index, now)
        return max(0.0, self.needs_s * self._turns.get(leased.index, 1) - (now - since))
