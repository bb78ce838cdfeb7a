"""The laws of sizing: whatever waits, what is asked for stays within what is allowed, and everything gets its turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hpcharvest.model.ids import JobId
from hpcharvest.model.job import JobSpec
from hpcharvest.model.shape import NodeShape
from hpcharvest.sizing.fit import Footprint, footprint
from hpcharvest.sizing.policy import Candidate, Limits, Plan, plan, why_never

NOW = 1000.0
limits_allowed = st.builds(
    Limits,
    node=st.builds(NodeShape, cores=st.integers(1, 128), memory_mb=st.sampled_from([0, 1000, 64_000]), gpus=st.just(4)),
    min_nodes=st.just(1),
    max_nodes=st.integers(1, 64),
    max_walltime_s=st.integers(120, 7200),
    max_allocations=st.integers(1, 5),
    max_jobs=st.integers(1, 20),
    linger_s=st.sampled_from([0.0, 0.5, 30.0]),
    margin_s=st.sampled_from([0.0, 60.0]),
)
specs = st.builds(
    JobSpec,
    panda_id=st.integers(1, 10**6).map(JobId),
    attempt_nr=st.just(1),
    transformation=st.just("work"),
    job_pars=st.just(""),
    core_count=st.integers(0, 600),
    memory_mb=st.integers(0, 200_000),
    max_walltime_s=st.integers(0, 8000),
)


def candidates_of(wanted: Sequence[JobSpec], limits: Limits, since: float = 0.0) -> list[Candidate]:
    """Make candidates that need no GPU, or up to as many as a node has, as their number says."""
    unique = {
        spec.panda_id: footprint(spec, limits.node, default_walltime_s=30, gpus=spec.panda_id % (limits.node.gpus + 1))
        for spec in wanted
    }
    return [
        Candidate(job=job, footprint=found, since=since)
        for job, found in unique.items()
        if not why_never(found, limits)
    ]


@given(specs, limits_allowed)
def test_a_footprint_has_room_for_all_that_was_asked(spec: JobSpec, limits: Limits) -> None:
    found = footprint(spec, limits.node, default_walltime_s=30)
    assert found.nodes * found.cores >= spec.core_count
    assert 1 <= found.cores <= limits.node.cores
    assert found.walltime_s == (spec.max_walltime_s or 30)
    if limits.node.memory_mb:
        assert found.nodes * found.memory_mb >= spec.memory_mb
        assert found.memory_mb <= limits.node.memory_mb


@given(st.lists(specs, max_size=60), limits_allowed, st.integers(0, 5))
def test_plans_stay_within_the_limits(wanted: list[JobSpec], limits: Limits, alive: int) -> None:
    plans = list(plan(candidates_of(wanted, limits), alive, limits, NOW))
    assert len(plans) <= max(0, limits.max_allocations - alive)
    for one in plans:
        assert 1 <= one.shape.nodes <= limits.max_nodes
        assert 0 < one.shape.walltime_s <= limits.max_walltime_s
        assert 1 <= len(one.jobs) <= limits.max_jobs
        assert one.reason


@given(st.lists(specs, max_size=60), limits_allowed)
def test_no_job_is_in_two_plans_and_each_fits_into_its_own(wanted: list[JobSpec], limits: Limits) -> None:
    candidates = candidates_of(wanted, limits)
    by_job = {one.job: one.footprint for one in candidates}
    plans = list(plan(candidates, 0, limits, NOW))
    planned = [job for one in plans for job in one.jobs]
    assert len(planned) == len(set(planned))
    assert planned == [one.job for one in candidates][: len(planned)]  # nobody is overtaken
    for one in plans:
        for job in one.jobs:
            assert by_job[job].nodes <= one.shape.nodes
            assert by_job[job].walltime_s + limits.margin_s <= one.shape.walltime_s


@given(st.lists(specs, max_size=60), limits_allowed)
def test_every_job_that_fits_is_planned_in_the_end(wanted: list[JobSpec], limits: Limits) -> None:
    left = candidates_of(wanted, limits)
    for _ in range(len(left)):
        done = {job for one in plan(left, 0, limits, NOW) for job in one.jobs}
        left = [one for one in left if one.job not in done]
    assert not left


@given(specs, limits_allowed)
def test_why_never_speaks_exactly_of_what_cannot_be_asked_for(spec: JobSpec, limits: Limits) -> None:
    found = footprint(spec, limits.node, default_walltime_s=30)
    possible = found.nodes <= limits.max_nodes and found.walltime_s + limits.margin_s <= limits.max_walltime_s
    assert bool(why_never(found, limits)) is not possible


@given(specs, limits_allowed, st.sampled_from([0.5, 30.0]))
def test_a_lonely_job_waits_for_company_and_no_longer(spec: JobSpec, limits: Limits, linger_s: float) -> None:
    limits = replace(
        limits, linger_s=linger_s, max_jobs=max(limits.max_jobs, 2), max_walltime_s=100_000, max_nodes=1000
    )
    lonely = candidates_of([spec], limits, since=NOW)
    assume(lonely)
    assert list(plan(lonely, 0, limits, NOW + limits.linger_s / 2)) == []
    assert [one.jobs for one in plan(lonely, 0, limits, NOW + limits.linger_s)] == [(spec.panda_id,)]


def test_a_plan_has_enough_nodes_for_all_at_once() -> None:
    limits = Limits(node=NodeShape(cores=8), max_nodes=10, max_walltime_s=3600)
    small = Footprint(nodes=1, cores=4, memory_mb=0, walltime_s=100)
    waiting = [Candidate(job=JobId(number), footprint=small, since=0.0) for number in range(1, 6)]
    (one,) = plan(waiting, 0, limits, NOW)
    assert isinstance(one, Plan)
    assert one.shape.nodes == 3
    assert "5 jobs on 3 nodes" in one.reason


def test_a_plan_has_enough_nodes_for_all_gpus_at_once() -> None:
    limits = Limits(node=NodeShape(cores=64, gpus=4), max_nodes=10, max_walltime_s=3600)
    small = Footprint(nodes=1, cores=1, memory_mb=0, walltime_s=100, gpus=3)
    waiting = [Candidate(job=JobId(number), footprint=small, since=0.0) for number in range(1, 6)]
    (one,) = plan(waiting, 0, limits, NOW)
    assert one.shape.nodes == 5


@given(st.integers(0, 8))
def test_a_job_never_has_more_gpus_than_its_node(gpus: int) -> None:
    limits = Limits(node=NodeShape(cores=8, gpus=4))
    size = Footprint(nodes=1, cores=1, memory_mb=0, walltime_s=100, gpus=gpus)
    assert ("GPUs" in why_never(size, limits)) is (gpus > 4)


@pytest.mark.parametrize(
    ("cores", "memory_mb", "words"),
    [
        (1, 2000, "it needs 2 nodes of 1000 MB for its 2000 MB of memory, and 1 may be asked for"),
        (8, 0, "it needs 2 nodes of 4 cores, and 1 may be asked for"),
        (8, 2000, "it needs 2 nodes of 1000 MB for its 2000 MB of memory, and 1 may be asked for"),
    ],
)
def test_why_never_names_what_there_is_too_little_of(cores: int, memory_mb: int, words: str) -> None:
    limits = Limits(node=NodeShape(cores=4, memory_mb=1000), max_nodes=1)
    spec = JobSpec(
        panda_id=JobId(1), attempt_nr=0, transformation="t", job_pars="", core_count=cores, memory_mb=memory_mb
    )
    assert why_never(footprint(spec, limits.node, default_walltime_s=30), limits) == words


def test_one_is_not_many() -> None:
    alone = Candidate(job=JobId(1), footprint=Footprint(nodes=1, cores=1, memory_mb=0, walltime_s=100), since=0.0)
    (one,) = plan([alone], 0, Limits(node=NodeShape(cores=8)), NOW)
    assert one.reason.startswith("1 job on 1 node for ")
