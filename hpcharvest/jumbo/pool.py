"""The tasks that wait and the room there is: bookkeeping in memory, no I/O and no clock."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hpcharvest.jumbo import drain, placement
from hpcharvest.jumbo.placement import Need, Room
from hpcharvest.messenger.protocol import Key, Task


@dataclass(frozen=True, slots=True)
class Place:
    """What a task got: nodes by name, of each as much as its need says, and the same GPUs on each."""

    nodes: tuple[str, ...]
    indices: tuple[int, ...]
    need: Need
    gpus: int = 0
    """A bit for each, as in a Room."""


class Pool:
    """Hands out tasks, the largest first and of these the longest, with a place for each."""

    def __init__(self, nodes: Sequence[str], cores: int, memory_mb: int, gpus: int = 0) -> None:
        self._nodes = tuple(nodes)
        self._whole = Room(cores, memory_mb or math.inf, (1 << gpus) - 1)
        self._rooms = [self._whole] * len(self._nodes)
        self._most = list(self._rooms)
        """What there will ever be on each node: all, but for what was given away."""
        self._waiting: dict[Need, list[Task]] = {}

    def add(self, tasks: Iterable[Task]) -> list[Task]:
        """Let tasks wait; return those that could never fit."""
        misfits = []
        for task in tasks:
            need = _need(task)
            if need.nodes <= len(self._nodes) and self._whole.fits(need):
                self._waiting.setdefault(need, []).append(task)
            else:
                misfits.append(task)
        for queue in self._waiting.values():
            queue.reverse()
            queue.sort(key=lambda task: task.walltime_s)
        self._waiting = dict(sorted(self._waiting.items(), reverse=True))
        return misfits

    def __len__(self) -> int:
        return sum(len(queue) for queue in self._waiting.values())

    def take(self) -> tuple[Task, Place] | None:
        """Take out the next task that fits now, and its place. Nodes are kept for the largest one that does not."""
        held: frozenset[int] = frozenset()
        for need, queue in self._waiting.items():
            if not queue:
                continue
            indices = placement.place(need, self._rooms, held)
            if indices is not None:
                gpus = self._rooms[indices[0]].gpus_for(need)
                for index in indices:
                    self._rooms[index] = self._rooms[index].without(need, gpus)
                return queue.pop(), Place(tuple(self._nodes[index] for index in indices), indices, need, gpus)
            held = held or placement.hold(need, self._rooms, self._most)
        return None

    def give_back(self, place: Place) -> None:
        """Free a place."""
        for index in place.indices:
            self._rooms[index] = self._rooms[index].again(place.need, place.gpus)

    def give_away(self) -> list[Room]:
        """Take out the room, node by node, that no waiting task needs: event ranges may have it for good.

        The nodes that any waiting task would get first are kept: else ranges, of which there are always more, would
        keep it out for ever.
        """
        kept: set[int] = set()
        for need, queue in self._waiting.items():
            if queue:
                kept |= placement.hold(need, self._rooms, self._most)
        given = [Room(0, 0) if index in kept else room for index, room in enumerate(self._rooms)]
        for index, room in enumerate(given):
            self._rooms[index] = self._rooms[index].minus(room)
            self._most[index] = self._most[index].minus(room)
        return given

    def too_long(self, left_s: float) -> list[Task]:
        """Take out the tasks that cannot end in the time that is left: it only becomes less."""
        late = []
        for queue in self._waiting.values():
            while queue and not drain.fits(queue[-1].walltime_s, left_s):
                late.append(queue.pop())
        return late

    def withdraw(self, key: Key) -> Task | None:
        """Take out one task; None: it does not wait."""
        for queue in self._waiting.values():
            for index, task in enumerate(queue):
                if task.key == key:
                    return queue.pop(index)
        return None

    def clear(self) -> list[Task]:
        """Take out all."""
        tasks = [task for queue in self._waiting.values() for task in queue]
        self._waiting.clear()
        return tasks


def _need(task: Task) -> Need:
    return Need(max(task.nodes, 1), max(task.cores, 1), max(task.memory_mb, 0), max(task.gpus, 0))
