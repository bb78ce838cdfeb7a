"""The laws of the embedded batch system's scheduler."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hpcharvest.sandbox.batch.job import Job, State
from hpcharvest.sandbox.batch.placement import Node, Placement, free_nodes, place
from hpcharvest.sandbox.batch.scheduler import Due, decide, next_due

NOW = 10_000.0


def make_job(job_id: int, **fields: Any) -> Job:
    defaults: dict[str, Any] = {"user": 0, "queue": "batch", "nodes_wanted": 1, "walltime_s": 60.0, "cwd": "/"}
    return Job(id=job_id, submit_time=0.0, **{**defaults, **fields})


@st.composite
def clusters(draw: st.DrawFn) -> tuple[list[Job], tuple[Node, ...]]:
    """Draw nodes, some down, and jobs: running ones on nodes of their own, pending and ended ones."""
    ups = draw(st.lists(st.booleans(), min_size=1, max_size=8))
    nodes = tuple(Node(name=f"vn{number:03d}", up=up) for number, up in enumerate(ups, 1))
    unused = [node.name for node in nodes]
    jobs = []
    for job_id in range(1, draw(st.integers(0, 12)) + 1):
        wanted = draw(st.integers(1, len(nodes)))
        state = draw(st.sampled_from([State.PENDING, State.PENDING, State.RUNNING, State.COMPLETED]))
        job = make_job(job_id, nodes_wanted=wanted, priority=draw(st.integers(0, 2)))
        if state is State.RUNNING and wanted <= len(unused):
            started = draw(st.floats(NOW - 120, NOW))
            job = job.move(State.RUNNING, nodes=tuple(unused[:wanted]), start_time=started)
            del unused[:wanted]
        elif state is State.COMPLETED:
            job = job.move(State.RUNNING, start_time=0.0).move(State.COMPLETED, end_time=draw(st.floats(0, NOW)))
        jobs.append(job)
    return jobs, nodes


def carry_out(jobs: list[Job], placement: Placement) -> list[Job]:
    given_nodes = {start.job_id: start.nodes for start in placement.starts}
    return [
        job.move(State.RUNNING, nodes=given_nodes[job.id], start_time=NOW) if job.id in given_nodes else job
        for job in jobs
    ]


@given(clusters())
def test_a_node_never_has_two_jobs(cluster: tuple[list[Job], tuple[Node, ...]]) -> None:
    jobs, nodes = cluster
    after = carry_out(jobs, place(jobs, nodes))
    held = [name for job in after if job.state is State.RUNNING for name in job.nodes]
    assert len(held) == len(set(held))


@given(clusters())
def test_a_job_gets_as_many_nodes_as_it_wants_and_all_of_them_are_up(
    cluster: tuple[list[Job], tuple[Node, ...]],
) -> None:
    jobs, nodes = cluster
    wanted = {job.id: job.nodes_wanted for job in jobs}
    up = {node.name for node in nodes if node.up}
    for start in place(jobs, nodes).starts:
        assert len(start.nodes) == wanted[start.job_id]
        assert set(start.nodes) <= up


@given(clusters())
def test_every_pending_job_either_starts_or_is_told_why_not(cluster: tuple[list[Job], tuple[Node, ...]]) -> None:
    jobs, nodes = cluster
    placement = place(jobs, nodes)
    started = {start.job_id for start in placement.starts}
    assert started.isdisjoint(placement.waiting)
    assert started | set(placement.waiting) == {job.id for job in jobs if job.state is State.PENDING}


@given(clusters())
def test_nobody_overtakes_a_job_that_the_cluster_could_hold(cluster: tuple[list[Job], tuple[Node, ...]]) -> None:
    jobs, nodes = cluster
    up = sum(node.up for node in nodes)
    placement = place(jobs, nodes)
    rank = {job.id: (-job.priority, job.id) for job in jobs}
    fitting = {job.id for job in jobs if job.nodes_wanted <= up}
    waiting = [rank[job_id] for job_id in placement.waiting if job_id in fitting]
    assert all(rank[start.job_id] < min(waiting, default=(9, 9)) for start in placement.starts)


@given(clusters())
def test_the_first_in_line_waits_only_for_nodes_that_are_not_there(
    cluster: tuple[list[Job], tuple[Node, ...]],
) -> None:
    jobs, nodes = cluster
    after = carry_out(jobs, place(jobs, nodes))
    assert not place(after, nodes).starts
    free = len(free_nodes(after, nodes))
    up = sum(node.up for node in nodes)
    line = sorted((-job.priority, job.id, job.nodes_wanted) for job in after if job.state is State.PENDING)
    fitting = [wanted for *_, wanted in line if wanted <= up]
    assert not fitting or fitting[0] > free


@given(clusters(), st.floats(0, 3600))
def test_what_is_due_is_due_and_the_rest_wakes_us_in_time(
    cluster: tuple[list[Job], tuple[Node, ...]], retention_s: float
) -> None:
    jobs, nodes = cluster
    decision = decide(jobs, nodes, NOW, retention_s)
    coming = {job.id: next_due(job, retention_s) for job in jobs}
    times = {job_id: found[1] for job_id, found in coming.items() if found}
    assert {job_id for _, job_id in decision.due} == {job_id for job_id, when in times.items() if when <= NOW}
    assert decision.wake_at == min((when for when in times.values() if when > NOW), default=None)


def test_a_job_is_warned_then_ended_then_killed_then_forgotten() -> None:
    job = make_job(1, warn_signal=10, warn_before_s=20.0).move(State.RUNNING, start_time=NOW)
    assert next_due(job, 100.0) == (Due.WARN, NOW + 40)
    warned = make_job(1).move(State.RUNNING, start_time=NOW, warned=True)
    assert next_due(warned, 100.0) == (Due.END, NOW + 60)
    ending = make_job(1).move(State.RUNNING, start_time=NOW, ending=State.TIMEOUT, kill_at=NOW + 62)
    assert next_due(ending, 100.0) == (Due.KILL, NOW + 62)
    assert next_due(ending.move(State.TIMEOUT, end_time=NOW + 63), 100.0) == (Due.FORGET, NOW + 163)
