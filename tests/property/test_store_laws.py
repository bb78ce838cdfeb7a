"""Whatever is committed, in whatever order: what is read back is what plain dictionaries would hold."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcharvest.model.allocation import Allocation
from hpcharvest.model.ids import AllocationId, Attempt, JobId
from hpcharvest.model.job import InputFile, Job, JobSpec, PayloadOutcome, StoredFile
from hpcharvest.model.report import Report
from hpcharvest.model.shape import Shape
from hpcharvest.model.states import AllocationOutcome, AllocationState, BatchState, JobState, PayloadResult, ReportState
from hpcharvest.store.changes import Answer, Changes, Entry
from hpcharvest.store.database import Database

IDS = st.sampled_from([JobId(1), JobId(2), JobId(3), JobId(2**63 - 1)])
TIMES = st.floats(min_value=0, max_value=4e9)
COUNTS = st.integers(min_value=0, max_value=2**31)
TEXTS = st.text(max_size=8)
WORDS = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=8)

SPECS = st.builds(
    JobSpec,
    panda_id=IDS,
    attempt_nr=COUNTS,
    transformation=TEXTS,
    job_pars=TEXTS,
    priority=st.integers(-(2**31), 2**31),
    inputs=st.lists(st.builds(InputFile, lfn=TEXTS, scope=TEXTS, size=st.none() | COUNTS), max_size=2).map(tuple),
)
JOBS = st.builds(
    Job,
    spec=SPECS,
    queue=st.sampled_from(["Q", "R"]),
    state=st.sampled_from(JobState),
    since=TIMES,
    received_at=TIMES,
    attempt=COUNTS.map(Attempt),
    allocation=st.none() | COUNTS.map(AllocationId),
    not_before=TIMES,
    error=TEXTS,
    outcome=st.none() | st.builds(PayloadOutcome, result=st.sampled_from(PayloadResult), cpu_s=TIMES, reason=TEXTS),
    stored=st.lists(st.builds(StoredFile, lfn=TEXTS, size=COUNTS, adler32=TEXTS), max_size=2).map(tuple),
)
ALLOCATIONS = st.builds(
    Allocation,
    id=st.integers(1, 3).map(AllocationId),
    queue=st.sampled_from(["Q", "R"]),
    shape=st.builds(Shape, nodes=COUNTS, walltime_s=COUNTS),
    tag=st.just(""),
    jobs=st.lists(st.tuples(IDS, COUNTS.map(Attempt)), max_size=2).map(tuple),
    state=st.sampled_from(AllocationState),
    since=TIMES,
    batch_state=st.sampled_from(BatchState),
    batch_words=TEXTS,
    nodes=st.lists(TEXTS, max_size=2).map(tuple),
    outcome=st.none() | st.sampled_from(AllocationOutcome),
).map(lambda one: replace(one, tag=f"tag-{one.id}"))
REPORTS = st.builds(
    Report,
    job=IDS,
    serial=st.integers(0, 3),
    status=st.sampled_from(JobState),
    final=st.booleans(),
    state=st.sampled_from(ReportState),
    since=TIMES,
    problem=WORDS,
)
ENTRIES = st.builds(Entry, at=TIMES, subject=st.sampled_from(["job", "service"]), id=IDS, action=WORDS, detail=WORDS)
ANSWERS = st.builds(Answer, id=st.integers(1, 3), queue=st.just("Q"), at=TIMES, body=st.binary(max_size=8))
CHANGES = st.builds(
    Changes,
    new_jobs=st.lists(JOBS, max_size=2).map(lambda jobs: {job.id: job for job in jobs}),
    jobs=st.lists(JOBS, max_size=3).map(lambda jobs: {job.id: job for job in jobs}),
    allocations=st.lists(ALLOCATIONS, max_size=2).map(lambda some: {one.id: one for one in some}),
    journal=st.lists(ENTRIES, max_size=2),
    reports=st.lists(REPORTS, max_size=2).map(lambda some: {one.job: one for one in some}),
    settled=st.lists(st.tuples(IDS, st.integers(0, 3)), max_size=2),
    answers=st.lists(ANSWERS, max_size=1),
    answers_read=st.lists(st.integers(1, 3), max_size=1),
)


@dataclass
class Model:
    """A database of dictionaries."""

    jobs: dict[JobId, Job] = field(default_factory=dict)
    allocations: dict[AllocationId, Allocation] = field(default_factory=dict)
    reports: dict[JobId, Report] = field(default_factory=dict)
    journal: list[Entry] = field(default_factory=list)
    unread: dict[int, Answer] = field(default_factory=dict)

    def commit(self, changes: Changes) -> None:
        self.jobs |= changes.new_jobs
        self.jobs |= {one: replace(job, spec=self.jobs[one].spec) for one, job in changes.jobs.items()}
        self.allocations |= changes.allocations
        for one, report in changes.reports.items():
            if one not in self.reports or self.reports[one].serial <= report.serial:
                self.reports[one] = report
        for one, serial in changes.settled:
            if one in self.reports and self.reports[one].serial <= serial:
                del self.reports[one]
        self.journal += changes.journal
        self.unread |= {one.id: one for one in changes.answers}
        for number in changes.answers_read:
            self.unread.pop(number, None)


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("store") / "empty.db"
    Database.open(f"sqlite:///{file}").close()
    return file


@settings(max_examples=40, deadline=None)
@given(sequence=st.lists(CHANGES, max_size=4))
def test_what_is_read_is_what_dictionaries_would_hold(empty: Path, sequence: list[Changes]) -> None:
    model = Model()
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(empty, f"{folder}/store.db")
        database = Database.open(f"sqlite:///{folder}/store.db")
        for drawn in sequence:
            there = {one: job for one, job in drawn.jobs.items() if one in model.jobs or one in drawn.new_jobs}
            changes = replace(drawn, jobs=there)
            database.commit(changes)
            model.commit(changes)
        check(database, model)
        database.close()


def check(database: Database, model: Model) -> None:
    jobs = sorted(model.jobs.values(), key=lambda job: job.id)
    waiting = sorted(
        (job for job in jobs if job.state is JobState.RECEIVED),
        key=lambda job: (-job.spec.priority, job.received_at, job.id),
    )
    begun = [job for job in jobs if job.state is not JobState.RECEIVED and not job.state.final]
    assert database.jobs.page() == jobs
    assert database.jobs.unfinished(waiting_limit=2) == begun + waiting[:2]
    assert database.jobs.waiting(9, {JobId(1)}) == [job for job in waiting if job.id != 1]
    assert database.jobs.known(model.jobs) == {job.id: (job.spec.attempt_nr, job.state) for job in jobs}
    counted = {
        (queue, state): number for queue, states in database.jobs.counts().items() for state, number in states.items()
    }
    assert counted == {
        key: sum((job.queue, job.state) == key for job in jobs) for key in {(job.queue, job.state) for job in jobs}
    }
    assert database.jobs.unfinished_count("Q") == sum(job.queue == "Q" and not job.state.final for job in jobs)
    assert {one.id: one for one in database.allocations.page()} == model.allocations
    assert {one.job: one for one in database.outbox.all()} == model.reports
    assert database.journal.tail(1000) == model.journal
    assert {one.id: one for one in database.answers.unread()} == model.unread
