"""Event ranges with their files, counts, feeds and bundles; and whose ranges an answer has."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from hpcharvest.model.states import RangeState

revision = "0002"
down_revision = "0001"

NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make the tables of event ranges."""
    op.add_column("answers", sa.Column("job_id", NUMBER))
    _ranges()
    _beside_ranges()
    _bundles()


def _ranges() -> None:
    op.create_table(
        "event_ranges",
        sa.Column("job_id", NUMBER, primary_key=True, autoincrement=False),
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("file", sa.Integer, nullable=False),
        sa.Column("first_event", NUMBER, nullable=False),
        sa.Column("last_event", NUMBER, nullable=False),
        sa.Column("allocation_id", NUMBER),
        sa.Column("feed", sa.Integer),
        sa.Column("bundle_id", NUMBER),
        sa.Column("told", sa.Boolean),
        sa.Column("cpu_s", sa.Double),
        sa.Column("cores", sa.Integer),
        sa.Column("error", sa.Text),
        sqlite_with_rowid=False,
    )
    ready, fed = sa.text(f"state = '{RangeState.READY}'"), sa.text(f"state = '{RangeState.FED}'")
    bundled = sa.text("bundle_id IS NOT NULL")
    order = ["job_id", "file", "first_event", "id"]
    op.create_index("event_ranges_ready", "event_ranges", order, sqlite_where=ready, postgresql_where=ready)
    order = ["allocation_id", "feed"]
    op.create_index("event_ranges_fed", "event_ranges", order, sqlite_where=fed, postgresql_where=fed)
    order = ["bundle_id"]
    op.create_index("event_ranges_by_bundle", "event_ranges", order, sqlite_where=bundled, postgresql_where=bundled)


def _beside_ranges() -> None:
    op.create_table(
        "range_files",
        sa.Column("job_id", NUMBER, primary_key=True, autoincrement=False),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("lfn", sa.Text, nullable=False),
        sa.Column("guid", sa.Text, nullable=False),
        sa.Column("scope", sa.Text, nullable=False),
    )
    op.create_table(
        "range_counts",
        sa.Column("job_id", NUMBER, primary_key=True, autoincrement=False),
        sa.Column("allocation_id", NUMBER, primary_key=True, autoincrement=False),
        sa.Column("state", sa.Text, primary_key=True),
        sa.Column("number", NUMBER, nullable=False),
    )
    op.create_table(
        "feeds",
        sa.Column("allocation_id", NUMBER, primary_key=True, autoincrement=False),
        sa.Column("job_id", NUMBER, primary_key=True, autoincrement=False),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("first", NUMBER, nullable=False),
        sa.Column("size", NUMBER, nullable=False),
        sa.Column("last", sa.Boolean, nullable=False),
    )


def _bundles() -> None:
    op.create_table(
        "bundles",
        sa.Column("id", NUMBER, primary_key=True, autoincrement=False),
        sa.Column("job_id", NUMBER, nullable=False),
        sa.Column("allocation_id", NUMBER, nullable=False),
        sa.Column("archive", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("since", sa.Double, nullable=False),
        sa.Column("not_before", sa.Double, nullable=False),
        sa.Column("rest", sa.Text, nullable=False),
    )
    op.create_index("bundles_by_job", "bundles", ["job_id", "state"])
    op.create_index("bundles_by_allocation", "bundles", ["allocation_id", "archive"])
    op.create_index("bundles_by_state", "bundles", ["state"])
