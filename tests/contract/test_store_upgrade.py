"""A database of any released version opens, and says what it said; one of the newest opens without alembic.

`recordings/store/NNNN.sql` is the dump of an SQLite database made by version NNNN, with a row or more in every table.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import text

from hpcharvest.errors import StoreError
from hpcharvest.model.ids import AllocationId, Attempt, JobId
from hpcharvest.model.report import Report
from hpcharvest.model.states import AllocationState, BatchState, JobState, PayloadResult, RequestState
from hpcharvest.store.changes import Answer, Entry
from hpcharvest.store.database import Database
from hpcharvest.store.schema import metadata
from hpcharvest.store.upgrade import HEAD, configuration

DUMPS = Path(__file__).parent.parent / "recordings" / "store"


def load(version: str, folder: Path) -> Path:
    file = folder / "store.db"
    connection = sqlite3.connect(file)
    connection.executescript((DUMPS / f"{version}.sql").read_text(encoding="utf-8"))
    connection.close()
    return file


def test_head_is_what_alembic_says() -> None:
    scripts = ScriptDirectory.from_config(configuration())
    assert scripts.get_heads() == [HEAD]
    assert scripts.get_base() == "0001"


@pytest.mark.parametrize("version", sorted(file.stem for file in DUMPS.glob("*.sql")))
def test_a_database_of_an_older_version_opens_at_head(version: str, tmp_path: Path) -> None:
    file = load(version, tmp_path)
    database = Database.open(f"sqlite:///{file}")
    running, waiting = database.jobs.unfinished(waiting_limit=10)
    assert (running.id, running.state, running.attempt, running.allocation) == (6800000001, JobState.RAN, 2, 41)
    assert running.outcome is not None
    assert (running.outcome.result, running.outcome.exit_code) == (PayloadResult.FAILED, 65)
    assert [one.lfn for one in running.spec.outputs] == ["HITS.root", "log.tgz"]
    assert running.spec.log is running.spec.outputs[1]
    assert (waiting.id, waiting.state, waiting.spec.priority) == (6800000002, JobState.RECEIVED, 900)
    allocation = database.allocations.get(AllocationId(41))
    assert allocation is not None
    assert (allocation.state, allocation.batch_state) == (AllocationState.RUNNING, BatchState.RUNNING)
    assert (allocation.shape.nodes, allocation.jobs) == (4, ((JobId(6800000001), Attempt(2)),))
    report = Report(job=JobId(6800000001), serial=3, status=JobState.RAN, final=False, since=1.75e9, problem="busy")
    assert database.outbox.all() == [report]
    assert database.answers.unread() == [Answer(id=2, queue="Q", at=1.75e9, body=b'{"StatusCode": 0}')]
    assert database.journal.tail(9) == [Entry(at=1.75e9, subject="job", id=6800000001, action="ran", detail="exit 65")]
    request = database.inbox.get(1)
    assert request is not None
    assert (request.state, request.answer) == (RequestState.DONE, "killed")
    database.close()
    connection = sqlite3.connect(file)
    assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(HEAD,)]
    connection.close()


def test_every_version_has_its_dump() -> None:
    scripts = ScriptDirectory.from_config(configuration())
    assert {file.stem for file in DUMPS.glob("*.sql")} == {one.revision for one in scripts.walk_revisions()}


def test_a_database_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    file = load(HEAD, tmp_path)
    connection = sqlite3.connect(file)
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    with pytest.raises(StoreError, match="its version 9999 is newer than"):
        Database.open(f"sqlite:///{file}")


def test_a_making_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    file = tmp_path / "store.db"
    connection = sqlite3.connect(file)
    connection.execute("CREATE TABLE answers (mine)")  # somebody else's, in the way of the last table of 0001
    with pytest.raises(StoreError):
        Database.open(f"sqlite:///{file}")
    assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("answers",)]
    connection.close()


@pytest.mark.parametrize("fresh", [False, True])
def test_a_database_at_head_or_a_fresh_one_opens_without_alembic(fresh: bool, tmp_path: Path) -> None:
    file = tmp_path / "fresh.db" if fresh else load(HEAD, tmp_path)
    program = (
        "import sys; from hpcharvest.store.database import Database; "
        f"Database.open('sqlite:///{file}').close(); sys.exit('alembic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_the_indexes_are_those_of_the_schema(tmp_path: Path) -> None:
    """Conditions and directions too, which alembic does not compare."""
    Database.open(f"sqlite:///{tmp_path}/made.db").close()
    other = Database.open(f"sqlite:///{tmp_path}/other.db")
    with other._connections.writing() as writer:
        metadata.drop_all(writer)
        writer.execute(text("DROP TABLE alembic_version"))
        config = configuration()
        config.attributes["connection"] = writer
        command.upgrade(config, "head")
    other.close()
    found = []
    for name in ("made", "other"):
        connection = sqlite3.connect(tmp_path / f"{name}.db")
        question = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL ORDER BY name"
        found.append(connection.execute(question).fetchall())
        connection.close()
    assert found[0] == found[1]
    assert len(found[0]) == 12
