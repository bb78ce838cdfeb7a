"""The outbox: what we owe to PanDA, one report a job at the most."""

from __future__ import annotations

import functools
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, func, select

from hpcharvest.model.ids import JobId
from hpcharvest.model.report import Report
from hpcharvest.model.states import JobState, ReportState
from hpcharvest.store.changes import Changes
from hpcharvest.store.connections import Connections
from hpcharvest.store.schema import reports, upsert

_settle = delete(reports).where(reports.c.job_id == bindparam("job"), reports.c.serial <= bindparam("upto"))


class Outbox:
    """Reads what is owed."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def all(self) -> list[Report]:
        """Read every report that is not settled, the longest owed first."""
        with self._connections.reading() as connection:
            rows = connection.execute(select(reports).order_by(reports.c.since, reports.c.job_id))
            return [_from_row(row) for row in rows]

    def owed_count(self) -> int:
        """Count the reports that are not settled, those under way included."""
        with self._connections.reading() as connection:
            return connection.scalars(select(func.count()).select_from(reports)).one()

    def get(self, job: JobId) -> Report | None:
        """Read the job's report; None if nothing is owed."""
        with self._connections.reading() as connection:
            row = connection.execute(select(reports).where(reports.c.job_id == job)).one_or_none()
        return _from_row(row) if row else None


def write(connection: Connection, changes: Changes) -> None:
    """Write what is owed, then take away what is settled."""
    if changes.reports:
        rows = [
            {
                "job_id": one.job,
                "serial": one.serial,
                "status": one.status.value,
                "final": one.final,
                "state": one.state.value,
                "since": one.since,
                "tries": one.tries,
                "not_before": one.not_before,
                "problem": one.problem,
            }
            for one in changes.reports.values()
        ]
        connection.execute(_upsert(connection.dialect.name), rows)
    if changes.settled:
        connection.execute(_settle, [{"job": job, "upto": serial} for job, serial in changes.settled])


def _from_row(row: Row[Any]) -> Report:
    return Report(
        job=JobId(row.job_id),
        serial=row.serial,
        status=JobState(row.status),
        final=row.final,
        state=ReportState(row.state),
        since=row.since,
        tries=row.tries,
        not_before=row.not_before,
        problem=row.problem,
    )


@functools.cache
def _upsert(dialect: str) -> Any:
    return upsert(dialect, reports, newer="serial")
