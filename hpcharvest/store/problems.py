"""What goes wrong with a database, in words that say what to do."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from hpcharvest.errors import StoreError, StoreUnavailable

_SQLITE: dict[int, tuple[type[StoreError], str]] = {
    sqlite3.SQLITE_FULL: (StoreUnavailable, "the disk or the quota is full: make room"),
    sqlite3.SQLITE_BUSY: (StoreUnavailable, "another process holds it locked: look who has it open"),
    sqlite3.SQLITE_LOCKED: (StoreUnavailable, "another connection holds it locked"),
    sqlite3.SQLITE_IOERR: (StoreUnavailable, "its disk answers with errors: look at the file system"),
    sqlite3.SQLITE_READONLY: (StoreError, "it may not be written: look at the owner and mode of file and folder"),
    sqlite3.SQLITE_PERM: (StoreError, "it may not be opened: look at the owner and mode of file and folder"),
    sqlite3.SQLITE_CANTOPEN: (StoreError, "it cannot be opened: look whether its folder exists and may be written"),
    sqlite3.SQLITE_CORRUPT: (StoreError, "the file is damaged: put it aside and restore it, `sqlite3 FILE .recover`"),
    sqlite3.SQLITE_NOTADB: (StoreError, "the file is no SQLite database: name another one"),
}
"""By primary result code, https://www.sqlite.org/rescode.html."""

_POSTGRESQL: dict[str, tuple[type[StoreError], str]] = {
    "08": (StoreUnavailable, "the connection broke: look whether the server runs"),
    "40": (StoreUnavailable, "another transaction was in the way"),
    "42501": (StoreError, "the user lacks a privilege: grant it"),
    "53": (StoreUnavailable, "the server is out of disk, memory or connections: make room"),
    "55": (StoreUnavailable, "another transaction holds a lock"),
    "57": (StoreUnavailable, "the server is going down or was told to stop us"),
    "58": (StoreUnavailable, "the server's disk answers with errors"),
}
"""By the beginning of the SQLSTATE, https://www.postgresql.org/docs/current/errcodes-appendix.html."""


@contextmanager
def explained(name: str) -> Iterator[None]:
    """Turn what the driver or SQLAlchemy raises into a `StoreError` about the database of that name.

    A connection that broke during a commit may have committed: repeating the same `Changes` does no harm.
    """
    try:
        yield
    except DBAPIError as problem:
        kind, advice = _diagnosis(problem)
        cause = str(problem.orig).strip().partition("\n")[0]
        raise kind(f"database {name}: {advice} ({cause})") from problem
    except PoolTimeout as problem:
        raise StoreUnavailable(f"database {name}: all connections are in use ({problem})") from problem
    except (SQLAlchemyError, OverflowError) as problem:
        raise StoreError(f"database {name}: it did not take what we asked ({problem})") from problem


def _diagnosis(problem: DBAPIError) -> tuple[type[StoreError], str]:
    otherwise: tuple[type[StoreError], str] = (StoreError, "it refused what we asked")
    code = getattr(problem.orig, "sqlite_errorcode", None)
    if code is not None:
        return _SQLITE.get(code & 0xFF, otherwise)  # the low byte of an extended code is the primary one
    state = getattr(problem.orig, "sqlstate", None)
    if state:
        return next((found for start, found in _POSTGRESQL.items() if state.startswith(start)), otherwise)
    if problem.connection_invalidated or "connect" in str(problem.orig):  # libpq gives no code before we are let in
        return StoreUnavailable, "no connection: look at the URL, the user, and whether the server runs"
    return otherwise
