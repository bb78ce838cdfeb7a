"""Connections to SQLite or PostgreSQL: a small pool, usable from every thread."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import QueuePool

from hpcharvest.errors import StoreError
from hpcharvest.store.file_systems import JournalMode, NetworkPolicy, file_system_of, journal_mode, mounts_here
from hpcharvest.store.problems import explained

BUSY_S = 10
"""How long a connection waits for another one's lock, and for a server's answer to the first knock."""
CACHE_KB = 2 * 1024
LOG_LIMIT = 64 * 1024 * 1024
"""Bytes that SQLite's log may keep on disk after a checkpoint."""

_POOL: dict[str, Any] = {
    "poolclass": QueuePool,
    "pool_size": 1,  # one thread writes, and mostly it alone reads: others get a connection for the moment
    "max_overflow": 4,
    "hide_parameters": True,  # what users gave us does not go into messages
}


class Connections:
    """The way to one database. Every error comes out as `StoreError`."""

    def __init__(self, engine: Engine, name: str) -> None:
        self.name = name
        """The URL without its password, for messages."""
        self._reader = engine
        self._writer = engine.execution_options(writes=True)

    @property
    def dialect(self) -> str:
        """`sqlite` or `postgresql`."""
        return self._reader.dialect.name

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Give a connection to ask questions with."""
        with explained(self.name), self._reader.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Give a connection in a transaction that is committed at the end, or rolled back by an error."""
        with explained(self.name), self._writer.begin() as connection:
            yield connection

    def close(self) -> None:
        """Give up all connections."""
        self._reader.dispose()


def connect(text: str, network_file_system: NetworkPolicy) -> Connections:
    """Prepare connections for a URL: `sqlite:////absolute/path` or `postgresql://user:password@host/name`.

    Raises `StoreError` for any other URL, and for a file on a network file system that is to be refused.
    """
    try:
        url = make_url(text)
    except ArgumentError as problem:
        raise StoreError(
            "the database URL cannot be read: write sqlite:////path or postgresql://host/name"
        ) from problem
    name = url.render_as_string(hide_password=True)
    if url.get_backend_name() == "postgresql":
        return Connections(_postgresql(url), name)
    if url.get_backend_name() == "sqlite" and url.database not in {None, "", ":memory:"}:
        file = Path(str(url.database)).resolve()
        mode = journal_mode(file_system_of(file, mounts_here()), network_file_system)
        return Connections(_sqlite(file, mode), name)
    raise StoreError(f"database {name}: only sqlite:////path (a file) and postgresql://host/name can be used")


def _postgresql(url: URL) -> Engine:
    arguments = {"connect_timeout": BUSY_S, "application_name": "hpcharvest"}
    try:
        return create_engine(url.set(drivername="postgresql+psycopg"), connect_args=arguments, **_POOL)
    except ImportError as problem:
        raise StoreError("PostgreSQL needs psycopg: install hpcharvest[postgresql]") from problem


def _sqlite(file: Path, mode: JournalMode) -> Engine:
    _create_private(file)
    engine = create_engine(URL.create("sqlite+pysqlite", database=str(file)), connect_args={"timeout": BUSY_S}, **_POOL)

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        _prepare(connection, mode)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A writer takes its lock at once: a reader that became one could not be given it, and would fail.
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _create_private(file: Path) -> None:
    """Make the file if there is none, for its owner alone; SQLite gives its log the same mode."""
    try:
        os.close(os.open(file, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as problem:
        raise StoreError(
            f"database {file}: cannot be made or opened ({problem.strerror}): look at its folder"
        ) from problem


def _prepare(connection: Any, mode: JournalMode) -> None:
    connection.isolation_level = None  # no transaction but the ones that we begin
    for pragma in (
        f"journal_mode = {mode}",
        "synchronous = FULL",  # a commit survives a power cut
        f"cache_size = -{CACHE_KB}",
        f"journal_size_limit = {LOG_LIMIT}",
    ):
        connection.execute(f"PRAGMA {pragma}")
