"""The journal: what was done, in the order it was committed. Nothing but a purge takes anything away."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Select, insert, select

from hpcharvest.store.changes import Changes, Entry
from hpcharvest.store.connections import Connections
from hpcharvest.store.schema import journal


class Journal:
    """Reads entries."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def of(self, subject: str, id: int, limit: int) -> list[Entry]:  # noqa: A002 - the subject's id, as in `Entry`
        """Read the newest `limit` entries about one subject, the oldest of them first."""
        return self._read(select(journal).where(journal.c.subject == subject, journal.c.subject_id == id), limit)

    def tail(self, limit: int) -> list[Entry]:
        """Read the newest `limit` entries, the oldest of them first."""
        return self._read(select(journal), limit)

    def _read(self, question: Select[Any], limit: int) -> list[Entry]:
        with self._connections.reading() as connection:
            rows = connection.execute(question.order_by(journal.c.id.desc()).limit(limit)).all()
        return [
            Entry(at=row.at, subject=row.subject, id=row.subject_id, action=row.action, detail=row.detail)
            for row in reversed(rows)
        ]


def write(connection: Connection, changes: Changes) -> None:
    """Append the entries."""
    if changes.journal:
        rows = [
            {"at": one.at, "subject": one.subject, "subject_id": one.id, "action": one.action, "detail": one.detail}
            for one in changes.journal
        ]
        connection.execute(insert(journal), rows)
