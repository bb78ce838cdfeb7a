"""Jobs with their specs, allocations, reports, journal, inbox and answers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from hpcharvest.model.states import JobState

revision = "0001"
down_revision = None

NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make the first tables."""
    _jobs()
    _allocations()
    _reports()
    _journal()
    _inbox()
    _answers()


def _jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", NUMBER, primary_key=True, autoincrement=False),
        sa.Column("queue", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("since", sa.Double, nullable=False),
        sa.Column("received_at", sa.Double, nullable=False),
        sa.Column("priority", NUMBER, nullable=False),
        sa.Column("attempt_nr", NUMBER, nullable=False),
        sa.Column("attempt", NUMBER, nullable=False),
        sa.Column("allocation_id", NUMBER),
        sa.Column("not_before", sa.Double, nullable=False),
        sa.Column("rest", sa.Text, nullable=False),
    )
    op.create_index("jobs_by_state", "jobs", ["state", "queue", "since"])
    waiting = sa.text(f"state = '{JobState.RECEIVED}'")
    urgency = [sa.text("priority DESC"), sa.text("received_at"), sa.text("id")]
    op.create_index("jobs_waiting", "jobs", urgency, sqlite_where=waiting, postgresql_where=waiting)
    op.create_table(
        "job_specs",
        sa.Column("job_id", NUMBER, primary_key=True, autoincrement=False),
        sa.Column("spec", sa.Text, nullable=False),
    )


def _allocations() -> None:
    op.create_table(
        "allocations",
        sa.Column("id", NUMBER, primary_key=True, autoincrement=False),
        sa.Column("queue", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("since", sa.Double, nullable=False),
        sa.Column("tag", sa.Text, nullable=False, unique=True),
        sa.Column("rest", sa.Text, nullable=False),
    )
    op.create_index("allocations_by_state", "allocations", ["state", "since"])


def _reports() -> None:
    op.create_table(
        "reports",
        sa.Column("job_id", NUMBER, primary_key=True, autoincrement=False),
        sa.Column("serial", NUMBER, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("final", sa.Boolean, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("since", sa.Double, nullable=False),
        sa.Column("tries", NUMBER, nullable=False),
        sa.Column("not_before", sa.Double, nullable=False),
        sa.Column("problem", sa.Text, nullable=False),
    )


def _journal() -> None:
    op.create_table(
        "journal",
        sa.Column("id", NUMBER, primary_key=True),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("subject_id", NUMBER, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
    )
    op.create_index("journal_by_subject", "journal", ["subject", "subject_id"])


def _inbox() -> None:
    op.create_table(
        "inbox",
        sa.Column("id", NUMBER, primary_key=True),
        sa.Column("verb", sa.Text, nullable=False),
        sa.Column("subject", NUMBER, nullable=False),
        sa.Column("asked_by", sa.Text, nullable=False),
        sa.Column("asked_at", sa.Double, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("answer", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("inbox_by_state", "inbox", ["state"])


def _answers() -> None:
    op.create_table(
        "answers",
        sa.Column("id", NUMBER, primary_key=True, autoincrement=False),
        sa.Column("queue", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("read", sa.Boolean, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.create_index("answers_by_read", "answers", ["read"])
