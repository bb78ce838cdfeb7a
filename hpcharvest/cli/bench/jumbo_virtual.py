"""An allocation's start and its two hours on virtual time: the real desk and the real agents in a world of their own.

What is assumed: ranges take a log-normal time around a minute, ten milliseconds pass between two in one slot, a message
takes a millisecond, an output is durable after one second, an archive is closed after two. The launcher starts the
nodes' processes over ten seconds, each needs a second or so until it runs, and one more to find the head; the last
runs after more than an hour.
The head's own CPU time is measured, and passes in the world.
"""

from __future__ import annotations

import random
from typing import Any, Final

from hpcharvest.cli.bench.virtual.feed import log_normal
from hpcharvest.cli.bench.virtual.world import World

TWO_HOURS_S: Final = 7200.0
RANGE_S: Final = 60.0
SIGMA: Final = 0.25
LAUNCH_S: Final = 10.0
STRAGGLER_S: Final = 3730.0
"""A node that was seen to need so long."""
PATIENCE_S: Final = 600.0
SPARE: Final = 1.1
"""Ranges beyond those that could be done."""


def two_hours(nodes: int, cores: int, seed: int) -> dict[str, Any]:
    """Run an allocation of two hours; give which share of its core time was spent in ranges that count."""
    world = _world(nodes, cores, seed, ranges=int(nodes * cores * TWO_HOURS_S / RANGE_S * SPARE))
    world.start(_starts(nodes, seed))
    world.loop.run(TWO_HOURS_S)
    share = world.counted_s() / (nodes * cores * TWO_HOURS_S)
    return {"core_time_in_events_2h": round(share, 4), "head_cpu_s_2h": round(world.head_cpu_s, 1)}


def start(nodes: int, cores: int, seed: int) -> dict[str, Any]:
    """Start so many nodes, of which the last is a straggler; give how long it takes until all others are busy."""
    world = _world(nodes, cores, seed, ranges=2 * nodes * cores)
    starts = _starts(nodes, seed)
    world.watch.wanted -= cores
    world.start([*starts[:-1], STRAGGLER_S])
    world.loop.run(PATIENCE_S, lambda: world.watch.full_at is not None)
    full_at = world.watch.full_at
    return {
        f"startup_s_{nodes}_nodes": None if full_at is None else round(full_at, 2),
        f"last_process_there_s_{nodes}_nodes": round(max(starts[:-1]), 2),
        f"head_cpu_s_{nodes}_nodes": round(world.head_cpu_s, 2),
    }


def _world(nodes: int, cores: int, seed: int, ranges: int) -> World:
    seconds = log_normal(RANGE_S, SIGMA, seed)
    return World(nodes=nodes, cores=cores, length_s=TWO_HOURS_S, ranges=ranges, seconds=seconds, width=cores)


def _starts(nodes: int, seed: int) -> list[float]:
    chance = random.Random(seed)  # noqa: S311  # no secret
    return [chance.uniform(0, LAUNCH_S) + chance.lognormvariate(0.0, 0.5) for _ in range(nodes)]
