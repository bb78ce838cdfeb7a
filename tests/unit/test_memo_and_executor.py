from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcharvest.apps.bind import Dags, Witness
from hpcharvest.apps.folders import Folders
from hpcharvest.apps.ticket import Ran, Storage, Ticket
from hpcharvest.errors import JobError, SourceMissing
from hpcharvest.model.ids import Attempt, JobId
from hpcharvest.model.job import InputFile, Job, JobSpec, OutputFile, PayloadOutcome, StoredFile
from hpcharvest.model.states import JobState, PayloadResult

JOB = JobId(7)
SPEC = JobSpec(
    panda_id=JOB,
    attempt_nr=1,
    transformation="work",
    job_pars="",
    inputs=(InputFile(lfn="in.txt", scope="s", size=2),),
    outputs=(OutputFile(lfn="out.txt", scope="s"), OutputFile(lfn="log.tgz", scope="s", log=True)),
)
DONE = PayloadOutcome(result=PayloadResult.DONE)


class Notes(Witness):
    """A witness that writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.stored: tuple[StoredFile, ...] = ()
        self.error: BaseException | None = None
        self.wanted = threading.Event()
        self.ended = threading.Event()

    def staged_in(self, job: JobId) -> None:
        self.told.append(f"staged in {job}")

    def payload_wanted(self, job: JobId) -> None:
        self.told.append(f"wanted {job}")
        self.wanted.set()

    def staged_out(self, job: JobId, attempt: Attempt, stored: tuple[StoredFile, ...]) -> None:
        self.told.append(f"staged out {job}.{attempt}")
        self.stored = stored

    def stage_failed(self, job: JobId, error: BaseException) -> None:
        self.told.append(f"failed {job}")
        self.error = error

    def dag_ended(self, job: JobId) -> None:
        self.told.append(f"ended {job}")
        self.ended.set()


class Bench:
    """A DataFlowKernel with its folders, and a job that the memoizer may look up."""

    def __init__(self, folder: Path) -> None:
        self.notes = Notes()
        self.known: dict[JobId, Job] = {}
        self.folders = Folders(folder / "work")
        self.remote = folder / "remote"
        (self.remote / "s").mkdir(parents=True)
        storage = Storage(inputs=self.remote.as_uri(), outputs=(folder / "out").as_uri(), endpoints={})
        self.ticket = Ticket(spec=SPEC, folders=self.folders, storage=storage)
        self.dags = Dags(self.notes, self.known.get, run_dir=folder / "parsl", stage_threads=1)

    def put(self, lfn: str, text: str) -> None:
        (self.remote / "s" / lfn).write_text(text)

    def ran(self, attempt: int = 1) -> Ran:
        """Let an attempt leave its outputs."""
        folder = self.folders.attempt(JOB, Attempt(attempt))
        folder.mkdir(parents=True)
        (folder / "out.txt").write_text("result")
        (folder / "log.tgz").write_text("log")
        return Ran(attempt=Attempt(attempt), outcome=DONE)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.dags.close()


def test_a_dag_goes_from_stage_to_stage_and_tells_of_each(bench: Bench) -> None:
    bench.put("in.txt", "ab")
    bench.dags.start(bench.ticket)
    assert bench.notes.wanted.wait(10)
    assert (bench.folders.inputs(JOB) / "in.txt").read_text() == "ab"
    bench.dags.allocations.resolve(JOB, bench.ran())
    assert bench.notes.ended.wait(10)
    assert bench.notes.told == ["staged in 7", "wanted 7", "staged out 7.1", "ended 7"]
    assert [one.lfn for one in bench.notes.stored] == ["out.txt", "log.tgz"]


def test_a_stage_that_failed_is_told_once_with_its_own_error(bench: Bench) -> None:
    bench.dags.start(bench.ticket)
    assert bench.notes.ended.wait(10)
    assert bench.notes.told == ["failed 7", "ended 7"]
    assert isinstance(bench.notes.error, SourceMissing)


def test_a_payload_that_is_abandoned_ends_its_dag_without_a_word_more(bench: Bench) -> None:
    bench.put("in.txt", "ab")
    bench.dags.start(bench.ticket)
    assert bench.notes.wanted.wait(10)
    bench.dags.allocations.abandon(JOB, "stopped")
    assert bench.notes.ended.wait(10)
    assert bench.notes.told == ["staged in 7", "wanted 7", "ended 7"]


def test_stages_that_the_record_knows_to_be_done_are_not_done_again(bench: Bench) -> None:
    bench.known[JOB] = Job(spec=SPEC, queue="Q", state=JobState.QUEUED)
    bench.dags.start(bench.ticket)  # there is no input any more: the stage would fail
    assert bench.notes.wanted.wait(10)
    assert bench.notes.told[-1] == "wanted 7"
    bench.dags.allocations.abandon(JOB, "enough")


def test_after_a_restart_what_ran_goes_straight_to_its_destination(bench: Bench) -> None:
    ran = bench.ran(attempt=3)
    bench.known[JOB] = Job(
        spec=SPEC, queue="Q", state=JobState.RAN, attempt=ran.attempt, outcome=ran.outcome, received_at=1.0
    )
    bench.dags.start(bench.ticket)
    assert bench.notes.ended.wait(10)
    assert bench.notes.told == ["staged in 7", "staged out 7.3", "ended 7"]
    assert not bench.notes.wanted.is_set()


def test_of_a_failed_payload_the_log_alone_is_kept(bench: Bench) -> None:
    bench.ran()
    failed = PayloadOutcome(result=PayloadResult.FAILED, exit_code=3)
    bench.known[JOB] = Job(spec=SPEC, queue="Q", state=JobState.RAN, attempt=Attempt(1), outcome=failed)
    bench.dags.start(bench.ticket)
    assert bench.notes.ended.wait(10)
    assert [one.lfn for one in bench.notes.stored] == ["log.tgz"]


def test_an_output_that_leads_elsewhere_is_not_taken(bench: Bench, tmp_path: Path) -> None:
    bench.ran()
    secret = tmp_path / "secret"
    secret.write_text("not yours")
    out = bench.folders.attempt(JOB, Attempt(1)) / "out.txt"
    out.unlink()
    out.symlink_to(secret)
    bench.known[JOB] = Job(spec=SPEC, queue="Q", state=JobState.RAN, attempt=Attempt(1), outcome=DONE)
    bench.dags.start(bench.ticket)
    assert bench.notes.ended.wait(10)
    assert isinstance(bench.notes.error, JobError)
    assert "regular" in str(bench.notes.error)


def test_resolving_what_nobody_waits_for_does_nothing(bench: Bench) -> None:
    bench.dags.allocations.resolve(JOB, Ran(attempt=Attempt(1), outcome=DONE))
    bench.dags.allocations.abandon(JOB, "nobody")
    assert bench.notes.told == []
