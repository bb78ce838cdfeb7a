"""The allocations' rows."""

from __future__ import annotations

import functools
from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, Select, func, select

from hpcharvest.model.allocation import Allocation
from hpcharvest.model.ids import AllocationId
from hpcharvest.model.states import AllocationState
from hpcharvest.store.changes import Changes
from hpcharvest.store.codec import Codec
from hpcharvest.store.connections import Connections
from hpcharvest.store.schema import allocations, upsert

_LIVE = [state.value for state in AllocationState if not state.final]
FINAL = [state.value for state in AllocationState if state.final]
_COLUMNS = ("id", "queue", "state", "since", "tag")

_allocation = Codec(Allocation, *_COLUMNS)


class Allocations:
    """Reads allocations."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def get(self, allocation: AllocationId) -> Allocation | None:
        """Read one allocation; None if it is not known."""
        return next(iter(self._read(select(allocations).where(allocations.c.id == allocation))), None)

    def live(self) -> list[Allocation]:
        """Read all that have not ended, by id."""
        return self._read(select(allocations).where(allocations.c.state.in_(_LIVE)).order_by(allocations.c.id))

    def last_id(self) -> int:
        """Tell the highest number ever given, purged ones included; 0: none yet."""
        with self._connections.reading() as connection:
            return connection.scalars(select(func.max(allocations.c.id))).one() or 0

    def page(
        self,
        *,
        states: Collection[AllocationState] | None = None,
        queue: str | None = None,
        limit: int = 100,
        after: int = 0,
    ) -> list[Allocation]:
        """Read at most `limit` allocations by id, beginning after that id; of those states and that queue, if given."""
        question = select(allocations).where(allocations.c.id > after).order_by(allocations.c.id).limit(limit)
        if states is not None:
            question = question.where(allocations.c.state.in_([state.value for state in states]))
        if queue is not None:
            question = question.where(allocations.c.queue == queue)
        return self._read(question)

    def _read(self, question: Select[Any]) -> list[Allocation]:
        with self._connections.reading() as connection:
            return [
                _allocation.decode(row.rest, {name: getattr(row, name) for name in _COLUMNS}, row.id)
                for row in connection.execute(question)
            ]


def write(connection: Connection, changes: Changes) -> None:
    """Write whole records, new or known."""
    if changes.allocations:
        rows = [
            {
                "id": one.id,
                "queue": one.queue,
                "state": one.state.value,
                "since": one.since,
                "tag": one.tag,
                "rest": _allocation.encode(one),
            }
            for one in changes.allocations.values()
        ]
        connection.execute(_upsert(connection.dialect.name), rows)


@functools.cache
def _upsert(dialect: str) -> Any:
    return upsert(dialect, allocations)
