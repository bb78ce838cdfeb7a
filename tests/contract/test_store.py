"""What any database of ours keeps, and how it is read: the same for SQLite and PostgreSQL."""

from __future__ import annotations

import copy
import threading
from dataclasses import replace

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from hpcharvest.errors import StoreError, StoreUnavailable
from hpcharvest.model.allocation import Allocation
from hpcharvest.model.ids import AllocationId, Attempt, JobId
from hpcharvest.model.job import InputFile, Job, JobSpec, OutputFile, PayloadOutcome, StoredFile
from hpcharvest.model.report import Report
from hpcharvest.model.request import Verb
from hpcharvest.model.shape import Shape
from hpcharvest.model.states import (
    AllocationOutcome,
    AllocationState,
    BatchState,
    JobState,
    PayloadResult,
    ReportState,
    RequestState,
)
from hpcharvest.store.changes import Answer, Changes, Entry
from hpcharvest.store.database import Database
from hpcharvest.store.schema import metadata
from hpcharvest.store.upgrade import configuration
from tests.services import postgresql

LARGE = JobId(6_812_345_678_901)


def a_job(
    number: int, state: JobState = JobState.RECEIVED, *, priority: int = 0, queue: str = "Q", **more: float
) -> Job:
    spec = JobSpec(panda_id=JobId(number), attempt_nr=3, transformation="x", job_pars="", priority=priority)
    return Job(
        spec=spec, queue=queue, state=state, since=more.get("since", 1.0), received_at=more.get("received_at", 1.0)
    )


def an_allocation(number: int, state: AllocationState = AllocationState.INTENDED, since: float = 1.0) -> Allocation:
    shape = Shape(nodes=2, walltime_s=3600)
    return Allocation(id=AllocationId(number), queue="Q", shape=shape, tag=f"tag-{number}", state=state, since=since)


def new(*jobs: Job) -> Changes:
    return Changes(new_jobs={job.id: job for job in jobs})


def a_report(job: int, serial: int = 1, **more: float) -> Report:
    return Report(job=JobId(job), serial=serial, status=JobState.RUNNING, final=False, since=more.get("since", 1.0))


FULL_JOB = Job(
    spec=JobSpec(
        panda_id=LARGE,
        attempt_nr=2,
        transformation="https://example.org/Sim_tf.py",
        job_pars='--x="ü\n\t"',
        inputs=(
            InputFile(lfn="in", scope="mc", guid="g", size=2**40, adler32="0a0b0c0d"),
            InputFile(lfn="b", scope="s"),
        ),
        outputs=(OutputFile(lfn="out", scope="mc", endpoint="SE"), OutputFile(lfn="log", scope="mc", log=True)),
        priority=900,
        event_service=True,
    ),
    queue="Site_Queue",
    state=JobState.RAN,
    since=1.75e9 + 0.123456,
    received_at=1.75e9,
    attempt=Attempt(2),
    allocation=AllocationId(2**40),
    tries=1,
    infrastructure_losses=2,
    not_before=5.5,
    kill_requested="operator",
    outcome=PayloadOutcome(
        result=PayloadResult.FAILED, exit_code=65, reason="no space\n", cpu_s=1.5, metadata='{"a": 1}'
    ),
    stored=(StoredFile(lfn="out", size=5, adler32="00000001", url="davs://se/out"),),
    error="it failed",
    error_code=1305,
)

FULL_ALLOCATION = Allocation(
    id=AllocationId(2**40),
    queue="Site_Queue",
    shape=Shape(nodes=128, walltime_s=86400, partition="large"),
    tag="a-tag",
    jobs=((LARGE, Attempt(2)), (JobId(2), Attempt(1))),
    state=AllocationState.ENDED,
    since=2.5,
    created_at=1.5,
    submissions=1,
    batch_id="12345",
    batch_state=BatchState.TIMED_OUT,
    batch_words="TIMEOUT",
    nodes=("nid001", "nid002"),
    outcome=AllocationOutcome.TIMED_OUT,
)


def test_a_fresh_database_is_empty(database: Database) -> None:
    assert database.jobs.get(LARGE) is None
    assert database.jobs.unfinished(waiting_limit=10) == []
    assert database.allocations.last_id() == database.answers.last_id() == database.outbox.owed_count() == 0
    assert not Changes()
    database.commit(Changes())


def test_whole_records_come_back_after_reopening(database: Database, url: str) -> None:
    database.commit(Changes(new_jobs={LARGE: FULL_JOB}, allocations={FULL_ALLOCATION.id: FULL_ALLOCATION}))
    again = Database.open(url)
    try:
        assert again.jobs.get(LARGE) == FULL_JOB
        assert again.allocations.get(FULL_ALLOCATION.id) == FULL_ALLOCATION
    finally:
        again.close()


def test_a_known_job_changes_without_its_spec(database: Database) -> None:
    database.commit(new(FULL_JOB))
    later = replace(FULL_JOB, spec=replace(FULL_JOB.spec, job_pars="never written"), state=JobState.FINISHED, tries=0)
    database.commit(Changes(jobs={LARGE: later}))
    assert database.jobs.get(LARGE) == replace(later, spec=FULL_JOB.spec)


def test_a_job_given_again_is_replaced_spec_and_all(database: Database) -> None:
    database.commit(new(a_job(1, JobState.FAILED)))
    again = replace(a_job(1), spec=replace(a_job(1).spec, attempt_nr=4, job_pars="again"))
    database.commit(new(again))
    assert database.jobs.get(JobId(1)) == again
    assert database.jobs.known([JobId(1)]) == {JobId(1): (4, JobState.RECEIVED)}


def test_a_new_job_may_have_changed_in_the_same_turn(database: Database) -> None:
    job = a_job(1)
    later = replace(job, kill_requested="PanDA", state=JobState.CANCELLED)
    database.commit(Changes(new_jobs={job.id: job}, jobs={job.id: later}))
    assert database.jobs.get(job.id) == later


def test_a_change_of_an_unknown_job_is_an_error_and_nothing_is_kept(database: Database) -> None:
    database.commit(new(a_job(1)))
    changes = Changes(
        jobs={JobId(1): a_job(1, JobState.STAGED_IN), JobId(2): a_job(2)},
        journal=[Entry(at=1.0, subject="job", id=1, action="staged in")],
    )
    before = copy.deepcopy(changes)
    with pytest.raises(StoreError, match=r"jobs 2: changed, but never written") as problem:
        database.commit(changes)
    assert not problem.value.transient
    assert changes == before
    assert database.jobs.get(JobId(1)) == a_job(1)
    assert database.journal.tail(10) == []


def test_known_takes_any_number_of_ids(database: Database) -> None:
    database.commit(new(*(a_job(number) for number in range(1, 1501))))
    found = database.jobs.known(JobId(number) for number in range(0, 5000, 2))
    assert len(found) == 750
    assert found[JobId(2)] == (3, JobState.RECEIVED)


def test_the_most_urgent_wait_at_the_front(database: Database) -> None:
    jobs = [
        a_job(1, priority=1),
        a_job(2, priority=9, received_at=5.0),
        a_job(3, priority=9, received_at=4.0),
        a_job(4, priority=9, received_at=5.0),
        a_job(5, JobState.RUNNING, priority=99),
        a_job(6, JobState.FINISHED, priority=99),
    ]
    database.commit(new(*jobs))
    assert [job.id for job in database.jobs.waiting(10, ())] == [3, 2, 4, 1]
    assert [job.id for job in database.jobs.waiting(2, {JobId(3), JobId(5)})] == [2, 4]
    assert database.jobs.waiting(0, ()) == []
    assert [job.id for job in database.jobs.unfinished(waiting_limit=1)] == [5, 3]
    assert database.jobs.waiting(1, ())[0] == jobs[2]


def test_jobs_are_counted(database: Database) -> None:
    states = [JobState.RECEIVED, JobState.RECEIVED, JobState.QUEUED, JobState.FAILED]
    others = [a_job(number, state) for number, state in enumerate(states, 1)]
    database.commit(new(*others, a_job(9, JobState.RAN, queue="R")))
    counts = {JobState.RECEIVED: 2, JobState.QUEUED: 1, JobState.FAILED: 1}
    assert database.jobs.counts() == {"Q": counts, "R": {JobState.RAN: 1}}
    assert [database.jobs.unfinished_count(queue) for queue in ("Q", "R", "S")] == [3, 1, 0]


def test_jobs_and_allocations_are_read_by_the_page(database: Database) -> None:
    jobs = [a_job(1), a_job(2, JobState.FAILED), a_job(3, queue="R"), a_job(4)]
    three = [an_allocation(1), an_allocation(2, AllocationState.ENDED), an_allocation(3, AllocationState.RUNNING)]
    database.commit(Changes(new_jobs={job.id: job for job in jobs}, allocations={one.id: one for one in three}))
    assert database.jobs.page() == jobs
    assert database.jobs.page(limit=2, after=1) == jobs[1:3]
    assert database.jobs.page(states={JobState.RECEIVED}, queue="Q") == [jobs[0], jobs[3]]
    assert database.jobs.page(states=()) == []
    assert database.allocations.page(after=1, limit=1) == [three[1]]
    assert database.allocations.page(states={AllocationState.RUNNING}, queue="Q") == [three[2]]
    assert database.allocations.live() == [three[0], three[2]]
    assert database.allocations.last_id() == 3


def test_an_allocations_tag_is_its_own(database: Database) -> None:
    with pytest.raises(StoreError, match="refused"):
        database.commit(Changes(allocations={AllocationId(n): replace(an_allocation(n), tag="same") for n in (1, 2)}))
    assert database.allocations.last_id() == 0


def test_a_newer_report_takes_the_older_ones_place(database: Database) -> None:
    database.commit(Changes(reports={JobId(1): a_report(1, 2), LARGE: a_report(LARGE, 1, since=0.5)}))
    sending = replace(a_report(1, 2), state=ReportState.SENDING, tries=1, not_before=3.0, problem="busy\0\ud800")
    database.commit(Changes(reports={JobId(1): sending, LARGE: a_report(LARGE, 0)}))
    kept = replace(sending, problem="busy\ufffd?")
    assert database.outbox.all() == [a_report(LARGE, 1, since=0.5), kept]
    assert database.outbox.get(JobId(1)) == kept
    assert database.outbox.owed_count() == 2


def test_settling_an_older_report_leaves_the_newer_one(database: Database) -> None:
    database.commit(Changes(reports={JobId(1): a_report(1, 5), JobId(2): a_report(2, 5)}))
    database.commit(Changes(settled=[(JobId(1), 4), (JobId(2), 5), (JobId(3), 1)]))
    assert database.outbox.all() == [a_report(1, 5)]
    database.commit(Changes(reports={JobId(1): a_report(1, 6)}, settled=[(JobId(1), 6)]))
    assert database.outbox.get(JobId(1)) is None


def test_requests_come_and_are_answered(database: Database) -> None:
    first = database.inbox.add(Verb.KILL_JOB, LARGE, "ann", 1.5)
    second = database.inbox.add(Verb.CANCEL_ALLOCATION, 7, "bob", 2.5)
    assert [(one.id, one.verb, one.subject, one.by, one.asked_at) for one in database.inbox.new()] == [
        (first, Verb.KILL_JOB, LARGE, "ann", 1.5),
        (second, Verb.CANCEL_ALLOCATION, 7, "bob", 2.5),
    ]
    answered = replace(database.inbox.new()[0], state=RequestState.REFUSED, answer="no such job")
    database.commit(Changes(requests=[answered]))
    assert [one.id for one in database.inbox.new()] == [second]
    assert database.inbox.get(first) == answered
    assert database.inbox.get(99) is None


def test_the_journal_keeps_the_order(database: Database) -> None:
    entries = [Entry(at=float(9 - n), subject="job", id=n % 2, action=f"a{n}", detail="dé") for n in range(6)]
    other = Entry(at=1.0, subject="allocation", id=1, action="x")
    database.commit(Changes(journal=[*entries, other]))
    assert database.journal.tail(100) == [*entries, other]
    assert database.journal.tail(2) == [entries[5], other]
    assert database.journal.of("job", 1, 2) == [entries[3], entries[5]]


def test_answers_are_kept_until_they_were_read(database: Database) -> None:
    answers = [Answer(id=n, queue="Q", at=1.0, body=bytes(range(256)) * n) for n in (1, 2)]
    for _repeated in range(2):
        database.commit(Changes(answers=answers))
    assert database.answers.unread() == answers
    database.commit(Changes(answers_read=[1]))
    assert database.answers.unread() == [answers[1]]
    assert database.answers.last_id() == 2


def test_a_purge_takes_what_is_over_and_owed_to_nobody(database: Database) -> None:
    over = [a_job(number, JobState.FINISHED, since=5.0) for number in range(1, 1202)]
    stay = [
        a_job(2001, JobState.FAILED, since=10.0),
        replace(a_job(2002, JobState.RUNNING, since=5.0), allocation=AllocationId(2)),
        a_job(2003, JobState.CANCELLED, since=5.0),
    ]
    ended = [an_allocation(n, AllocationState.ENDED, 5.0) for n in (1, 2, 3)]
    database.commit(
        Changes(
            new_jobs={job.id: job for job in [*over, *stay]},
            allocations={one.id: one for one in ended},
            reports={JobId(2003): a_report(2003)},
            answers=[Answer(id=n, queue="Q", at=5.0, body=b"") for n in (1, 2, 3)],
            answers_read=[1, 3],
            journal=[
                Entry(at=5.0, subject=subject, id=number, action="x")
                for subject, number in [("job", 1), ("job", 2002), ("allocation", 1), ("service", 0), ("allocation", 2)]
            ],
        )
    )
    request = database.inbox.add(Verb.KILL_JOB, 1, "ann", 5.0)
    assert database.purge(10.0) == 1202
    assert database.jobs.page(limit=10) == stay
    assert [one.id for one in database.allocations.page()] == [2, 3]  # an unfinished job's, and the newest
    assert [(one.subject, one.id) for one in database.journal.tail(10)] == [("job", 2002), ("allocation", 2)]
    assert [one.id for one in database.answers.unread()] == [2]
    assert (database.allocations.last_id(), database.answers.last_id()) == (3, 3)
    assert database.inbox.get(request) is not None
    assert database.purge(10.0) == 0


def test_threads_read_while_one_writes(database: Database) -> None:
    stop = threading.Event()
    problems: list[StoreError] = []

    def read() -> None:
        while not stop.wait(0.001):
            try:
                assert len(database.journal.tail(1000)) % 10 == 0
                database.jobs.counts()
            except StoreError as problem:
                problems.append(problem)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for one in readers:
        one.start()
    for _ in range(20):
        database.commit(Changes(journal=[Entry(at=1.0, subject="service", id=0, action="x")] * 10))
    for _ in range(5):
        database.inbox.add(Verb.RETRY_JOB, 1, "ann", 1.0)
    stop.set()
    for one in readers:
        one.join()
    assert problems == []
    assert len(database.journal.tail(1000)) == 200


def test_two_processes_may_open_a_fresh_database_at_once(url: str) -> None:
    opened: list[Database] = []
    threads = [threading.Thread(target=lambda: opened.append(Database.open(url))) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(opened) == 4
    for database in opened:
        database.close()


def test_the_migrations_make_the_tables_of_the_schema(database: Database) -> None:
    with database._connections.writing() as connection:
        metadata.drop_all(connection)
        connection.execute(text("DROP TABLE alembic_version"))
        config = configuration()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


@pytest.mark.needs("postgresql")
def test_a_broken_connection_is_transient_and_the_commit_may_be_repeated(server: str) -> None:
    url = postgresql.new_database(server, "store_broken")
    database = Database.open(url)
    with psycopg.connect(server, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'hpcharvest'")
    with pytest.raises(StoreUnavailable, match="told to stop us"):
        database.commit(new(a_job(1)))
    database.commit(new(a_job(1)))
    assert database.jobs.get(JobId(1)) == a_job(1)
    database.close()


@pytest.mark.needs("postgresql")
def test_a_server_out_of_reach_is_transient_and_its_password_stays_secret(server: str) -> None:
    with pytest.raises(StoreError) as problem:
        Database.open("postgresql://me:s3cret@/x?host=/nonexistent")
    assert problem.value.transient
    assert "s3cret" not in str(problem.value)
    with pytest.raises(StoreError, match="does not exist"):
        Database.open(server.replace("/postgres?", "/absent?"))
