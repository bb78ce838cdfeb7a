"""A harvester in a folder, for all tests of the command line; and what opens it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hpcharvest.cli.controller import Life, look
from hpcharvest.cli.main import main
from hpcharvest.clock import SystemClock
from hpcharvest.config.loader import load
from hpcharvest.engine.lease import Lease
from hpcharvest.engine.parts import database_file, folders_of
from hpcharvest.model.allocation import Allocation
from hpcharvest.model.ids import AllocationId, Attempt, JobId
from hpcharvest.model.job import InputFile, Job, JobSpec, OutputFile
from hpcharvest.model.report import Report
from hpcharvest.model.shape import Shape
from hpcharvest.model.states import AllocationState, JobState
from hpcharvest.store.changes import Changes, Entry
from hpcharvest.store.database import Database

SITE = """\
[site]
name = "toy"

[nodes]
cores = 8

[allocation]
max_nodes = 4
max_walltime_s = 7200
margin_s = 60

[batch]
dialect = "local"
command = ["python3", "-m", "hpcharvest.sandbox.batch", "--spool", "/nowhere/spool"]
"""
CONTROLLER = """\
[controller]
harvester_id = "edge01"
work_dir = "{folder}/work"
state_dir = "{folder}/state"

[panda]
url = "http://127.0.0.1:9"
timeout_s = 2

[queues.TOY]
site = "toy.toml"

[queues.TOY.payload]
transformation_dir = "trf"

[queues.TOY.storage]
inputs = "{folder}/in"
outputs = "file://{folder}/out"
"""
NOW = 1_795_226_584.0
EVIL = "bad \x1b[2J [red]name[/red]\nline two \u202e"


@dataclass(frozen=True)
class Office:
    """A configured harvester with a database."""

    folder: Path
    config: Path
    database: Database

    def call(self, *words: str) -> Result:
        """Call a command on it."""
        return CliRunner().invoke(main, [*words, "--config", str(self.config)])


def write_configuration(folder: Path) -> Path:
    """Write a controller file and its site file, and make the folders that they name."""
    (folder / "toy.toml").write_text(SITE)
    config = folder / "edge.toml"
    config.write_text(CONTROLLER.format(folder=folder))
    for name in ("work", "state", "trf", "in", "out"):
        (folder / name).mkdir()
    return config


def make_job(number: int, state: JobState = JobState.RECEIVED, **changes: object) -> Job:
    """Make a job with an input, an output and a log."""
    spec = JobSpec(
        panda_id=JobId(number),
        attempt_nr=2,
        transformation="collide.py",
        job_pars="--events 10",
        inputs=(InputFile(lfn="cards.txt", scope="mc", size=12, adler32="00000001"),),
        outputs=(OutputFile(lfn="hits.root", scope="mc"), OutputFile(lfn="log.tgz", scope="mc", log=True)),
    )
    given: dict[str, object] = {"queue": "TOY", "state": state, "since": NOW, "received_at": NOW, **changes}
    return Job(spec=spec, **given)  # type: ignore[arg-type]  # a test's own words


def make_allocation(number: int, jobs: tuple[int, ...] = (), **changes: object) -> Allocation:
    """Make an allocation that the batch system has."""
    given: dict[str, object] = {
        "queue": "TOY",
        "state": AllocationState.SUBMITTED,
        "since": NOW,
        "batch_id": "17",
        "batch_words": "PENDING (Priority)",
        **changes,
    }
    return Allocation(
        id=AllocationId(number),
        shape=Shape(nodes=1, walltime_s=3600),
        tag=f"edge01-{number}-abcdef",
        jobs=tuple((JobId(one), Attempt(1)) for one in jobs),
        **given,  # type: ignore[arg-type]  # a test's own words
    )


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    config = write_configuration(tmp_path)
    database = Database.open(f"sqlite:///{tmp_path}/state/hpcharvest.sqlite")
    yield Office(tmp_path, config, database)
    database.close()


@pytest.fixture
def busy(office: Office) -> Office:
    """A harvester with four jobs, an allocation, a report that PanDA refused, and a journal."""
    jobs = [
        make_job(7, JobState.ASSIGNED, attempt=Attempt(1), allocation=AllocationId(3)),
        make_job(8),
        make_job(9, JobState.FAILED, error=EVIL, error_code=1305),
        make_job(10, JobState.FINISHED),
    ]
    problem = Report(
        job=JobId(9), serial=1, status=JobState.FAILED, final=True, since=NOW, tries=4, problem="no such job"
    )
    office.database.commit(
        Changes(
            new_jobs={one.id: one for one in jobs},
            allocations={AllocationId(3): make_allocation(3, (7,))},
            reports={problem.job: problem},
            journal=[
                Entry(at=NOW, subject="job", id=7, action="Assigned"),
                Entry(at=NOW, subject="job", id=9, action="PayloadEnded", detail=EVIL),
                Entry(at=NOW, subject="allocation", id=3, action="Submitted", detail="17"),
            ],
        )
    )
    return office


@pytest.fixture
def held(office: Office) -> Iterator[Callable[[], None]]:
    """Give a function that lets this very process hold the lease."""
    lease = Lease(folders_of(load(office.config)).lease, 60.0, SystemClock())

    def never(_seconds: float) -> None:
        raise AssertionError("nobody else holds the lease")

    yield lambda: lease.acquire(never, patient=False)
    lease.release()


def test_a_command_that_reads_makes_no_database(tmp_path: Path) -> None:
    config = write_configuration(tmp_path)

    told = CliRunner().invoke(main, ["status", "--config", str(config)])

    assert told.exit_code == 1
    assert told.stderr.startswith("hpcharvest: there is no database")
    assert not list((tmp_path / "state").iterdir())


def test_the_file_of_a_database_is_known_where_there_is_one(tmp_path: Path) -> None:
    configuration = load(write_configuration(tmp_path))
    settings = configuration.controller.model_copy(update={"database": "postgresql://panda@host/name"})

    assert database_file(configuration) == tmp_path / "state/hpcharvest.sqlite"
    assert database_file(configuration.model_copy(update={"controller": settings})) is None


def test_a_lease_tells_whether_a_controller_runs(office: Office, held: Callable[[], None]) -> None:
    path = folders_of(load(office.config)).lease
    now = SystemClock().wall()

    assert look(path, now).life is Life.NONE
    held()
    seen = look(path, now)
    assert (seen.life, seen.runs) == (Life.ALIVE, True)
    assert f"process {os.getpid()} on" in seen.sentence


def test_a_lease_that_is_not_renewed_is_silent(office: Office, held: Callable[[], None]) -> None:
    held()

    seen = look(folders_of(load(office.config)).lease, SystemClock().wall() + 61)

    assert seen.life is Life.SILENT
    assert "may be gone" in seen.sentence


def test_a_lease_of_a_process_that_is_gone_is_dead(office: Office, held: Callable[[], None]) -> None:
    held()
    path = folders_of(load(office.config)).lease
    path.write_text(path.read_text().replace(f'"pid": {os.getpid()}', '"pid": 4194305'))  # beyond Linux's largest

    seen = look(path, SystemClock().wall())

    assert (seen.life, seen.runs) == (Life.DEAD, False)
    assert "no controller runs" in seen.sentence


def test_a_lease_that_is_none_is_said_to_be_none(office: Office) -> None:
    path = folders_of(load(office.config)).lease
    path.parent.mkdir()
    path.write_text("{}")

    told = office.call("status")

    assert told.exit_code == 1
    assert "is not a lease" in told.stderr
