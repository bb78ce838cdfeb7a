"""The tables. Columns are what SQL must find, sort or count by; the rest of a record is one JSON text.

The JSON holds whole records, defaults and all, so that a default that changes later does not change the past. A new
field of a record needs a default and no migration; a new column or index needs one (`migrations/`).
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    literal,
)
from sqlalchemy.dialects import postgresql, sqlite

from hpcharvest.model.states import JobState, RangeState

Number = BigInteger().with_variant(Integer, "sqlite")
"""64 bits in both: SQLite's INTEGER has them, and only under that name a primary key is the table's own order."""


class Words(TypeDecorator[str]):
    """Text from outside: what no database takes (lone surrogates, NUL) is written as a question mark or U+FFFD."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002 - SQLAlchemy's
        """Clean it."""
        if value is None or (value.isascii() and "\0" not in value):
            return value
        return value.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()


metadata = MetaData()

jobs = Table(
    "jobs",
    metadata,
    Column("id", Number, primary_key=True, autoincrement=False),
    Column("queue", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("since", Double, nullable=False),
    Column("received_at", Double, nullable=False),
    Column("priority", Number, nullable=False),
    Column("attempt_nr", Number, nullable=False),
    Column("attempt", Number, nullable=False),
    Column("allocation_id", Number),
    Column("not_before", Double, nullable=False),
    Column("rest", Text, nullable=False),
)
Index("jobs_by_state", jobs.c.state, jobs.c.queue, jobs.c.since)

WAITING = jobs.c.state == literal(JobState.RECEIVED.value, literal_execute=True)
"""Literal, because only then a database sees that the index below has them all."""
Index(
    "jobs_waiting",
    jobs.c.priority.desc(),
    jobs.c.received_at,
    jobs.c.id,
    sqlite_where=WAITING,
    postgresql_where=WAITING,
)

specs = Table(
    # Apart from the jobs: a row is rewritten whole whenever anything in it changes, and a spec is long.
    "job_specs",
    metadata,
    Column("job_id", Number, primary_key=True, autoincrement=False),
    Column("spec", Text, nullable=False),
)

allocations = Table(
    "allocations",
    metadata,
    Column("id", Number, primary_key=True, autoincrement=False),
    Column("queue", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("since", Double, nullable=False),
    Column("tag", Text, nullable=False, unique=True),
    Column("rest", Text, nullable=False),
)
Index("allocations_by_state", allocations.c.state, allocations.c.since)

reports = Table(
    "reports",
    metadata,
    Column("job_id", Number, primary_key=True, autoincrement=False),
    Column("serial", Number, nullable=False),
    Column("status", Text, nullable=False),
    Column("final", Boolean, nullable=False),
    Column("state", Text, nullable=False),
    Column("since", Double, nullable=False),
    Column("tries", Number, nullable=False),
    Column("not_before", Double, nullable=False),
    Column("problem", Words, nullable=False),
)

journal = Table(
    "journal",
    metadata,
    Column("id", Number, primary_key=True),
    Column("at", Double, nullable=False),
    Column("subject", Text, nullable=False),
    Column("subject_id", Number, nullable=False),
    Column("action", Words, nullable=False),
    Column("detail", Words, nullable=False),
)
Index("journal_by_subject", journal.c.subject, journal.c.subject_id)

inbox = Table(
    "inbox",
    metadata,
    Column("id", Number, primary_key=True),
    Column("verb", Text, nullable=False),
    Column("subject", Number, nullable=False),
    Column("asked_by", Words, nullable=False),
    Column("asked_at", Double, nullable=False),
    Column("state", Text, nullable=False),
    Column("answer", Words, nullable=False),
    sqlite_autoincrement=True,  # who asked waits for the answer under this number: it is never used again
)
Index("inbox_by_state", inbox.c.state)

answers = Table(
    "answers",
    metadata,
    Column("id", Number, primary_key=True, autoincrement=False),
    Column("queue", Text, nullable=False),
    Column("at", Double, nullable=False),
    Column("read", Boolean, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("job_id", Number),  # whose event ranges they are; null: these are jobs
)
Index("answers_by_read", answers.c.read)

event_ranges = Table(
    # A job may have a million: no row is ever read but for a feed, a bundle or a page.
    "event_ranges",
    metadata,
    Column("job_id", Number, primary_key=True, autoincrement=False),
    Column("id", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("file", Integer, nullable=False),
    Column("first_event", Number, nullable=False),
    Column("last_event", Number, nullable=False),
    Column("allocation_id", Number),
    Column("feed", Integer),
    Column("bundle_id", Number),
    Column("told", Boolean),
    Column("cpu_s", Double),
    Column("cores", Integer),
    Column("error", Words),
    sqlite_with_rowid=False,  # found by their names, one by one
)
READY = event_ranges.c.state == literal(RangeState.READY.value, literal_execute=True)
FED = event_ranges.c.state == literal(RangeState.FED.value, literal_execute=True)
IN_BUNDLE = event_ranges.c.bundle_id.is_not(None)
"""Literal, as above. `told`: whether PanDA took the outcome; null: it was not told, or did not look at it."""
Index(
    "event_ranges_ready",
    event_ranges.c.job_id,
    event_ranges.c.file,
    event_ranges.c.first_event,
    event_ranges.c.id,
    sqlite_where=READY,
    postgresql_where=READY,
)
Index(
    "event_ranges_fed",
    event_ranges.c.allocation_id,
    event_ranges.c.feed,
    sqlite_where=FED,
    postgresql_where=FED,
)
Index("event_ranges_by_bundle", event_ranges.c.bundle_id, sqlite_where=IN_BUNDLE, postgresql_where=IN_BUNDLE)

range_files = Table(
    "range_files",
    metadata,
    Column("job_id", Number, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("lfn", Text, nullable=False),
    Column("guid", Text, nullable=False),
    Column("scope", Text, nullable=False),
)

range_counts = Table(
    # How many ranges are where: moved together with them, as counting a million takes long. Allocation 0: none.
    "range_counts",
    metadata,
    Column("job_id", Number, primary_key=True, autoincrement=False),
    Column("allocation_id", Number, primary_key=True, autoincrement=False),
    Column("state", Text, primary_key=True),
    Column("number", Number, nullable=False),
)

feeds = Table(
    "feeds",
    metadata,
    Column("allocation_id", Number, primary_key=True, autoincrement=False),
    Column("job_id", Number, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("first", Number, nullable=False),
    Column("size", Number, nullable=False),
    Column("last", Boolean, nullable=False),
)

bundles = Table(
    "bundles",
    metadata,
    Column("id", Number, primary_key=True, autoincrement=False),
    Column("job_id", Number, nullable=False),
    Column("allocation_id", Number, nullable=False),
    Column("archive", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("since", Double, nullable=False),
    Column("not_before", Double, nullable=False),
    Column("rest", Text, nullable=False),
)
Index("bundles_by_job", bundles.c.job_id, bundles.c.state)
Index("bundles_by_allocation", bundles.c.allocation_id, bundles.c.archive)
Index("bundles_by_state", bundles.c.state)


def upsert(dialect: str, table: Table, *, newer: str = "") -> Any:
    """Write a statement that inserts a row, or replaces all columns of the one with the same key.

    `newer`: a column; a row whose own is higher is left as it is.
    """
    statement: Any = (sqlite.insert if dialect == "sqlite" else postgresql.insert)(table)
    keys = list(table.primary_key.columns)
    return statement.on_conflict_do_update(
        index_elements=keys,
        set_={one.name: statement.excluded[one.name] for one in table.columns if one not in keys},
        where=(table.c[newer] <= statement.excluded[newer]) if newer else None,
    )
