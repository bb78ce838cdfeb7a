"""Every state of a job has its sentence."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hpcharvest.engine.why import Circumstances, duration, utc, why
from hpcharvest.model.allocation import Allocation
from hpcharvest.model.ids import AllocationId, Attempt, JobId
from hpcharvest.model.job import Job, JobSpec
from hpcharvest.model.report import Report
from hpcharvest.model.shape import Shape
from hpcharvest.model.states import (
    AllocationOutcome,
    AllocationState,
    BatchState,
    BundleState,
    JobState,
    RangeState,
    ReportState,
)

THEN = 1_795_226_584.0
NOW = THEN + 12
SINCE = "since 2026-11-21T02:03:04Z (12 s)"
SPEC = JobSpec(panda_id=JobId(7), attempt_nr=0, transformation="t", job_pars="")
PLAIN = Circumstances(
    now=NOW, controller=True, dag_window=500, stage_threads=4, site="toy", alive=2, max_allocations=10
)
ALLOCATION = Allocation(
    id=AllocationId(3),
    queue="TOY",
    shape=Shape(nodes=1, walltime_s=60),
    tag="t",
    since=THEN,
    state=AllocationState.SUBMITTED,
    batch_id="17",
)
REPORT = Report(job=JobId(7), serial=1, status=JobState.FINISHED, final=True, since=THEN)


def job(state: JobState, **changes: object) -> Job:
    given = replace(Job(spec=SPEC, queue="TOY"), state=state, since=THEN)
    return replace(given, **changes)  # type: ignore[arg-type]  # a test's own words


def said(state: JobState, known: Circumstances = PLAIN, **changes: object) -> str:
    return why(job(state, **changes), known)


def with_allocation(**changes: object) -> Circumstances:
    return replace(PLAIN, allocation=replace(ALLOCATION, **changes))  # type: ignore[arg-type]  # replace checks the names


@pytest.mark.parametrize("state", JobState)
@pytest.mark.parametrize("controller", [True, False])
def test_every_state_has_one_line(state: JobState, controller: bool) -> None:
    sentence = said(state, replace(PLAIN, controller=controller), error="two\nlines", kill_requested="ann")

    assert sentence.startswith("job 7 ")
    assert "\n" not in sentence
    assert ("no controller runs" in sentence) is (not controller and not state.final)


def test_a_job_that_was_received_waits_for_a_place_or_for_its_inputs() -> None:
    assert said(JobState.RECEIVED) == f"job 7 waits {SINCE} for its inputs, which 4 threads stage in"
    assert said(JobState.RECEIVED, replace(PLAIN, in_hand=False)) == (
        f"job 7 waits {SINCE} in the database for a place among the 500 DAGs in hand"
    )


@pytest.mark.parametrize(("state", "stage"), [(JobState.RECEIVED, "stage-in"), (JobState.RAN, "stage-out")])
def test_a_stage_that_failed_is_tried_again(state: JobState, stage: str) -> None:
    told = said(state, tries=3, not_before=NOW + 20, error="the disk is full")

    assert told == f"job 7 retries {stage} in 20 s (3 tries so far): the disk is full"


@pytest.mark.parametrize(
    ("lost", "refused", "words"),
    [
        (0, 0, ""),
        (1, 0, " (1 allocation lost so far)"),
        (3, 2, " (3 allocations lost, 2 allocations never started so far)"),
    ],
)
def test_a_job_that_pauses_tells_how_its_allocations_fared(lost: int, refused: int, words: str) -> None:
    told = said(
        JobState.QUEUED, infrastructure_losses=lost, refusals=refused, not_before=NOW + 20, error="no container"
    )

    assert told == f"job 7 is tried again in 20 s{words}: no container"


def test_a_queue_that_is_configured_no_more_holds_its_jobs() -> None:
    told = said(JobState.QUEUED, replace(PLAIN, configured=False))

    assert told == (
        f"job 7 waits {SINCE} for its queue TOY, which is configured no more: configure it again, or kill the job"
    )


def test_a_job_in_the_queue_waits_for_an_allocation() -> None:
    assert said(JobState.QUEUED) == f"job 7 waits {SINCE} for an allocation at toy, where 2 of 10 are alive"
    full = said(JobState.QUEUED, replace(PLAIN, alive=10), error="allocation 3 preempted")
    assert "for one of the 10 allocations at toy to end" in full
    assert full.endswith("; it is back in the queue because of allocation 3 preempted")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"batch_words": "PENDING (Priority)"}, "which the batch system has as PENDING (Priority)"),
        ({}, "which is batch job 17 and of which the batch system has said nothing yet"),
        ({"batch_ended_at": THEN, "batch_state": BatchState.ABSENT}, f"has as absent {SINCE} and which is given up"),
        ({"state": AllocationState.INTENDED}, "which is about to be submitted"),
        ({"state": AllocationState.INTENDED, "submissions": 1}, "which is being submitted"),
        (
            {"state": AllocationState.INTENDED, "submissions": 1, "not_before": NOW + 20, "batch_words": "down"},
            "whose submission is tried again in 20 s (1 try so far): down",
        ),
        (
            {"state": AllocationState.INTENDED, "batch_state": BatchState.FAILED, "batch_words": "no account"},
            "did not take and which is being given up: no account",
        ),
        ({"state": AllocationState.RUNNING, "nodes": ("n1", "n2")}, f"which runs on n1,n2 {SINCE}"),
        ({"state": AllocationState.ENDED, "outcome": AllocationOutcome.PREEMPTED}, "which is over (preempted)"),
        ({"cancel_requested": "ann"}, "the allocation is to be withdrawn on request of ann"),
    ],
)
def test_a_job_with_an_allocation_waits_for_what_that_waits_for(changes: dict[str, object], words: str) -> None:
    told = said(JobState.ASSIGNED, with_allocation(**changes), allocation=AllocationId(3), attempt=Attempt(1))

    assert told.startswith(f"job 7 waits {SINCE} for allocation 3, ")
    assert words in told


def test_a_job_that_is_to_be_stopped_says_so() -> None:
    told = said(JobState.RUNNING, with_allocation(nodes=("n1",), heard_at=NOW - 5), allocation=3, kill_requested="ann")

    assert told == (
        f"job 7 runs {SINCE} in allocation 3 on n1, last heard of 5 s ago; it is to be stopped on request of ann"
    )


def test_a_job_whose_ranges_are_done_tells_how_far_they_are() -> None:
    known = replace(
        PLAIN,
        ranges={RangeState.READY: 5, RangeState.FED: 4, RangeState.FINISHED: 30, RangeState.FATAL: 1},
        bundles={BundleState.STORED: 1, BundleState.SENDING: 1, BundleState.CLOSED: 1, BundleState.SETTLED: 9},
    )
    assert said(JobState.SERVED, known, ranges_lost=3) == (
        f"job 7 has event ranges being done {SINCE}: 5 ready, 4 in allocations, 30 finished, 1 fatal, 3 lost with an "
        "answer of PanDA's; PanDA is owed the outcomes of 2 bundles; 1 archive on the way to storage"
    )
    waiting = said(JobState.SERVED, not_before=NOW + 20, error="down", kill_requested="ann")
    assert waiting.endswith("another allocation is asked for in 20 s: down; it is to be stopped on request of ann")
    assert "configured no more" in said(JobState.SERVED, replace(PLAIN, configured=False))


def test_ranges_that_no_allocation_has_say_what_they_wait_for() -> None:
    ready = replace(PLAIN, ranges={RangeState.READY: 5})
    assert said(JobState.SERVED, ready).endswith("; no allocation is to do any: 2 of 10 are alive at toy")
    waiting = replace(ready, allocation=replace(ALLOCATION, batch_words="PENDING (Priority)"))
    assert said(JobState.SERVED, waiting).endswith(
        "; they wait for allocation 3, which the batch system has as PENDING (Priority)"
    )
    hungry = replace(PLAIN, allocation=replace(ALLOCATION, state=AllocationState.RUNNING))
    assert said(JobState.SERVED, hungry).endswith(
        f"; allocation 3 runs {SINCE} and waits for ranges that PanDA is asked for"
    )


def test_an_archive_that_is_held_up_says_by_what() -> None:
    known = replace(PLAIN, bundles={BundleState.CLOSED: 2}, problem="the storage is full")
    assert said(JobState.SERVED, known).endswith("; 2 archives on the way to storage; held up by: the storage is full")


def test_a_job_whose_ranges_are_done_tells_which_allocations_do_them() -> None:
    running = replace(ALLOCATION, state=AllocationState.RUNNING)
    gone = replace(running, id=AllocationId(5), batch_ended_at=THEN, batch_words="FAILED")

    fed = replace(PLAIN, ranges={RangeState.FED: 3})
    told = said(JobState.SERVED, replace(fed, serving=(running, gone, ALLOCATION, ALLOCATION)))

    assert told.endswith(
        "in allocations; its allocations: 1 running, 2 not started yet, "
        f"1 over, says the batch system, which has allocation 5 as FAILED {SINCE}"
    )


def test_a_job_that_is_over_tells_how_many_of_its_ranges_finished() -> None:
    known = replace(PLAIN, ranges={RangeState.FINISHED: 30, RangeState.FATAL: 2})

    assert "(30 of 32 event ranges finished); PanDA was told" in said(JobState.FINISHED, known)


def test_an_allocation_without_a_record_is_no_reason_to_fall() -> None:
    assert "allocation 3, of which there is no record" in said(JobState.ASSIGNED, allocation=3)
    assert "allocation 3, of which there is no record" in said(JobState.RUNNING, allocation=3)


@pytest.mark.parametrize(
    ("report", "words"),
    [
        (None, "PanDA was told, and nothing is owed"),
        (REPORT, f"it waits {SINCE} for the final report to be sent to PanDA"),
        (replace(REPORT, state=ReportState.SENDING), f"it waits {SINCE} for PanDA's answer to the final report"),
        (replace(REPORT, problem="who?"), "it waits for PanDA to take the final report: who?"),
        (
            replace(REPORT, problem="who?", not_before=NOW + 300),
            "it waits for PanDA to take the final report, which is tried again in 5 min: who?",
        ),
    ],
)
def test_a_job_that_is_over_tells_whether_panda_knows(report: Report | None, words: str) -> None:
    told = said(JobState.FINISHED, replace(PLAIN, report=report))

    assert told == f"job 7 finished at 2026-11-21T02:03:04Z; {words}"


def test_a_job_that_failed_says_why() -> None:
    assert said(JobState.FAILED, error="no such file").startswith("job 7 failed at 2026-11-21T02:03:04Z (no such file)")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-3, "0 s"), (0.4, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2.0 h"), (260_000, "3.0 d")],
)
def test_lengths_of_time_are_short(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_moments_are_utc() -> None:
    assert utc(THEN) == "2026-11-21T02:03:04Z"
