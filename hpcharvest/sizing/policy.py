"""How many allocations to ask for now, how large, how long, and made of which jobs. Pure.

A first, plain policy: jobs in the order given (priority, then age) fill an allocation until it is full by count or by
time; a part-filled one waits a moment for company. Every decision carries its reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil

from hpcharvest.model.ids import JobId
from hpcharvest.model.shape import NodeShape, Shape
from hpcharvest.model.words import counted
from hpcharvest.sizing.fit import Footprint

START_S = 30
"""Seconds that a batch job takes to start its first payload: its walltime has them on top, where the site allows it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a site allows. Times in seconds."""

    node: NodeShape
    min_nodes: int = 1
    max_nodes: int = 1
    max_walltime_s: int = 3600
    max_allocations: int = 10
    max_jobs: int = 200
    linger_s: float = 0.5
    margin_s: float = 60.0
    partition: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A job that may be given to an allocation. `since`: wall seconds when it came into the queue.

    `setbacks`: how often an allocation that it belonged to came to nothing.
    """

    job: JobId
    footprint: Footprint
    since: float
    setbacks: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """An allocation to ask for."""

    shape: Shape
    jobs: tuple[JobId, ...]
    reason: str


def why_never(footprint: Footprint, limits: Limits) -> str:
    """Say why a job of this size can never run within `limits`; empty if it can."""
    if footprint.nodes > limits.max_nodes:
        return f"it needs {_nodes(footprint, limits)}, and {limits.max_nodes} may be asked for"
    if footprint.gpus > limits.node.gpus:
        return f"it needs {footprint.gpus} GPUs on each node, and a node has {limits.node.gpus}"
    if footprint.walltime_s + limits.margin_s > limits.max_walltime_s:
        return (
            f"it needs {footprint.walltime_s} s and {limits.margin_s:g} s of margin, "
            f"and {limits.max_walltime_s} s may be asked for"
        )
    return ""


def _nodes(footprint: Footprint, limits: Limits) -> str:
    """Say how many nodes a job needs, and what for: its memory, if that alone is too much, else its cores."""
    nodes = counted(footprint.nodes, "node")
    memory = footprint.nodes * footprint.memory_mb
    if memory > limits.max_nodes * limits.node.memory_mb > 0:
        return f"{nodes} of {limits.node.memory_mb} MB for its {memory} MB of memory"
    return f"{nodes} of {counted(limits.node.cores, 'core')}"


def plan(candidates: Sequence[Candidate], alive: int, limits: Limits, now: float) -> Iterator[Plan]:
    """Give the allocations to ask for at `now`, with `alive` of ours alive already.

    Candidates of which `why_never` has something to say must have been taken out before.
    """
    room = limits.max_allocations - alive
    left = list(candidates)
    while left and room > 0:
        filling = _fill(left, limits)
        taken = filling.taken
        full = len(taken) < len(left) or len(taken) >= limits.max_jobs
        waited = now - min(one.since for one in taken)
        if not full and 0 <= waited < limits.linger_s:  # less than nothing: the clock jumped back
            return
        why = "full" if full else f"waited {waited:.1f} s for company"
        shape = Shape(nodes=filling.nodes, walltime_s=filling.walltime_s, partition=limits.partition)
        yield Plan(
            shape=shape,
            jobs=tuple(one.job for one in taken),
            reason=f"{counted(len(taken), 'job')} on {counted(shape.nodes, 'node')} for {shape.walltime_s} s ({why})",
        )
        gone = {one.job for one in taken}
        left = [one for one in left if one.job not in gone]
        room -= 1


@dataclass(frozen=True, slots=True)
class _Filling:
    """What goes into one allocation."""

    taken: list[Candidate]
    nodes: int
    walltime_s: int


def _fill(candidates: Sequence[Candidate], limits: Limits) -> _Filling:
    """Take jobs from the front while they can all be done, one wave after another, in the longest walltime allowed.

    The more setbacks a job had, the fewer companions it gets, and is passed over where there are more already: what one
    of them brings upon the others finds an end.
    """
    taken: list[Candidate] = []
    share, area, longest, widest, walltime = 0.0, 0.0, 0, 0, 0
    room = limits.max_jobs
    for one in candidates:
        if len(taken) >= room:
            break
        company = max(1, limits.max_jobs >> one.setbacks)
        if len(taken) >= company:
            continue
        size = one.footprint
        part = _share(size, limits.node)
        wanted, wave = share + part, max(longest, size.walltime_s)
        # All at once, if there are nodes for all; else any greedy order ends within the work spread over all nodes plus
        # the longest of them.
        spread = (area + part * size.walltime_s) / limits.max_nodes if ceil(wanted) > limits.max_nodes else 0
        need = ceil(wave + spread + limits.margin_s)
        if taken and need > limits.max_walltime_s:
            break
        taken.append(one)
        room = min(room, company)
        share, longest, area = wanted, wave, area + part * size.walltime_s
        widest = max(widest, size.nodes)
        walltime = min(need + START_S, limits.max_walltime_s)
    nodes = max(limits.min_nodes, widest, min(ceil(share), limits.max_nodes))
    return _Filling(taken, nodes, walltime)


def _share(size: Footprint, node: NodeShape) -> float:
    """Say how much of how many nodes a job takes, as whole jobs fit side by side by cores, memory and GPUs."""
    beside = node.cores // size.cores
    if node.memory_mb and size.memory_mb:
        beside = min(beside, node.memory_mb // size.memory_mb)
    if size.gpus:
        beside = min(beside, node.gpus // size.gpus)
    return size.nodes / max(beside, 1)
