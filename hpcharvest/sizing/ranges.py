"""How many allocations to ask for now for event ranges, and how large. Pure.

A first, plain policy: what the allocations that are alive can still do is taken off what there is to do; for the rest,
new ones are asked for, each as large as is wanted, and the last no larger than it needs to be.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil

from hpcharvest.model.ids import JobId
from hpcharvest.model.shape import NodeShape, Shape
from hpcharvest.model.words import counted
from hpcharvest.sizing.policy import Limits, Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotSize:
    """What does one range after another: cores, memory and GPUs on each of `nodes`. Memory in MB, 0: unknown."""

    nodes: int = 1
    cores: int = 1
    memory_mb: int = 0
    gpus: int = 0

    def slots(self, nodes: int, node: NodeShape) -> int:
        """Say how many fit on so many nodes."""
        beside = node.cores // self.cores
        if node.memory_mb and self.memory_mb:
            beside = min(beside, node.memory_mb // self.memory_mb)
        if self.gpus:
            beside = min(beside, node.gpus // self.gpus)
        return nodes // self.nodes * beside


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What allocations for event ranges should be like: nodes at the most, and walltime in seconds."""

    slot: SlotSize
    nodes: int
    walltime_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """A job's ranges that no allocation is to do yet, and how many seconds one takes."""

    job: JobId
    ranges: int
    range_s: float


def capacity(shape: Shape, slot: SlotSize, range_s: float, limits: Limits) -> int:
    """Say how many ranges an allocation can do, if it does nothing else."""
    waves = int(max(0.0, shape.walltime_s - limits.margin_s) / max(range_s, 0.001))
    return slot.slots(shape.nodes, limits.node) * max(waves, 1)


def plan_ranges(demands: Sequence[Demand], alive: int, wish: Wish, limits: Limits) -> Iterator[Plan]:
    """Give the allocations to ask for, with `alive` of ours alive already, for all jobs together.

    Every one is for all these jobs: which does how much of it, the feed decides while it runs.
    """
    jobs = tuple(one.job for one in demands if one.ranges > 0)
    left = sum(one.ranges for one in demands if one.ranges > 0)
    if not left:
        return
    range_s = sum(one.ranges * one.range_s for one in demands if one.ranges > 0) / left
    for _ in range(limits.max_allocations - alive):
        whole = Shape(nodes=_nodes(wish.nodes, wish, limits), walltime_s=wish.walltime_s, partition=limits.partition)
        does = capacity(whole, wish.slot, range_s, limits)
        if left <= 0 or not does:
            return
        nodes = _nodes(ceil(whole.nodes * left / does), wish, limits)
        shape = Shape(nodes=nodes, walltime_s=wish.walltime_s, partition=limits.partition)
        said = counted(min(left, does), "event range")
        yield Plan(
            shape=shape,
            jobs=jobs,
            reason=f"{said} of {range_s:.1f} s on {counted(nodes, 'node')} for {shape.walltime_s} s",
        )
        left -= does


def _nodes(wanted: int, wish: Wish, limits: Limits) -> int:
    """Fit a number of nodes to what a slot needs and the site allows."""
    least = max(limits.min_nodes, wish.slot.nodes)
    return min(max(wanted, least), max(wish.nodes, least), limits.max_nodes)
