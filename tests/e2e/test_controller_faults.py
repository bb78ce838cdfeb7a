"""Nodes, batch daemon and server fail: nothing is lost, nothing is told twice, and no payload is to blame."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from hpcharvest.model.ids import AllocationId, JobId
from hpcharvest.model.job import Job
from hpcharvest.model.states import AllocationOutcome, JobState
from hpcharvest.sandbox.world import Recipe, World
from tests import worlds
from tests.worlds import Controller

QUICK = Recipe(
    patience={
        "batch_poll_s": 0.5,
        "batch_grace_s": 0.5,
        "heartbeat_s": 0.5,
        "heartbeat_stale_s": 1.5,
        "retry_first_s": 0.3,
        "retry_max_s": 2.0,
    }
)


def records(inside: World) -> list[Job]:
    with worlds.database(inside) as opened:
        return opened.jobs.page()


def outcome(inside: World, number: int) -> AllocationOutcome | None:
    with worlds.database(inside) as opened:
        allocation = opened.allocations.get(AllocationId(number))
    return allocation.outcome if allocation else None


def test_a_node_that_fails_costs_an_attempt_and_no_job(tmp_path: Path) -> None:
    with worlds.world(tmp_path, QUICK) as inside, Controller(inside):
        numbers = worlds.submit(inside, [worlds.copying_job(inside, seconds=3) for _ in range(2)])
        worlds.eventually(lambda: len(worlds.tally(inside, "start")) == 2, "both payloads run")
        for name in inside.cluster.status()[0]["nodes"]:
            inside.cluster.node_down(name)
        worlds.until_all_over(inside)
        worlds.assert_books_agree(inside, numbers)
        assert outcome(inside, 1) is AllocationOutcome.INFRASTRUCTURE_FAILED
        assert {(job.attempt, job.infrastructure_losses) for job in records(inside)} == {(2, 1)}
        assert set(worlds.tally(inside).values()) == {1}


def preempt_one(inside: World) -> None:
    numbers = worlds.submit(inside, [worlds.copying_job(inside, seconds=3)])
    worlds.eventually(lambda: worlds.tally(inside, "start"), "the payload runs")
    inside.cluster.preempt(inside.cluster.status()[0]["id"], "cancel")
    worlds.until_all_over(inside)
    worlds.assert_books_agree(inside, numbers)


def test_jobs_of_a_preempted_allocation_run_again(tmp_path: Path) -> None:
    with worlds.world(tmp_path, QUICK) as inside, Controller(inside):
        preempt_one(inside)
        assert [(job.attempt, job.infrastructure_losses) for job in records(inside)] == [(2, 1)]


def test_a_preempted_allocation_is_called_so(tmp_path: Path) -> None:
    with worlds.world(tmp_path, QUICK) as inside, Controller(inside):
        preempt_one(inside)
        assert outcome(inside, 1) is AllocationOutcome.PREEMPTED


def test_a_payload_past_its_own_time_fails_and_says_so(tmp_path: Path) -> None:
    with worlds.world(tmp_path, QUICK) as inside, Controller(inside):
        (number,) = worlds.submit(inside, [worlds.job("sleep 60", max_walltime=2)])
        assert worlds.until_all_over(inside, timeout_s=180)[number] == "failed"
        (job,) = records(inside)
        assert "time limit" in job.error
        assert (job.attempt, job.infrastructure_losses) == (1, 0)


def test_a_submission_that_is_refused_is_tried_with_pauses_and_has_an_end(tmp_path: Path) -> None:
    recipe = Recipe(
        nodes=1,
        allocation={"max_nodes": 8},  # more than there are
        patience={**QUICK.patience, "refusals": 2},
    )
    with worlds.world(tmp_path, recipe) as inside, Controller(inside):
        (large,) = worlds.submit(inside, [worlds.job(core_count=8)])
        assert worlds.until_all_over(inside) == {large: "failed"}
        (refused,) = records(inside)
        assert "SubmissionRefused" in refused.error
        assert refused.attempt == 3


def test_a_job_that_cannot_be_submitted_takes_no_other_with_it(tmp_path: Path) -> None:
    recipe = Recipe(nodes=1, allocation={"max_nodes": 8, "max_jobs": 2}, patience={**QUICK.patience, "refusals": 2})
    with worlds.world(tmp_path, recipe) as inside, Controller(inside):
        large, small = worlds.submit(inside, [worlds.job(core_count=8), worlds.job()])
        assert worlds.until_all_over(inside) == {large: "failed", small: "finished"}


def test_a_batch_daemon_that_is_away_says_nothing_about_any_job(tmp_path: Path) -> None:
    with worlds.world(tmp_path, QUICK) as inside, Controller(inside):
        early = worlds.submit(inside, [worlds.copying_job(inside, seconds=2) for _ in range(2)])
        worlds.eventually(lambda: len(worlds.tally(inside, "start")) == 2, "both payloads run")
        inside.cluster.kill_daemon()
        late = worlds.submit(inside, [worlds.copying_job(inside) for _ in range(2)])
        worlds.eventually(lambda: all(worlds.states(inside)[one] == "finished" for one in early), "the early ones")
        time.sleep(2.0)
        assert all(worlds.states(inside)[one] not in worlds.ENDS for one in late)
        inside.cluster.start()
        worlds.until_all_over(inside)
        worlds.assert_books_agree(inside, early + late)
        assert {job.infrastructure_losses for job in records(inside)} == {0}
        assert set(worlds.tally(inside, "start").values()) == {1}


FAULTS = [
    [{"kind": "error_500", "probability": 0.4}],
    [{"kind": "drop_before", "probability": 0.4}],
    [{"kind": "drop_after_commit", "method": "pilot/update_jobs_bulk", "count": 4}],
    [{"kind": "drop_after_commit", "method": "pilot/acquire_jobs", "count": 1}],
    [{"kind": "torn_body", "probability": 0.3}],
    [{"kind": "garbage", "probability": 0.3}],
    [{"kind": "html", "probability": 0.3}],
    [{"kind": "latency", "seconds": 0.7}],
]


@pytest.mark.parametrize("rules", FAULTS, ids=lambda rules: rules[0]["kind"] + rules[0].get("method", "")[5:])
def test_a_server_that_fails_hears_of_every_end_once(tmp_path: Path, rules: list[dict[str, object]]) -> None:
    recipe = Recipe(patience=QUICK.patience, server_options=("--redeliver-after", "2"))
    with worlds.world(tmp_path, recipe) as inside:
        inside.faults(rules)
        with Controller(inside):
            numbers = worlds.submit(inside, [worlds.copying_job(inside) for _ in range(12)])
            worlds.until_all_over(inside)
            inside.faults([])
            worlds.assert_books_agree(inside, numbers)
        assert set(worlds.tally(inside, "start").values()) == {1}


def test_a_damaged_lease_is_told_and_nothing_is_done(tmp_path: Path) -> None:
    with worlds.world(tmp_path) as inside:
        lease = inside.work / inside.recipe.harvester_id / "lease.json"
        lease.parent.mkdir(parents=True)
        lease.write_text(json.dumps({"token": "?"}))
        with Controller(inside) as controller:
            assert controller.wait() != 0
        assert "is not a lease" in worlds.log_of(inside)
        assert JobState.RECEIVED not in set(worlds.states(inside).values())


def test_a_job_whose_number_is_given_again_is_not_run_again(tmp_path: Path) -> None:
    recipe = Recipe(server_options=("--redeliver-after", "0.5"), panda={"report_interval_s": 3.0})
    with worlds.world(tmp_path, recipe) as inside, Controller(inside):
        numbers = worlds.submit(inside, [worlds.job("sleep 3 write {out}") for _ in range(3)])
        worlds.until_all_over(inside)
        worlds.assert_books_agree(inside, numbers)
        assert set(worlds.tally(inside, "start").values()) == {1}
        assert [JobId(one) for one in numbers] == [job.id for job in records(inside)]
