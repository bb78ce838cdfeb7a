"""The server's answers about jobs and event ranges, kept as they came: a crash before they are parsed loses none."""

from __future__ import annotations

import functools
from typing import Any

from sqlalchemy import Connection, bindparam, false, func, select, update

from hpcharvest.store.changes import Answer, Changes
from hpcharvest.store.connections import Connections
from hpcharvest.store.schema import answers, upsert

_read = update(answers).where(answers.c.id == bindparam("key")).values(read=True)


class Answers:
    """Reads answers."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def unread(self) -> list[Answer]:
        """Read the answers of which not all is durable yet, by id."""
        question = select(answers).where(answers.c.read == false()).order_by(answers.c.id)
        with self._connections.reading() as connection:
            return [
                Answer(id=row.id, queue=row.queue, at=row.at, body=bytes(row.body), job=row.job_id)
                for row in connection.execute(question)
            ]

    def last_id(self) -> int:
        """Tell the highest number ever given, purged ones included; 0: none yet."""
        with self._connections.reading() as connection:
            return connection.scalars(select(func.max(answers.c.id))).one() or 0


def write(connection: Connection, changes: Changes) -> None:
    """Write answers, then mark those that were read."""
    if changes.answers:
        rows = [
            {"id": one.id, "queue": one.queue, "at": one.at, "read": False, "body": one.body, "job_id": one.job}
            for one in changes.answers
        ]
        connection.execute(_upsert(connection.dialect.name), rows)
    if changes.answers_read:
        connection.execute(_read, [{"key": one} for one in changes.answers_read])


@functools.cache
def _upsert(dialect: str) -> Any:
    return upsert(dialect, answers)
