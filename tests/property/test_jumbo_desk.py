"""The law of the desk and its agents together: whatever dies and returns, each range counts exactly once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial

import hypothesis.strategies as st
from hypothesis import given, settings

from hpcharvest.cli.bench.virtual.feed import range_id
from hpcharvest.cli.bench.virtual.world import JOB, World
from hpcharvest.messenger.ranges import ArchiveClosed, RangesFailed
from hpcharvest.model.event_range import EventRange

NODES = 3
RANGES = 40
TROUBLES: dict[str, Callable[[World, str], None]] = {
    "kill node": lambda world, node: world.kill_node(node),
    "kill head": lambda world, _node: world.kill_head(),
    "cut": lambda world, node: world.running[node].cut(),
    "freeze": lambda world, node: world.running[node].freeze(5.0),
    "freeze until it is given up": lambda world, node: world.running[node].freeze(100.0),
}
troubles = st.lists(
    st.tuples(st.floats(2.1, 150.0), st.sampled_from(sorted(TROUBLES)), st.integers(0, NODES - 1)), max_size=12
)


def outcomes(world: World) -> Counter[str]:
    records = [record for record in world.journal if isinstance(record, ArchiveClosed | RangesFailed)]
    return Counter(one.id for record in records for one in record.ranges)


def world_with(troubles: list[tuple[float, str, int]], fails: Callable[[EventRange], str]) -> World:
    world = World(
        nodes=NODES,
        cores=2,
        length_s=100_000.0,
        ranges=RANGES,
        seconds=lambda one: 1.0 + one.start % 17,
        fails=fails,
    )
    world.start([1.0, 1.5, 2.0])
    for moment, what, place in troubles:
        world.loop.at(moment, partial(TROUBLES[what], world, world.names[place]))
    return world


def run(world: World) -> None:
    """Let time pass until all is done, and longer."""
    for moment in range(5, 6000, 5):
        world.loop.run(moment)
        world.replace_lost()
        if moment > 400 and world.head is not None and not world.desk.busy:
            world.loop.run(moment + 1)  # so that the journal has it all
            return


@settings(max_examples=60, deadline=None)
@given(troubles=troubles)
def test_whatever_dies_and_returns_each_range_counts_exactly_once(troubles: list[tuple[float, str, int]]) -> None:
    world = world_with(troubles, lambda _one: "")
    run(world)
    assert outcomes(world) == Counter(range_id(JOB, index) for index in range(RANGES))


@settings(max_examples=30, deadline=None)
@given(troubles=troubles)
def test_ranges_that_fail_are_told_once_and_keep_no_other_from_being_done(
    troubles: list[tuple[float, str, int]],
) -> None:
    world = world_with(troubles, lambda one: "exit code 1" if one.start % 7 == 0 else "")
    run(world)
    assert outcomes(world) == Counter(range_id(JOB, index) for index in range(RANGES))
    failed = [one for record in world.journal if isinstance(record, RangesFailed) for one in record.ranges]
    assert {one.id for one in failed} == {range_id(JOB, start - 1) for start in range(1, RANGES + 1) if start % 7 == 0}
