"""Which nodes a task gets: pure. A node is the cores and the memory that are free on it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Need:
    """What a task asks for; ordered by size. `cores` and `memory_mb` are for each of its nodes."""

    nodes: int
    cores: int
    memory_mb: int = 0


@dataclass(frozen=True, slots=True)
class Room:
    """What is free on a node. `memory_mb` may be infinite: nobody knows how much there is."""

    cores: int
    memory_mb: float

    def fits(self, need: Need) -> bool:
        """Tell whether a task with this need may come in."""
        return need.cores <= self.cores and need.memory_mb <= self.memory_mb

    def without(self, need: Need) -> Room:
        """Give what is left after a task came in."""
        return Room(self.cores - need.cores, self.memory_mb - need.memory_mb)

    def again(self, need: Need) -> Room:
        """Give what is there after a task went out."""
        return Room(self.cores + need.cores, self.memory_mb + need.memory_mb)


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


def hold(need: Need, rooms: Sequence[Room]) -> frozenset[int]:
    """Choose the nodes to be kept for a task that does not fit now: the emptiest, which are the first to be free.

    Without this, a stream of small tasks would keep a large one out for ever.
    """
    emptiest = sorted(range(len(rooms)), key=lambda index: (-rooms[index].cores, -rooms[index].memory_mb))
    return frozenset(emptiest[: need.nodes])
