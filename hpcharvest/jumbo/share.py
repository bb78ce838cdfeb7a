"""How the room on the nodes is divided into slots of event-service jobs: pure.

The first job gets as many slots as fit, the next what is left, and so on. A slot in which a range runs keeps its room
until that has ended, whoever may come before it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from hpcharvest.jumbo.placement import Need, Room


@dataclass(frozen=True, slots=True)
class Grant:
    """Slots of one job on a node, or on several that share each of them: the first has the grant."""

    count: int
    gpus: int = 0
    """As bits, of all these slots."""


NOTHING = Grant(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a job would take. Nodes are known by their place."""

    need: Need
    """Of one slot."""
    most: float = math.inf
    """So many slots could have work, on all nodes."""
    busy: Mapping[int, Grant] = field(default_factory=dict)
    """What it has now and cannot leave at once, by node."""
    absent: Collection[int] = ()
    """Nodes that no slot may be on."""


def divide(rooms: Sequence[Room], claims: Sequence[Claim]) -> list[dict[int, Grant]]:
    """Give each claim its slots, by node: in no more of them may ranges begin."""
    free = list(rooms)
    ideal = [_in_turn(free, claim) for claim in claims]
    free = list(rooms)
    for claim in claims:
        for node, grant in claim.busy.items():
            _take(free, claim.need, node, grant)
    return [_beside(free, claim, counts) for claim, counts in zip(claims, ideal, strict=True)]


def firsts(nodes: int, each: int) -> range:
    """Give the first node of each group of so many nodes; a rest that is too small for one is in none."""
    return range(0, nodes - each + 1, each)


def is_whole(first: int, each: int, absent: Collection[int]) -> bool:
    """Tell whether nobody of a group is absent."""
    return not absent or not any(node in absent for node in range(first, first + each))


def _in_turn(free: list[Room], claim: Claim) -> dict[int, int]:
    """Count a job's slots as if nothing were busy; first where it is already."""
    counts: dict[int, int] = {}
    left = claim.most
    groups = [node for node in firsts(len(free), claim.need.nodes) if is_whole(node, claim.need.nodes, claim.absent)]
    wanted = set(groups)
    busy = {node: grant.count for node, grant in claim.busy.items() if node in wanted}
    for node, most in [*busy.items(), *((node, math.inf) for node in groups)]:
        count = int(min(_fitting(free, claim.need, node), most, left))
        if count > 0:
            _take(free, claim.need, node, Grant(count, _choose(free, claim.need, node, count)))
            counts[node] = counts.get(node, 0) + count
            left -= count
    return counts


def _beside(free: list[Room], claim: Claim, counts: Mapping[int, int]) -> dict[int, Grant]:
    """Give a job so many slots, as far as they fit beside what is busy."""
    grants = {}
    for node, count in counts.items():
        busy = claim.busy.get(node, NOTHING)
        more = min(_fitting(free, claim.need, node), max(0, count - busy.count))
        fresh = Grant(more, _choose(free, claim.need, node, more))
        _take(free, claim.need, node, fresh)
        grant = Grant(min(count, busy.count + more), busy.gpus | fresh.gpus)
        if grant.count:
            grants[node] = grant
    return grants


def _fitting(free: Sequence[Room], need: Need, node: int) -> int:
    """Count the slots that fit on a node, or on all of those that would share them."""
    rooms = free[node : node + need.nodes]
    fit: float = min(room.cores for room in rooms) // need.cores
    if need.memory_mb:
        fit = min(fit, min(room.memory_mb for room in rooms) // need.memory_mb)
    if need.gpus:
        fit = min(fit, _common(rooms).bit_count() // need.gpus)
    return max(0, int(fit))


def _choose(free: Sequence[Room], need: Need, node: int, count: int) -> int:
    """Choose GPUs that are free on all nodes of these slots: the lowest."""
    common = _common(free[node : node + need.nodes])
    chosen = 0
    for _ in range(need.gpus * count):
        lowest = common & -common
        chosen, common = chosen | lowest, common & ~lowest
    return chosen


def _common(rooms: Sequence[Room]) -> int:
    common = rooms[0].gpus
    for room in rooms:
        common &= room.gpus
    return common


def _take(free: list[Room], need: Need, node: int, grant: Grant) -> None:
    for one in range(node, node + need.nodes):
        room = free[one]
        memory = room.memory_mb - need.memory_mb * grant.count
        free[one] = Room(room.cores - need.cores * grant.count, memory, room.gpus & ~grant.gpus)
