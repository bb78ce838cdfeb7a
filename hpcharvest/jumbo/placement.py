"""Which nodes a task gets: pure. A node is the cores, the memory and the GPUs that are free on it."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Need:
    """What a task asks for; ordered by size. All but `nodes` is for each of its nodes."""

    nodes: int
    cores: int
    memory_mb: int = 0
    gpus: int = 0


@dataclass(frozen=True, slots=True)
class Room:
    """What is free on a node. `memory_mb` may be infinite: nobody knows how much there is."""

    cores: int
    memory_mb: float
    gpus: int = 0
    """A bit for each free GPU, the lowest for the first."""

    def fits(self, need: Need) -> bool:
        """Tell whether a task with this need may come in."""
        if need.cores > self.cores or need.memory_mb > self.memory_mb:
            return False
        if need.nodes > 1:
            first = _first(need.gpus)
            return self.gpus & first == first
        return self.gpus.bit_count() >= need.gpus

    def gpus_for(self, need: Need) -> int:
        """Choose the GPUs of a task that fits, as bits.

        One on several nodes gets the first ones, as one variable names them on all its nodes; so others get the last
        that are free.
        """
        if need.nodes > 1:
            return _first(need.gpus)
        rest = self.gpus
        for _ in range(rest.bit_count() - need.gpus):
            rest &= rest - 1
        return rest

    def without(self, need: Need, gpus: int = 0) -> Room:
        """Give what is left after a task came in and took these GPUs."""
        return Room(self.cores - need.cores, self.memory_mb - need.memory_mb, self.gpus & ~gpus)

    def plus(self, other: Room) -> Room:
        """Give both rooms as one, on the same node."""
        return Room(self.cores + other.cores, self.memory_mb + other.memory_mb, self.gpus | other.gpus)

    def minus(self, other: Room) -> Room:
        """Give what is left when a part of this room is taken; of infinite memory, all is."""
        memory = self.memory_mb if math.isinf(self.memory_mb) else self.memory_mb - other.memory_mb
        return Room(self.cores - other.cores, memory, self.gpus & ~other.gpus)

    def again(self, need: Need, gpus: int = 0) -> Room:
        """Give what is there after a task went out that had these GPUs."""
        return Room(self.cores + need.cores, self.memory_mb + need.memory_mb, self.gpus | gpus)


def place(need: Need, rooms: Sequence[Room], held: Collection[int] = ()) -> tuple[int, ...] | None:
    """Choose nodes for a task, by index: the fullest that still fit, so that wide room stays whole. None: not now.

    Nodes in `held` are kept for somebody else.
    """
    fitting = [index for index, room in enumerate(rooms) if room.fits(need) and index not in held]
    if len(fitting) < need.nodes:
        return None
    if need.nodes > 1:
        fitting.sort(key=lambda index: rooms[index].cores)
        return tuple(fitting[: need.nodes])
    return (min(fitting, key=lambda index: rooms[index].cores),)


def hold(need: Need, rooms: Sequence[Room], most: Sequence[Room]) -> frozenset[int]:
    """Choose the nodes to be kept for a task that does not fit now: the emptiest, which are the first to be free.

    Without this, a stream of small tasks would keep a large one out for ever. `most`: what there will ever be on each
    node; where the task does not fit into that, nothing is kept.
    """

    def fullness(index: int) -> tuple[float, ...]:
        room = rooms[index]
        return -room.cores, -room.memory_mb, -room.gpus.bit_count()

    emptiest = sorted((index for index, room in enumerate(most) if room.fits(need)), key=fullness)
    return frozenset(emptiest[: need.nodes])


def _first(count: int) -> int:
    """Give the bits of the first GPUs of a node."""
    return (1 << count) - 1
