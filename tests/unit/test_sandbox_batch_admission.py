from __future__ import annotations

import signal
from typing import Any

import pytest

from hpcharvest.sandbox.batch.admission import admit, parse_warning
from hpcharvest.sandbox.batch.errors import RefusedError
from hpcharvest.sandbox.batch.job import Job, State
from hpcharvest.sandbox.batch.settings import Settings

SETTINGS = Settings(nodes=3, queues={"short": 60.0, "long": 3600.0}, max_jobs_per_user=2)


def enter(jobs: tuple[Job, ...] = (), **wishes: Any) -> Job:
    submission = {"cwd": "/", "script_name": "run.sh", **wishes}
    return admit(submission, job_id=len(jobs) + 1, user=1, now=5.0, settings=SETTINGS, jobs=jobs)


def test_a_job_without_wishes_gets_one_node_and_all_of_the_first_queue() -> None:
    job = enter()
    assert (job.nodes_wanted, job.queue, job.walltime_s, job.name) == (1, "short", 60.0, "run.sh")
    assert job.state is State.PENDING


def test_who_may_wait_for_ever_may_want_more_nodes_than_there_are() -> None:
    assert enter(nodes=99, oversize=True).nodes_wanted == 99


@pytest.mark.parametrize(
    ("wishes", "why"),
    [
        ({"nodes": 4}, "4 nodes asked for; this cluster has 3"),
        ({"nodes": 0}, "0 nodes asked for"),
        ({"walltime": 61}, "at most 60 s"),
        ({"walltime": -1}, "more than 0"),
        ({"walltime": float("nan")}, "walltime nan"),
        ({"queue": "night"}, "no queue 'night'; there are short, long"),
        ({"signal": "USR1"}, "not NAME@SECONDS"),
    ],
)
def test_an_impossible_job_is_refused_with_the_reason(wishes: dict[str, Any], why: str) -> None:
    with pytest.raises(RefusedError, match=why):
        enter(**wishes)


def test_the_job_limit_counts_pending_and_running_jobs_of_the_same_user() -> None:
    first = enter()
    running = enter((first,)).move(State.RUNNING)
    with pytest.raises(RefusedError, match="job limit reached"):
        enter((first, running))
    assert enter((first, running.move(State.COMPLETED))).id == 3


@pytest.mark.parametrize("text", ["USR1@60", "SIGUSR1@60", f"{int(signal.SIGUSR1)}@60"])
def test_a_warning_signal_is_named_in_three_ways(text: str) -> None:
    assert parse_warning(text) == (signal.SIGUSR1, 60.0)


@pytest.mark.parametrize("text", ["KILL@5", "USR1@", "USR1@-1", "USR1@nan", "@5", "x"])
def test_a_warning_signal_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(RefusedError, match="is not NAME@SECONDS with a name of HUP"):
        parse_warning(text)
