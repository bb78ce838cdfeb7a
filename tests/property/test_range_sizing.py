"""Whatever is to be done and whatever the site allows: allocations for event ranges keep to it, and are enough."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hpcharvest.model.ids import JobId
from hpcharvest.model.shape import NodeShape, Shape
from hpcharvest.sizing.policy import Limits
from hpcharvest.sizing.ranges import Demand, SlotSize, Wish, capacity, plan_ranges

NODE = NodeShape(cores=8, memory_mb=16_000, gpus=2)
limits = st.builds(
    lambda least, more, alive: Limits(
        node=NODE, min_nodes=least, max_nodes=least + more, max_walltime_s=3600, max_allocations=alive
    ),
    st.integers(1, 3),
    st.integers(0, 9),
    st.integers(0, 5),
)
slots = st.builds(SlotSize, cores=st.integers(1, 8), memory_mb=st.integers(0, 16_000), gpus=st.integers(0, 2))
demands = st.lists(
    st.builds(
        Demand, job=st.integers(1, 4).map(JobId), ranges=st.integers(0, 100_000), range_s=st.floats(0.1, 10_000.0)
    ),
    max_size=3,
    unique_by=lambda one: one.job,
)


@given(demands, st.integers(0, 5), limits, slots, st.integers(1, 12), st.integers(100, 3600))
def test_allocations_keep_to_what_the_site_allows(
    wanted: list[Demand], alive: int, site: Limits, slot: SlotSize, nodes: int, walltime_s: int
) -> None:
    wish = Wish(slot=slot, nodes=min(nodes, site.max_nodes), walltime_s=walltime_s)
    plans = list(plan_ranges(wanted, alive, wish, site))
    assert len(plans) <= max(0, site.max_allocations - alive)
    assert all(site.min_nodes <= one.shape.nodes <= site.max_nodes for one in plans)
    assert all(one.shape.walltime_s == walltime_s for one in plans)
    assert all(set(one.jobs) == {each.job for each in wanted if each.ranges} for one in plans)
    assert bool(plans) == (any(one.ranges for one in wanted) and site.max_allocations > alive)


@given(st.integers(1, 100_000), st.floats(0.1, 1000.0), slots, limits)
def test_what_is_asked_for_is_enough_where_the_site_allows_it_and_not_much_more(
    ranges: int, range_s: float, slot: SlotSize, site: Limits
) -> None:
    wish = Wish(slot=slot, nodes=site.max_nodes, walltime_s=3600)
    plans = list(plan_ranges([Demand(job=JobId(1), ranges=ranges, range_s=range_s)], 0, wish, site))
    able = [capacity(one.shape, slot, range_s, site) for one in plans]
    if len(plans) < site.max_allocations:
        assert sum(able) >= ranges
    assert sum(able[:-1]) < ranges


def test_a_slot_of_several_nodes_takes_whole_ones() -> None:
    slot = SlotSize(nodes=2, cores=8)
    assert [slot.slots(nodes, NODE) for nodes in (1, 2, 3, 4)] == [0, 1, 1, 2]


def test_nothing_fits_where_a_slot_is_larger_than_a_node() -> None:
    slot = SlotSize(cores=9)
    wish = Wish(slot=slot, nodes=1, walltime_s=3600)
    assert list(plan_ranges([Demand(job=JobId(1), ranges=5, range_s=1.0)], 0, wish, Limits(node=NODE))) == []


def test_the_last_allocation_is_no_larger_than_it_needs_to_be() -> None:
    wish = Wish(slot=SlotSize(), nodes=4, walltime_s=1060)
    site = Limits(node=NODE, max_nodes=4, max_walltime_s=3600, margin_s=60.0)
    plans = list(plan_ranges([Demand(job=JobId(1), ranges=450, range_s=100.0)], 0, wish, site))
    assert [one.shape.nodes for one in plans] == [4, 2]  # ten waves of eight slots on each node
    assert capacity(Shape(nodes=4, walltime_s=1060), SlotSize(), 100.0, site) == 320
    assert plans[1].reason == "130 event ranges of 100.0 s on 2 nodes for 1060 s"
