"""Nodes as they are counted: by partition and shape, and which of them are free."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from hpcharvest.model.capacity import NodeGroup
from hpcharvest.model.shape import NodeShape


@dataclass(slots=True)
class _Count:
    total: int = 0
    free: list[str] = field(default_factory=list)


def grouped(nodes: Iterable[tuple[str, NodeShape, str, bool]]) -> Sequence[NodeGroup]:
    """Count nodes that are given one by one: partition, shape, name, and whether each is free."""
    counts: dict[tuple[str, NodeShape], _Count] = {}
    for partition, shape, name, free in nodes:
        count = counts.setdefault((partition, shape), _Count())
        count.total += 1
        count.free += [name] if free else []
    return [
        NodeGroup(partition=partition, shape=shape, total=count.total, free=tuple(count.free))
        for (partition, shape), count in counts.items()
    ]
