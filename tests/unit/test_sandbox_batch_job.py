from __future__ import annotations

import json
from typing import Any

import pytest

from hpcharvest.sandbox.batch.job import LIVE, TRANSITIONS, Job, State
from hpcharvest.sandbox.batch.outcome import outcome


def running(**fields: Any) -> Job:
    job = Job(id=7, user=0, queue="batch", nodes_wanted=2, walltime_s=9.0, cwd="/", submit_time=1.0)
    return job.move(State.RUNNING, **{"nodes": ("vn001", "vn002"), "start_time": 2.0, "pid": 5, **fields})


def test_a_record_comes_back_from_json_as_it_was() -> None:
    job = running(ending=State.TIMEOUT, kill_at=4.0, warned=True)
    assert Job.from_record(json.loads(json.dumps(job.record()))) == job


@pytest.mark.parametrize("state", sorted(frozenset(State) - LIVE))
def test_nothing_follows_an_end(state: State) -> None:
    ended = running().move(state)
    assert not TRANSITIONS[state]
    with pytest.raises(ValueError, match="cannot go from"):
        ended.move(State.RUNNING)


@pytest.mark.parametrize(
    ("fields", "code", "state", "number"),
    [
        ({}, 0, State.COMPLETED, None),
        ({}, 3, State.FAILED, None),
        ({}, 137, State.FAILED, 9),
        ({}, 255, State.FAILED, None),
        ({"ending": State.TIMEOUT}, 143, State.TIMEOUT, 15),
        ({"ending": State.CANCELLED}, 0, State.CANCELLED, None),
        ({"ending": State.NODE_FAIL}, None, State.NODE_FAIL, None),
    ],
)
def test_what_a_job_becomes(fields: dict[str, Any], code: int | None, state: State, number: int | None) -> None:
    job = outcome(running(**fields), code=code, now=8.0)
    assert (job.state, job.exit_code, job.signal, job.end_time) == (state, code, number, 8.0)


def test_a_wrapper_that_was_killed_from_outside_is_a_failure_with_that_signal() -> None:
    job = outcome(running(), code=None, killed_by=9, now=8.0)
    assert (job.state, job.exit_code, job.signal) == (State.FAILED, 137, 9)


def test_a_requeued_job_begins_again_with_nothing_of_its_last_run() -> None:
    job = outcome(running(ending=State.PENDING, reason="preempted", kill_at=3.0), code=143, now=8.0)
    assert (job.state, job.restart_count, job.nodes, job.start_time, job.pid) == (State.PENDING, 1, (), None, None)
    assert (job.ending, job.kill_at, job.exit_code, job.end_time) == (None, None, None, None)


@pytest.mark.parametrize(("requeue", "state"), [(False, State.NODE_FAIL), (True, State.PENDING)])
def test_a_job_that_was_lost_while_nobody_looked_is_a_node_failure(requeue: bool, state: State) -> None:
    lost = Job.from_record({**running().record(), "requeue": requeue})
    assert outcome(lost, code=None, found=False, now=8.0).state is state
