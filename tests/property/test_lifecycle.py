"""The laws of the lifecycle, over any facts in any order."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from hpcharvest.config.schema import Patience
from hpcharvest.engine.lifecycle import apply, apply_to_allocation, next_allocation_command, next_command
from hpcharvest.engine.served import out_of_patience
from hpcharvest.model import facts
from hpcharvest.model.allocation import Allocation
from hpcharvest.model.commands import CancelBatch, CloseJournal, StartDag, StopPayload, Submit
from hpcharvest.model.ids import AllocationId, Attempt, JobId
from hpcharvest.model.job import Job, JobSpec, PayloadOutcome, StoredFile
from hpcharvest.model.shape import Shape
from hpcharvest.model.states import (
    ALLOCATION_LIFE,
    JOB_LIFE,
    AllocationOutcome,
    AllocationState,
    BatchState,
    JobState,
    PayloadResult,
)

JOB, ALLOCATION = JobId(7), AllocationId(3)
SPEC = JobSpec(panda_id=JOB, attempt_nr=1, transformation="work", job_pars="")
EVENTS = replace(SPEC, event_service=True)
PATIENCE = Patience(stage_tries=3, infrastructure_losses=2, refusals=2)

moments = st.floats(0, 1e9, allow_nan=False)
attempts = st.integers(0, 4).map(Attempt)
words = st.sampled_from(["", "somebody", "a reason"])
outcomes = st.builds(
    PayloadOutcome, result=st.sampled_from(PayloadResult), reason=words, started_at=st.sampled_from([0.0, 5.0])
)
stored = st.just((StoredFile(lfn="out", size=1, adler32="00000001"),))
of_job = {"job": st.just(JOB), "at": moments}
losses = st.builds(
    facts.PayloadLost, **of_job, attempt=attempts, reason=words, started=st.booleans(), wished=st.booleans()
)
ends_of_ranges = st.builds(
    PayloadOutcome, result=st.sampled_from([PayloadResult.DONE, PayloadResult.FAILED]), reason=words
)
left = st.builds(
    facts.AllocationLeft,
    **of_job,
    attempt=attempts,
    started=st.booleans(),
    useful=st.booleans(),
    wished=st.booleans(),
    reason=words,
)
ended = st.builds(facts.RangesEnded, **of_job, attempt=attempts)
job_facts: st.SearchStrategy[facts.JobFact] = st.one_of(
    st.builds(facts.Served, **of_job, attempt=attempts),
    st.builds(facts.RangesLost, **of_job, number=st.integers(0, 3)),
    left,
    ended,
    st.builds(facts.RangesOver, **of_job, attempt=attempts, outcome=ends_of_ranges),
    st.builds(facts.StagedIn, **of_job),
    st.builds(facts.PayloadWanted, **of_job),
    st.builds(facts.Assigned, **of_job, attempt=attempts, allocation=st.just(ALLOCATION)),
    st.builds(facts.PayloadStarted, **of_job, attempt=attempts, node=words),
    st.builds(facts.PayloadEnded, **of_job, attempt=attempts, outcome=outcomes),
    losses,
    st.builds(facts.StagedOut, **of_job, attempt=attempts, stored=stored),
    st.builds(facts.StageFailed, **of_job, transient=st.booleans(), reason=words, code=st.just(1099)),
    st.builds(facts.Unfit, **of_job, reason=words),
    st.builds(facts.KillAsked, **of_job, by=st.just("PanDA")),
    st.builds(facts.RetryAsked, **of_job, by=st.just("an operator")),
)
any_job = st.builds(
    Job,
    spec=st.sampled_from([SPEC, EVENTS]),
    queue=st.just("Q"),
    state=st.sampled_from(JobState),
    attempt=attempts,
    allocation=st.sampled_from([None, ALLOCATION]),
    tries=st.integers(0, 3),
    infrastructure_losses=st.integers(0, 3),
    refusals=st.integers(0, 3),
    not_before=moments,
    kill_requested=st.sampled_from(["", "PanDA"]),
    outcome=st.none() | outcomes,
)
of_allocation = {"allocation": st.just(ALLOCATION), "at": moments}
allocation_facts: st.SearchStrategy[facts.AllocationFact] = st.one_of(
    st.builds(facts.SubmissionBegun, **of_allocation),
    st.builds(facts.Submitted, **of_allocation, batch_id=st.sampled_from(["1", "2"])),
    st.builds(facts.SubmissionFailed, **of_allocation, transient=st.booleans(), reason=words),
    st.builds(facts.BatchReported, **of_allocation, state=st.sampled_from(BatchState), words=words),
    st.builds(facts.RunnerStarted, **of_allocation, batch_id=st.sampled_from(["", "1"]), nodes=st.just(("vn001",))),
    st.builds(facts.RangesWanted, **of_allocation, job=st.just(JOB), total=st.integers(0, 3)),
    st.builds(facts.SegmentRead, **of_allocation, number=st.integers(0, 3)),
    st.builds(facts.HeartbeatMoved, **of_allocation, beat=moments),
    st.builds(facts.JournalClosed, **of_allocation, outcome=st.sampled_from(AllocationOutcome)),
    st.builds(facts.CancelAsked, **of_allocation, by=st.just("an operator")),
)
any_allocation = st.builds(
    Allocation,
    id=st.just(ALLOCATION),
    queue=st.just("Q"),
    shape=st.just(Shape(nodes=1, walltime_s=60)),
    tag=st.just("tag"),
    state=st.sampled_from(AllocationState),
    not_before=moments,
    submissions=st.integers(0, 4),
    batch_id=st.sampled_from(["", "1"]),
    batch_state=st.sampled_from(BatchState),
    batch_ended_at=moments,
    heard_at=moments,
    next_segment=st.integers(0, 3),
    cancel_requested=st.sampled_from(["", "an operator"]),
)
OCCURRENCES = (facts.StageFailed, facts.SubmissionBegun, facts.AllocationLeft)
"""Facts that are counted: each tells of another try, and comes once."""


@given(any_job, job_facts)
def test_a_job_goes_only_where_its_life_leads(job: Job, fact: facts.JobFact) -> None:
    after = apply(job, fact, PATIENCE)
    assert after.state is job.state or after.state in JOB_LIFE[job.state]
    assert after.id == job.id
    assert job.attempt <= after.attempt <= job.attempt + 1
    useful = isinstance(fact, facts.RangesEnded) or (isinstance(fact, facts.AllocationLeft) and fact.useful)
    assert useful or after.infrastructure_losses >= job.infrastructure_losses


@given(any_job, left)
def test_the_end_of_an_allocation_ends_no_job_whose_ranges_are_done(job: Job, fact: facts.AllocationLeft) -> None:
    after = apply(job, fact, PATIENCE)
    assert (after.state, after.attempt, after.outcome) == (job.state, job.attempt, job.outcome)
    if job.state is not JobState.SERVED or fact.attempt != job.attempt:
        assert after is job
    elif fact.useful:
        assert (after.infrastructure_losses, after.refusals, after.not_before) == (0, 0, 0.0)
    elif fact.wished:
        assert after is job


@given(any_job, ended)
def test_ranges_that_end_make_good_for_allocations_that_came_to_nothing(job: Job, fact: facts.RangesEnded) -> None:
    after = apply(job, fact, PATIENCE)
    assert after.state is job.state
    if job.state is JobState.SERVED and fact.attempt == job.attempt:
        assert (after.infrastructure_losses, after.refusals, after.not_before) == (0, 0, 0.0)
    else:
        assert after is job


def test_a_job_that_comes_to_nothing_in_one_allocation_after_the_other_has_an_end() -> None:
    job = Job(spec=EVENTS, queue="Q", state=JobState.SERVED, attempt=Attempt(1))
    for _ in range(PATIENCE.infrastructure_losses + 1):
        assert not out_of_patience(job, PATIENCE)
        fact = facts.AllocationLeft(
            job=JOB, at=1.0, attempt=Attempt(1), started=True, useful=False, wished=False, reason="lost"
        )
        job = apply(job, fact, PATIENCE)
    assert out_of_patience(job, PATIENCE) == "3 allocations in a row did none of its event ranges; last: lost"


@given(any_job)
def test_a_served_job_is_stopped_only_when_all_is_told(job: Job) -> None:
    if job.state is not JobState.SERVED:
        return
    asked = apply(job, facts.KillAsked(job=JOB, at=1.0, by="PanDA"), PATIENCE)
    assert (asked.state, asked.kill_requested) == (JobState.SERVED, "PanDA")
    over = facts.RangesOver(job=JOB, at=2.0, attempt=job.attempt, outcome=PayloadOutcome(result=PayloadResult.DONE))
    assert apply(asked, over, PATIENCE).state is JobState.CANCELLED


@given(any_job, job_facts)
def test_what_is_final_stays_the_very_same(job: Job, fact: facts.JobFact) -> None:
    if job.state.final:
        assert apply(job, fact, PATIENCE) is job
        assert next_command(job, 2e9, PATIENCE) is None


@given(any_job, job_facts)
def test_a_fact_told_twice_to_a_job_is_told_once(job: Job, fact: facts.JobFact) -> None:
    once = apply(job, fact, PATIENCE)
    if not isinstance(fact, OCCURRENCES):
        assert apply(once, fact, PATIENCE) is once


@given(any_job, job_facts)
def test_facts_of_another_attempt_change_nothing(job: Job, fact: facts.JobFact) -> None:
    told = getattr(fact, "attempt", job.attempt)
    if told < job.attempt or (told != job.attempt and not isinstance(fact, facts.Assigned | facts.Served)):
        assert apply(job, fact, PATIENCE) is job


@given(any_job, losses)
def test_a_loss_fails_no_job_before_the_limit_and_is_no_doing_of_the_payload(job: Job, fact: facts.PayloadLost) -> None:
    after = apply(job, fact, PATIENCE)
    assert after.attempt == job.attempt
    assert after.outcome == job.outcome
    if after.state is JobState.FAILED and after is not job:
        assert not fact.wished
        if fact.started:
            assert after.infrastructure_losses > PATIENCE.infrastructure_losses
        else:
            assert after.refusals > PATIENCE.refusals
    assert after.infrastructure_losses - job.infrastructure_losses <= fact.started


@st.composite
def stories(draw: st.DrawFn) -> list[Job]:
    """Tell a life of a job, as the records that it was; half of the facts are such as lead on."""
    life = [Job(spec=draw(st.sampled_from([SPEC, EVENTS])), queue="Q")]
    for leads_on in draw(st.lists(st.booleans(), max_size=40)):
        fact = draw(_leading_on(life[-1]) if leads_on else job_facts)
        life.append(apply(life[-1], fact, PATIENCE))
    return life


def _leading_on(job: Job) -> st.SearchStrategy[facts.JobFact]:
    mine = {**of_job, "attempt": st.just(job.attempt)}
    ended = st.builds(facts.PayloadEnded, **mine, outcome=outcomes)
    started = st.builds(facts.PayloadStarted, **mine, node=words)
    assigned = st.builds(
        facts.Assigned, **of_job, attempt=st.just(Attempt(job.attempt + 1)), allocation=st.just(ALLOCATION)
    )
    served = st.builds(facts.Served, **of_job, attempt=st.just(Attempt(job.attempt + 1)))
    following: dict[JobState, st.SearchStrategy[facts.JobFact]] = {
        JobState.RECEIVED: st.builds(facts.StagedIn, **of_job),
        JobState.STAGED_IN: st.builds(facts.PayloadWanted, **of_job),
        JobState.QUEUED: served if job.spec.event_service else assigned,
        JobState.ASSIGNED: started | ended,
        JobState.RUNNING: ended,
        JobState.SERVED: left | st.builds(facts.RangesOver, **mine, outcome=ends_of_ranges),
        JobState.RAN: st.builds(facts.StagedOut, **mine, stored=stored),
    }
    return following.get(job.state, job_facts)


@given(stories())
def test_any_story_of_a_job_leaves_a_command_that_fits_its_state(story: list[Job]) -> None:
    for job in story:
        held = job.state in {JobState.ASSIGNED, JobState.RUNNING}
        assert not held or job.allocation == ALLOCATION
        command = next_command(job, 2e9, PATIENCE)
        if job.state.final:
            assert command is None
        elif held and job.kill_requested:
            assert command == StopPayload(job.id, job.attempt, ALLOCATION)
        else:
            assert command == StartDag(job.id)
        assert next_command(job, job.not_before - 1, PATIENCE) is None or not job.not_before


@given(stories())
def test_in_any_story_of_a_job_its_record_makes_sense(story: list[Job]) -> None:
    for job in story:
        assert job.state is not JobState.FINISHED or job.stored
        assert job.state is not JobState.RAN or job.outcome is not None
        assert job.state is not JobState.FAILED or job.error_code
        assert job.state is not JobState.CANCELLED or job.kill_requested
        assert job.tries < PATIENCE.stage_tries
        served = job.attempt and job.spec.event_service  # such a job ends when it is told that all is over
        assert served or job.infrastructure_losses <= PATIENCE.infrastructure_losses + 1
        if job.state in {JobState.RECEIVED, JobState.STAGED_IN, JobState.QUEUED}:
            assert not job.kill_requested


@given(stories())
def test_a_job_that_finished_did_so_by_its_payload_alone(story: list[Job]) -> None:
    last = story[-1]
    if last.state is JobState.FINISHED:
        assert last.outcome is not None
        assert last.outcome.result is PayloadResult.DONE
        assert (last.error, last.error_code) == ("", 0)


@given(any_allocation, allocation_facts)
def test_an_allocation_goes_only_where_its_life_leads(allocation: Allocation, fact: facts.AllocationFact) -> None:
    after = apply_to_allocation(allocation, fact, PATIENCE)
    assert after.state is allocation.state or after.state in ALLOCATION_LIFE[allocation.state]
    assert (after.id, after.tag, after.jobs) == (allocation.id, allocation.tag, allocation.jobs)
    assert after.next_segment >= allocation.next_segment
    if allocation.state.final:
        assert after is allocation
        assert next_allocation_command(allocation, 2e9, PATIENCE) is None


@given(any_allocation, allocation_facts)
def test_a_fact_told_twice_to_an_allocation_is_told_once(allocation: Allocation, fact: facts.AllocationFact) -> None:
    once = apply_to_allocation(allocation, fact, PATIENCE)
    if not isinstance(fact, OCCURRENCES):
        assert apply_to_allocation(once, fact, PATIENCE) == once


@given(st.lists(allocation_facts, max_size=40), moments)
def test_any_story_of_an_allocation_leaves_a_command_that_fits_its_state(
    story: list[facts.AllocationFact], now: float
) -> None:
    allocation = Allocation(id=ALLOCATION, queue="Q", shape=Shape(nodes=1, walltime_s=60), tag="tag")
    for fact in story:
        allocation = apply_to_allocation(allocation, fact, PATIENCE)
        command = next_allocation_command(allocation, now, PATIENCE)
        if isinstance(command, Submit):
            assert allocation.state is AllocationState.INTENDED
        if isinstance(command, CancelBatch):
            assert allocation.cancel_requested
            assert not allocation.batch_state.ended
        if isinstance(command, CloseJournal) and allocation.state is not AllocationState.INTENDED:
            assert allocation.batch_state.ended or allocation.batch_state is BatchState.ABSENT
            assert now >= allocation.batch_ended_at + PATIENCE.batch_grace_s
        assert allocation.outcome is None or allocation.state is AllocationState.ENDED


@given(any_allocation, moments)
def test_a_runner_that_is_heard_of_is_never_closed_on(allocation: Allocation, now: float) -> None:
    running = replace(allocation, state=AllocationState.RUNNING, heard_at=now)
    assert not isinstance(next_allocation_command(running, now, PATIENCE), CloseJournal)


@given(any_allocation)
def test_a_word_that_nobody_knows_is_kept_and_changes_nothing_else(allocation: Allocation) -> None:
    fact = facts.BatchReported(allocation=ALLOCATION, state=BatchState.UNKNOWN, words="?", at=5.0)
    after = apply_to_allocation(allocation, fact, PATIENCE)
    assert after.batch_words in {"?", allocation.batch_words}
    if allocation.batch_state is not BatchState.ABSENT:
        assert replace(after, batch_words=allocation.batch_words) == allocation


@given(
    st.sampled_from(
        [
            facts.Submitted(allocation=ALLOCATION, batch_id="17", at=5.0),
            facts.RunnerStarted(allocation=ALLOCATION, batch_id="17", nodes=("n1",), at=5.0),
        ]
    )
)
def test_why_a_try_failed_is_forgotten_when_another_succeeded(fact: facts.AllocationFact) -> None:
    tried = Allocation(id=ALLOCATION, queue="TOY", shape=Shape(nodes=1, walltime_s=60), tag="t", submissions=2)
    failed = facts.SubmissionFailed(allocation=ALLOCATION, transient=True, reason="timed out", at=4.0)
    waiting = apply_to_allocation(tried, failed, PATIENCE)
    assert waiting.batch_words == "timed out"
    assert apply_to_allocation(waiting, fact, PATIENCE).batch_words == ""


def test_what_a_batch_job_waited_for_is_forgotten_when_it_runs() -> None:
    asked = Allocation(id=ALLOCATION, queue="TOY", shape=Shape(nodes=1, walltime_s=60), tag="t")
    said = {BatchState.PENDING: "", BatchState.RUNNING: "why", BatchState.ABSENT: "why"}
    for state, left in said.items():
        known = replace(asked, state=AllocationState.SUBMITTED, batch_state=state, batch_words="why")
        fact = facts.RunnerStarted(allocation=ALLOCATION, batch_id="17", nodes=("n1",), at=5.0)
        assert apply_to_allocation(known, fact, PATIENCE).batch_words == left


def test_what_is_spoken_of_again_is_absent_no_more_even_if_nobody_knows_the_word() -> None:
    allocation = Allocation(
        id=ALLOCATION, queue="Q", shape=Shape(nodes=1, walltime_s=60), tag="tag", state=AllocationState.SUBMITTED
    )
    for number, state in enumerate((BatchState.ABSENT, BatchState.UNKNOWN)):
        fact = facts.BatchReported(allocation=ALLOCATION, state=state, words="?", at=100.0 + number)
        allocation = apply_to_allocation(allocation, fact, PATIENCE)
    assert next_allocation_command(allocation, 1e6, PATIENCE) is None
