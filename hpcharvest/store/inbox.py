"""The inbox: what operators asked for. Other processes write into it; the loop reads and answers."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, bindparam, insert, select, update

from hpcharvest.model.request import Request, Verb
from hpcharvest.model.states import RequestState
from hpcharvest.store.changes import Changes
from hpcharvest.store.connections import Connections
from hpcharvest.store.schema import inbox

_answer = (
    update(inbox).where(inbox.c.id == bindparam("key")).values(state=bindparam("state"), answer=bindparam("answer"))
)


class Inbox:
    """Takes requests and reads them."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def add(self, verb: Verb, subject: int, by: str, at: float) -> int:
        """Commit a new request at once, and tell its number, under which `get` has the answer later."""
        row = {"verb": verb.value, "subject": subject, "asked_by": by, "asked_at": at}
        row |= {"state": RequestState.NEW.value, "answer": ""}
        with self._connections.writing() as connection:
            return int(connection.scalars(insert(inbox).returning(inbox.c.id), row).one())

    def new(self) -> list[Request]:
        """Read the requests that nobody answered, in the order they came."""
        question = select(inbox).where(inbox.c.state == RequestState.NEW.value).order_by(inbox.c.id)
        with self._connections.reading() as connection:
            return [_from_row(row) for row in connection.execute(question)]

    def get(self, request: int) -> Request | None:
        """Read one request; None if it is not known, or purged."""
        with self._connections.reading() as connection:
            row = connection.execute(select(inbox).where(inbox.c.id == request)).one_or_none()
        return _from_row(row) if row else None


def write(connection: Connection, changes: Changes) -> None:
    """Write what became of requests."""
    if changes.requests:
        rows = [{"key": one.id, "state": one.state.value, "answer": one.answer} for one in changes.requests]
        connection.execute(_answer, rows)


def _from_row(row: Row[Any]) -> Request:
    return Request(
        id=row.id,
        verb=Verb(row.verb),
        subject=row.subject,
        by=row.asked_by,
        asked_at=row.asked_at,
        state=RequestState(row.state),
        answer=row.answer,
    )
