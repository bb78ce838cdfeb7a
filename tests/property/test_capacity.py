"""Whatever batch systems print: readers raise BatchUnreachable and nothing else, and no number is negative."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcharvest.errors import BatchUnreachable
from hpcharvest.model.capacity import Capacity, NodeGroup, Planned, Reservation, Statement, holes
from hpcharvest.model.shape import NodeShape, Shape
from hpcharvest.providers.capacity import cobalt, local, lsf, moab, pbs, slurm, text
from hpcharvest.providers.capacity.question import Asker
from hpcharvest.providers.dialect import Spoken
from tests.answers import RECORDINGS

ME = Asker(user="root")
READERS: dict[str, Callable[[Spoken], Sequence[Statement]]] = {
    "slurm.nodes": slurm.nodes,
    "slurm.reservations": partial(slurm.reservations, ME),
    "slurm.planned": slurm.planned,
    "slurm.own": slurm.own,
    "slurm.partitions": slurm.partitions,
    "slurm.qos": slurm.qos,
    "slurm.associations": slurm.associations,
    "slurm.start": partial(slurm.start, Shape(nodes=1, walltime_s=60)),
    "pbs.nodes": pbs.nodes,
    "pbs.reservations": partial(pbs.reservations, ME),
    "pbs.batch_jobs": partial(pbs.batch_jobs, ME),
    "pbs.queues": pbs.queues,
    "pbs.server": pbs.server,
    "cobalt.nodes": partial(cobalt.nodes, ME),
    "cobalt.reservations": partial(cobalt.reservations, ME),
    "cobalt.own": partial(cobalt.own, ME),
    "cobalt.queues": cobalt.queues,
    "moab.holes": moab.holes,
    "moab.queues": moab.queues,
    "lsf.nodes": lsf.nodes,
    "lsf.holes": lsf.holes,
    "lsf.own": lsf.own,
    "lsf.queues": lsf.queues,
    "local.info": local.info,
    "local.own": local.own,
}
NAMES = {
    "slurm": "sinfo_free squeue_planned squeue_own show_res_epoch show_part sacctmgr_qos",
    "pbs": "bf_qstat_json pbsnodes_busy_json pbsnodes_aSj_json qstat_Qf_json qstat_Bf_json rstat_f",
    "cobalt": "nodelist showres_l qstat_Q qstat_f qstat_header",
}
RECORDED = [
    (RECORDINGS / system / f"{name}.out").read_text() for system, names in NAMES.items() for name in names.split()
]
KEYS = """nodes Jobs Queue Server pbs_version state resources_available ncpus jobs estimated start_time exec_vnode
queues limits cores free Resource_List"""
WORDS = st.sampled_from(
    [
        "-1",
        "-5:00",
        "n[1-",
        "n[9-1]",
        "1e5",
        "=",
        "\x1e",
        "\x1f",
        "|",
        "99999999999999",
        "9999999999:00",
        "Infinity",
        "{",
    ]
)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.one_of(
                st.sampled_from(KEYS.split()),
                st.text(max_size=5),
            ),
            inner,
            max_size=5,
        ),
    ),
    max_leaves=20,
).map(json.dumps)


@st.composite
def spoiled(draw: st.DrawFn) -> str:
    """Take what was really said, and put something else into the midst of it, or cut it off."""
    said = draw(st.sampled_from(RECORDED))
    cut = draw(st.integers(0, len(said)))
    rest = draw(st.integers(cut, min(len(said), cut + 40)))
    return said[:cut] + draw(st.one_of(WORDS, st.text(max_size=5))) + (said[rest:] if draw(st.booleans()) else "")


OUT = st.one_of(st.text(), spoiled(), JSON)
SPOKEN = st.builds(Spoken, exit_code=st.sampled_from([0, 0, 0, 1, -9, 255]), out=OUT, err=st.one_of(st.just(""), OUT))


def numbers(record: object) -> Iterator[float]:
    """Give all numbers in a record."""
    for field in fields(record) if is_dataclass(record) and not isinstance(record, type) else ():
        value = getattr(record, field.name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield value
        yield from numbers(value)


@pytest.mark.parametrize("name", READERS)
@given(spoken=SPOKEN)
def test_no_text_makes_a_reader_raise_anything_but_unreachable(name: str, spoken: Spoken) -> None:
    try:
        said = READERS[name](spoken)
    except BatchUnreachable:
        return
    for one in said:
        assert all(number >= 0 for number in numbers(one)), one
        if isinstance(one, NodeGroup):
            assert len(one.free) <= one.total


@given(st.text())
def test_no_text_makes_numbers_negative_or_lists_endless(words: str) -> None:
    for read in (text.count, text.span, text.slurm_span, text.moment, text.memory_mb):
        value = read(words)
        assert value is None or value >= 0
    assert len(text.nodes(words)) <= text.MOST_NODES


NODE_NAMES = st.lists(st.sampled_from("abcdefgh"), unique=True, max_size=8).map(tuple)
MOMENTS = st.floats(0, 1000)
GROUPS = st.builds(
    NodeGroup, partition=st.sampled_from("pq"), shape=st.just(NodeShape(cores=1)), total=st.just(8), free=NODE_NAMES
)
PLANS = st.builds(Planned, id=st.just("1"), start=MOMENTS, nodes=NODE_NAMES)
KEPT = st.builds(
    Reservation,
    name=st.just("r"),
    start=MOMENTS,
    end=st.one_of(st.none(), MOMENTS),
    nodes=st.integers(0, 8),
    names=NODE_NAMES,
    usable=st.booleans(),
)


@given(st.lists(GROUPS, max_size=3), st.lists(PLANS, max_size=4), st.lists(KEPT, max_size=3), MOMENTS)
def test_a_longer_hole_has_fewer_nodes_and_none_more_than_are_free(
    groups: list[NodeGroup], plans: list[Planned], kept: list[Reservation], now: float
) -> None:
    found = Capacity(nodes=tuple(groups), planned=tuple(plans), reservations=tuple(kept))
    for partition in "pq":
        steps = [one for one in holes(found, now) if one.partition == partition]
        free = {name for one in groups if one.partition == partition for name in one.free}
        lengths = [float("inf") if one.seconds is None else one.seconds for one in steps]
        assert lengths == sorted(set(lengths))
        assert all(length > 0 for length in lengths)
        assert [one.nodes for one in steps] == sorted((one.nodes for one in steps), reverse=True)
        assert all(0 < one.nodes <= len(free) for one in steps)


@given(st.lists(GROUPS, max_size=2), st.lists(PLANS, max_size=4), PLANS, MOMENTS)
def test_one_more_plan_makes_no_hole_larger(
    groups: list[NodeGroup], plans: list[Planned], more: Planned, now: float
) -> None:
    def room(found: Capacity, partition: str, seconds: float) -> int:
        fitting = [
            one.nodes
            for one in holes(found, now)
            if one.partition == partition and (one.seconds is None or one.seconds >= seconds)
        ]
        return max(fitting, default=0)

    before = Capacity(nodes=tuple(groups), planned=tuple(plans))
    after = Capacity(nodes=tuple(groups), planned=(*plans, more))
    for partition in "pq":
        for seconds in (1.0, 10.0, 100.0, 5000.0):
            assert room(after, partition, seconds) <= room(before, partition, seconds)
