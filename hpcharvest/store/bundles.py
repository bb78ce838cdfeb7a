"""The bundles' rows."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Select, func, select

from hpcharvest.model.event_range import Bundle
from hpcharvest.model.ids import AllocationId, BundleId, JobId
from hpcharvest.model.states import BundleState
from hpcharvest.store.changes import Changes
from hpcharvest.store.codec import Codec
from hpcharvest.store.connections import Connections
from hpcharvest.store.schema import bundles, upsert

UNFINISHED = [state.value for state in BundleState if not state.final]
_COLUMNS = {
    "id": "id",
    "job": "job_id",
    "allocation": "allocation_id",
    "archive": "archive",
    "state": "state",
    "since": "since",
    "not_before": "not_before",
}
_bundle = Codec(Bundle, *_COLUMNS)


class Bundles:
    """Reads bundles."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def get(self, bundle: BundleId) -> Bundle | None:
        """Read one bundle; None if it is not known."""
        return next(iter(self._read(select(bundles).where(bundles.c.id == bundle))), None)

    def unfinished(self) -> list[Bundle]:
        """Read all that are not final, by id."""
        return self._read(select(bundles).where(bundles.c.state.in_(UNFINISHED)).order_by(bundles.c.id))

    def of_job(self, job: JobId, limit: int, *, failures: bool = False) -> list[Bundle]:
        """Read the newest `limit` bundles of a job, or of its failures alone, the oldest of them first."""
        question = select(bundles).where(bundles.c.job_id == job).order_by(bundles.c.id.desc()).limit(limit)
        question = question.where(bundles.c.archive == "") if failures else question
        return self._read(question)[::-1]

    def archives(self, allocation: AllocationId) -> frozenset[str]:
        """Tell the names of the archives of an allocation that are known."""
        question = select(bundles.c.archive).where(bundles.c.allocation_id == allocation, bundles.c.archive != "")
        with self._connections.reading() as connection:
            return frozenset(connection.scalars(question))

    def has_archive(self, allocation: AllocationId, name: str) -> bool:
        """Whether an archive of an allocation is known."""
        question = select(bundles.c.id).where(bundles.c.allocation_id == allocation, bundles.c.archive == name)
        with self._connections.reading() as connection:
            return connection.execute(question.limit(1)).first() is not None

    def counts(self, jobs: Iterable[JobId] | None = None) -> dict[JobId, dict[BundleState, int]]:
        """Count the bundles of these jobs, or of all, by state."""
        columns = (bundles.c.job_id, bundles.c.state)
        question = select(*columns, func.count()).group_by(*columns)
        if jobs is not None:
            question = question.where(bundles.c.job_id.in_(list(jobs)))
        found: dict[JobId, dict[BundleState, int]] = {}
        with self._connections.reading() as connection:
            for job, state, number in connection.execute(question):
                found.setdefault(job, {})[BundleState(state)] = number
        return found

    def needed_allocations(self) -> frozenset[AllocationId]:
        """Tell the allocations in whose folders there are archives that are needed still."""
        question = select(bundles.c.allocation_id).where(bundles.c.state.in_(UNFINISHED)).distinct()
        with self._connections.reading() as connection:
            return frozenset(connection.scalars(question))

    def last_id(self) -> int:
        """Tell the highest number ever given, purged ones included; 0: none yet."""
        with self._connections.reading() as connection:
            return connection.scalars(select(func.max(bundles.c.id))).one() or 0

    def _read(self, question: Select[Any]) -> list[Bundle]:
        with self._connections.reading() as connection:
            return [
                _bundle.decode(row.rest, {name: getattr(row, column) for name, column in _COLUMNS.items()}, row.id)
                for row in connection.execute(question)
            ]


def write(connection: Connection, changes: Changes) -> None:
    """Write whole records, new or known."""
    if changes.bundles:
        rows = [
            {column: getattr(one, name) for name, column in _COLUMNS.items()}
            | {"state": one.state.value, "rest": _bundle.encode(one)}
            for one in changes.bundles.values()
        ]
        connection.execute(_upsert(connection.dialect.name), rows)


@functools.cache
def _upsert(dialect: str) -> Any:
    return upsert(dialect, bundles)
