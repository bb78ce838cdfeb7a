"""What is SQLite's own: its file, its log, and what can go wrong with a disk."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcharvest.errors import StoreError
from hpcharvest.model.request import Verb
from hpcharvest.store.changes import Changes, Entry
from hpcharvest.store.connections import Connections, _sqlite
from hpcharvest.store.database import Database
from hpcharvest.store.upgrade import upgrade

ENTRY = Changes(journal=[Entry(at=1.0, subject="service", id=0, action="x" * 5000)])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "a folder" / "store.db"


@pytest.fixture
def database(file: Path) -> Iterator[Database]:
    file.parent.mkdir()
    opened = Database.open(f"sqlite:///{file}")
    yield opened
    opened.close()


def pragma(connections: Connections, text: str) -> object:
    """Ask or set something on the pool's one standing connection."""
    with connections.reading() as connection:
        result = connection.exec_driver_sql(f"PRAGMA {text}")
        return result.scalar() if result.returns_rows else None


def test_only_the_owner_reads_the_file_and_its_log(database: Database, file: Path) -> None:
    database.commit(ENTRY)
    files = list(file.parent.iterdir())
    assert {one.name for one in files} == {"store.db", "store.db-wal", "store.db-shm"}
    assert {stat.S_IMODE(one.stat().st_mode) for one in files} == {0o600}


def test_a_commit_is_on_the_disk_and_the_cache_is_small(database: Database) -> None:
    asked = ("journal_mode", "synchronous", "busy_timeout", "cache_size", "foreign_keys")
    assert [pragma(database._connections, one) for one in asked] == ["wal", 2, 10000, -2048, 0]


def test_a_rollback_journal_works_as_well(tmp_path: Path) -> None:
    connections = Connections(_sqlite(tmp_path / "a.db", "delete"), "a.db")
    assert [pragma(connections, one) for one in ("journal_mode", "locking_mode")] == ["delete", "normal"]
    upgrade(connections, may_upgrade=True)
    Database(connections).commit(ENTRY)
    assert [one.name for one in tmp_path.iterdir()] == ["a.db"]
    connections.close()


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://host/x", "nonsense", ""])
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(StoreError, match="sqlite:////path"):
        Database.open(url)


def test_a_folder_that_is_not_there_is_named(file: Path) -> None:
    with pytest.raises(StoreError, match=f"{file}: cannot be made or opened"):
        Database.open(f"sqlite:///{file}")


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_bytes(b"root file " * 1000)
    with pytest.raises(StoreError, match="no SQLite database") as problem:
        Database.open(f"sqlite:///{tmp_path}/a.db")
    assert not problem.value.transient


def test_a_damaged_file_is_told(database: Database, file: Path) -> None:
    database.commit(ENTRY)
    database.close()
    whole = file.read_bytes()
    file.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
    with pytest.raises(StoreError, match="damaged"):
        Database.open(f"sqlite:///{file}")


def test_a_full_disk_is_transient_and_the_commit_may_be_repeated(database: Database) -> None:
    pages = pragma(database._connections, "page_count")
    pragma(database._connections, f"max_page_count = {pages}")
    for _again in range(2):
        with pytest.raises(StoreError, match="make room") as problem:
            database.commit(ENTRY)
        assert problem.value.transient
    assert database.journal.tail(1) == []
    pragma(database._connections, "max_page_count = 10000")
    database.commit(ENTRY)
    assert database.journal.tail(9) == ENTRY.journal


def test_a_lock_that_stays_is_transient(database: Database, file: Path) -> None:
    pragma(database._connections, "busy_timeout = 20")
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="holds it locked") as problem:
        database.commit(ENTRY)
    assert problem.value.transient
    assert database.journal.tail(1) == []  # readers go on
    other.close()
    database.commit(ENTRY)


def test_a_file_that_may_not_be_written_is_told(database: Database) -> None:
    pragma(database._connections, "query_only = 1")
    with pytest.raises(StoreError, match="may not be written") as problem:
        database.inbox.add(Verb.KILL_JOB, 1, "ann", 1.0)
    assert not problem.value.transient


def test_a_number_beyond_64_bits_is_a_store_error(database: Database) -> None:
    with pytest.raises(StoreError, match="too large"):
        database.inbox.add(Verb.KILL_JOB, 2**63, "ann", 1.0)


def test_users_text_stays_out_of_messages(database: Database) -> None:
    with pytest.raises(StoreError) as problem:
        database.commit(Changes(journal=[Entry(at=1.0, subject=None, id=1, action="s3cret")]))  # type: ignore[arg-type] # wrong on purpose
    assert "s3cret" not in f"{problem.value} {problem.value.__cause__}"


def test_what_the_hot_questions_cost_does_not_grow_with_the_finished_jobs(database: Database) -> None:
    """Every question of the loop is answered from an index."""
    plans: list[str] = []
    with database._connections.reading() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        driver.set_trace_callback(plans.append)
    database.jobs.unfinished(waiting_limit=5)
    database.jobs.unfinished_count("Q")
    database.allocations.live()
    database.inbox.new()
    database.answers.unread()
    database.journal.of("job", 1, 10)
    questions = [text for text in plans if text.startswith("SELECT")]
    assert len(questions) == 7
    for text in questions:
        plan = " ".join(str(row[3]) for row in driver.execute(f"EXPLAIN QUERY PLAN {text}"))
        assert "SCAN jobs" not in plan.replace("SCAN jobs USING COVERING INDEX jobs_waiting", ""), plan
        assert "INDEX" in plan, plan
