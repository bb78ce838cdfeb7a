"""Whatever batch systems print: readers raise BatchUnreachable and nothing else, and no number is negative."""

from __future__ import annotations

import json
import re
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
from tests.services.recordings import RECORDINGS
from tests.unit import test_capacity_documented as documented

ME = Asker(user="root")


def heard(system: str, *names: str) -> tuple[str, ...]:
    return tuple((RECORDINGS / system / f"{name}.out").read_text() for name in names)


def whispered(system: str, *names: str) -> tuple[str, ...]:
    return tuple((RECORDINGS / system / f"{name}.err").read_text() for name in names)


JOBS = '[{"id": 1, "name": "a", "state": "RUNNING", "nodes": ["n"], "walltime_s": 60.0, "start_time": 1795557526.0}]'
READERS: dict[str, tuple[Callable[[Spoken], Sequence[Statement]], tuple[str, ...]]] = {
    "slurm.nodes": (slurm.nodes, heard("slurm", "sinfo_free")),
    "slurm.reservations": (partial(slurm.reservations, ME), heard("slurm", "show_res", "show_res_epoch")),
    "slurm.planned": (slurm.planned, heard("slurm", "squeue_planned")),
    "slurm.own": (slurm.own, heard("slurm", "squeue_own")),
    "slurm.partitions": (slurm.partitions, heard("slurm", "show_part", "show_part_oneline")),
    "slurm.qos": (slurm.qos, heard("slurm", "sacctmgr_qos")),
    "slurm.associations": (slurm.associations, heard("slurm", "sacctmgr_assoc")),
    "slurm.start": (
        partial(slurm.start, Shape(nodes=1, walltime_s=60)),
        whispered("slurm", "testonly_resv", "sbatch_testonly_bad"),
    ),
    "pbs.nodes": (pbs.nodes, heard("pbs", "pbsnodes_busy_json", "pbsnodes_aSj_json")),
    "pbs.reservations": (partial(pbs.reservations, ME), heard("pbs", "rstat_f")),
    "pbs.batch_jobs": (partial(pbs.batch_jobs, ME), heard("pbs", "bf_qstat_json")),
    "pbs.queues": (pbs.queues, heard("pbs", "qstat_Qf_json")),
    "pbs.server": (pbs.server, heard("pbs", "qstat_Bf_json")),
    "cobalt.nodes": (partial(cobalt.nodes, ME), heard("cobalt", "nodelist", "nodelist_res")),
    "cobalt.reservations": (partial(cobalt.reservations, ME), heard("cobalt", "showres_l")),
    "cobalt.own": (partial(cobalt.own, ME), heard("cobalt", "qstat_f", "qstat_header")),
    "cobalt.queues": (cobalt.queues, heard("cobalt", "qstat_Q")),
    "moab.holes": (moab.holes, (documented.SHOWBF,)),
    "moab.queues": (moab.queues, (documented.QSTAT,)),
    "lsf.nodes": (lsf.nodes, (documented.BHOSTS,)),
    "lsf.holes": (lsf.holes, (documented.BSLOTS,)),
    "lsf.own": (lsf.own, ("7\x1ftag\x1fRUN\x1fbatch\x1f2\n",)),
    "lsf.queues": (lsf.queues, (documented.BQUEUES,)),
    "local.info": (local.info, (json.dumps(documented.INFO),)),
    "local.own": (local.own, (JOBS,)),
}
"""Each reader, with what it was made for."""

WORDS = (
    *("-1", "-5:00", "0", "1e5", "99999999999999", "9999999999:00", "99-99:99:99", "Infinity", "NaN", "INFINITY"),
    *("n[1-", "n[9-1]", "=", "|", "{", "[]", "null", "true", '""', '"-3"', "Mon Jan 01 00:00:00 1900"),
)
ODD = st.one_of(st.sampled_from([*WORDS, "\x1e", "\x1f", "\n"]), st.text(max_size=5))
TOKEN = re.compile(r'"[^"\n]*"|[\w.:-]+')
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=5)),
    max_leaves=20,
).map(json.dumps)


@st.composite
def spoiled(draw: st.DrawFn, sample: str) -> str:
    """Take what was really said, and have some of its words be others; perhaps cut it off."""
    said = sample
    for _ in range(draw(st.integers(1, 4))):
        tokens = list(TOKEN.finditer(said))
        if not tokens:
            break
        token = draw(st.sampled_from(tokens))
        said = said[: token.start()] + draw(ODD) + said[token.end() :]
    return said[: draw(st.integers(0, len(said)))] if draw(st.integers(0, 9)) == 0 else said


def spoken_by(samples: Sequence[str]) -> st.SearchStrategy[Spoken]:
    out = st.one_of(*map(spoiled, samples), *map(spoiled, samples), st.text(), JSON)
    return st.builds(
        Spoken, exit_code=st.sampled_from([0, 0, 0, 0, 1, -9]), out=out, err=st.one_of(st.just(""), st.just(""), out)
    )


def numbers(record: object) -> Iterator[float]:
    """Give all numbers in a record."""
    for field in fields(record) if is_dataclass(record) and not isinstance(record, type) else ():
        value = getattr(record, field.name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield value
        yield from numbers(value)


@pytest.mark.parametrize("name", READERS)
@given(data=st.data())
def test_no_text_makes_a_reader_raise_anything_but_unreachable(name: str, data: st.DataObject) -> None:
    read, samples = READERS[name]
    try:
        said = read(data.draw(spoken_by(samples)))
    except BatchUnreachable:
        return
    for one in said:
        assert all(number >= 0 for number in numbers(one)), one
        if isinstance(one, NodeGroup):
            assert len(one.free) <= one.total


@pytest.mark.parametrize("name", READERS)
def test_each_reader_was_made_for_its_sample(name: str) -> None:
    read, samples = READERS[name]
    assert all(read(Spoken(exit_code=0, out=sample)) for sample in samples)


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
    chosen=st.booleans(),
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
