"""The event ranges' rows: read for a feed, a bundle or a page, and moved many at a time.

Every move names the one state that it leads from, so that a range that is no longer there stays where it is: whatever
is repeated, or comes late, counts nothing twice. How many were moved goes into the counts, in the same transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Row, and_, bindparam, delete, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from hpcharvest.errors import IllegalTransition
from hpcharvest.model.event_range import EventRange, RangeOutcome
from hpcharvest.model.ids import AllocationId, BundleId, JobId
from hpcharvest.model.states import RANGE_LIFE, BundleState, RangeState
from hpcharvest.store.changes import Changes, Fed, NewRanges, Outcomes
from hpcharvest.store.connections import Connections
from hpcharvest.store.schema import FED, READY, bundles, event_ranges, feeds, range_counts, range_files

_SLICE = 1000
_CONFIRMED = [BundleState.STORED.value, BundleState.SENDING.value, BundleState.SETTLED.value]
NO_ALLOCATION = AllocationId(0)
"""Stands for none in the counts."""

Count = tuple[JobId, AllocationId, RangeState]

_rows = event_ranges.c
_nowhere: dict[str, Any] = dict.fromkeys(("allocation_id", "feed", "bundle_id", "told", "cpu_s", "cores", "error"))
_with_files = select(event_ranges, range_files.c.lfn, range_files.c.guid, range_files.c.scope).join(
    range_files, and_(range_files.c.job_id == _rows.job_id, range_files.c.number == _rows.file)
)
_outcome = (
    update(event_ranges)
    .where(_rows.job_id == bindparam("job"), _rows.id == bindparam("name"), _rows.state == RangeState.FED.value)
    .where(_rows.allocation_id == bindparam("allocation"))
    .values({name: bindparam(f"new_{name}") for name in ("state", "bundle_id", "cpu_s", "cores", "error")})
)
_told = (
    update(event_ranges)
    .where(_rows.job_id == bindparam("job"), _rows.id == bindparam("name"), _rows.told.is_(None))
    .values(told=bindparam("taken"))
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedFile:
    """What one file of a feed has, as it was committed."""

    job: JobId
    allocation: AllocationId
    number: int
    first: int
    size: int
    last: bool


class EventRanges:
    """Reads event ranges, and what is known of many of them."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def counts(self, jobs: Iterable[JobId]) -> dict[Count, int]:
        """Tell how many ranges these jobs have in each state, by the allocation that has or had them."""
        found: dict[Count, int] = {}
        with self._connections.reading() as connection:
            for some in _slices(jobs):
                question = select(range_counts).where(range_counts.c.job_id.in_(some), range_counts.c.number > 0)
                for row in connection.execute(question):
                    found[JobId(row.job_id), AllocationId(row.allocation_id), RangeState(row.state)] = row.number
        return found

    def of_allocation(self, allocation: AllocationId) -> dict[Count, int]:
        """Tell how many ranges an allocation has, or had, in each state."""
        question = select(range_counts).where(range_counts.c.allocation_id == allocation, range_counts.c.number > 0)
        with self._connections.reading() as connection:
            return {(row.job_id, allocation, RangeState(row.state)): row.number for row in connection.execute(question)}

    def feeds(self, allocations: Iterable[AllocationId]) -> list[FeedFile]:
        """Read what was fed to these allocations, in order."""
        found = []
        with self._connections.reading() as connection:
            for some in _slices(allocations):
                question = select(feeds).where(feeds.c.allocation_id.in_(some)).order_by(*feeds.primary_key.columns)
                found += [_feed(row) for row in connection.execute(question)]
        return found

    def feed_file(self, allocation: AllocationId, job: JobId, number: int) -> FeedFile | None:
        """Read what one file of a feed has; None: there is none of that number."""
        mine = and_(feeds.c.allocation_id == allocation, feeds.c.job_id == job, feeds.c.number == number)
        with self._connections.reading() as connection:
            row = connection.execute(select(feeds).where(mine)).one_or_none()
        return _feed(row) if row else None

    def fed(self, file: FeedFile) -> tuple[EventRange, ...]:
        """Read the ranges that a file of a feed has: always the same, until some of them have moved on."""
        # Not by the job: SQLite would read all its ranges then.
        mine = and_(_rows.allocation_id == file.allocation, _rows.feed == file.number)
        question = _with_files.where(mine, FED).order_by(_rows.file, _rows.first_event, _rows.id)
        with self._connections.reading() as connection:
            return tuple(_range(row) for row in connection.execute(question) if row.job_id == file.job)

    def stored(self, job: JobId) -> list[tuple[EventRange, str]]:
        """Read the finished ranges of a job whose archive is confirmed at its destination, each with its archive."""
        there = and_(_rows.job_id == job, _rows.state == RangeState.FINISHED.value, bundles.c.state.in_(_CONFIRMED))
        question = _with_files.add_columns(bundles.c.archive).join(bundles, bundles.c.id == _rows.bundle_id)
        with self._connections.reading() as connection:
            return [(_range(row), row.archive) for row in connection.execute(question.where(there))]

    def untold(self, bundle: BundleId, limit: int) -> tuple[RangeOutcome, ...]:
        """Read at most `limit` ranges of a bundle of whose outcomes PanDA was not told, by name."""
        mine = and_(_rows.bundle_id == bundle, _rows.told.is_(None))
        with self._connections.reading() as connection:
            rows = connection.execute(select(event_ranges).where(mine).order_by(_rows.id).limit(limit))
            return tuple(_ended(row) for row in rows)

    def untold_count(self, bundle: BundleId) -> int:
        """Count the ranges of a bundle of whose outcomes PanDA was not told."""
        mine = and_(_rows.bundle_id == bundle, _rows.told.is_(None))
        with self._connections.reading() as connection:
            return connection.scalars(select(func.count()).select_from(event_ranges).where(mine)).one()

    def failures(self, of: Iterable[BundleId], limit: int) -> list[tuple[BundleId, RangeOutcome]]:
        """Read at most `limit` ranges of these bundles that failed, with their errors: the newest bundles first."""
        mine = and_(_rows.bundle_id.in_(list(of)), _rows.error.is_not(None))
        question = select(event_ranges).where(mine).order_by(_rows.bundle_id.desc(), _rows.id).limit(limit)
        with self._connections.reading() as connection:
            return [(BundleId(row.bundle_id), _ended(row)) for row in connection.execute(question)]

    def ended_in(self, allocation: AllocationId) -> frozenset[str]:
        """Tell the names of the ranges that came to an end in an allocation."""
        question = select(_rows.id).join(bundles, bundles.c.id == _rows.bundle_id)
        with self._connections.reading() as connection:
            return frozenset(connection.scalars(question.where(bundles.c.allocation_id == allocation)))

    def unknown(self, job: JobId, names: Iterable[str]) -> int:
        """Count the names that are none of a range that we know of this job."""
        lost = 0
        with self._connections.reading() as connection:
            for some in _slices(names):
                question = select(func.count()).where(_rows.job_id == job, _rows.id.in_(some))
                lost += len(some) - connection.scalars(question).one()
        return lost

    def get(self, job: JobId, name: str) -> tuple[RangeState, BundleId | None, bool | None] | None:
        """Tell a range's state, its bundle, and whether PanDA took its outcome; None: it is not known."""
        question = select(event_ranges).where(_rows.job_id == job, _rows.id == name)
        with self._connections.reading() as connection:
            row = connection.execute(question).one_or_none()
        return (RangeState(row.state), row.bundle_id, row.told) if row else None


def write(connection: Connection, changes: Changes) -> None:
    """Carry out the moves: what is new, what ended, what was told, what comes back, and at last what is fed."""
    _forget(connection, [one for one, job in changes.new_jobs.items() if job.spec.event_service])
    counts: dict[Count, int] = {}
    for new in changes.new_ranges:
        _insert(connection, new, counts)
    for ended in changes.outcomes:
        _end(connection, ended, counts)
    for told in changes.told:
        rows = [{"job": told.job, "name": name, "taken": told.taken} for name in told.ranges]
        if rows:
            connection.execute(_told, rows)
    for bundle in changes.bundles.values():
        if bundle.state is BundleState.LOST:
            back = and_(_rows.bundle_id == bundle.id, _rows.state == RangeState.FINISHED.value, _rows.told.is_(None))
            _bring_back(connection, back, RangeState.FINISHED, counts)
    for allocation in changes.released:
        _bring_back(connection, and_(_rows.allocation_id == allocation, FED), RangeState.FED, counts)
    for fed in changes.feeds:
        _feed_on(connection, fed, counts)
    _count(connection, counts)


def _forget(connection: Connection, jobs: Sequence[JobId]) -> None:
    """Delete what is left of an earlier life of jobs: PanDA has taken its ranges back, and gives them other names."""
    for table in (event_ranges, range_files, range_counts, feeds) if jobs else ():
        connection.execute(delete(table).where(table.c.job_id.in_(jobs)))


def _insert(connection: Connection, new: NewRanges, counts: dict[Count, int]) -> None:
    if not new.ranges:
        return
    known = connection.execute(select(range_files).where(range_files.c.job_id == new.job))
    files = {(row.lfn, row.guid, row.scope): row.number for row in known}
    there = len(files)
    rows = [
        {
            "job_id": new.job,
            "id": one.id,
            "state": RangeState.READY.value,
            "file": files.setdefault((one.lfn, one.guid, one.scope), len(files)),
            "first_event": one.start,
            "last_event": one.last,
        }
        for one in new.ranges
    ]
    more = [
        {"job_id": new.job, "number": number, "lfn": lfn, "guid": guid, "scope": scope}
        for (lfn, guid, scope), number in files.items()
        if number >= there
    ]
    if more:
        connection.execute(insert(range_files), more)
    _note(counts, (new.job, NO_ALLOCATION, RangeState.READY), _added(connection, rows))


def _added(connection: Connection, rows: list[dict[str, Any]]) -> int:
    """Insert the ranges that are not known; say how many those are. Each driver has its own quick way to tell."""
    if connection.dialect.name == "sqlite":
        return connection.execute(sqlite.insert(event_ranges).on_conflict_do_nothing(), rows).rowcount
    new = postgresql.insert(event_ranges).on_conflict_do_nothing().returning(_rows.id)
    return len(connection.scalars(new, rows).all())


def _end(connection: Connection, ended: Outcomes, counts: dict[Count, int]) -> None:
    for state in dict.fromkeys(one.state for one in ended.outcomes):
        _check(RangeState.FED, state)
        rows = [
            {
                "job": ended.job,
                "name": one.id,
                "allocation": ended.allocation,
                "new_state": state.value,
                "new_bundle_id": ended.bundle,
                "new_cpu_s": one.cpu_s,
                "new_cores": one.cores,
                "new_error": one.error or None,
            }
            for one in ended.outcomes
            if one.state is state
        ]
        moved = connection.execute(_outcome, rows).rowcount
        _note(counts, (ended.job, ended.allocation, RangeState.FED), -moved)
        _note(counts, (ended.job, ended.allocation, state), moved)


def _bring_back(connection: Connection, which: Any, state: RangeState, counts: dict[Count, int]) -> None:
    """Make ranges READY again; `which` are all of that state."""
    _check(state, RangeState.READY)
    owners = (_rows.job_id, _rows.allocation_id)
    for job, allocation, number in connection.execute(select(*owners, func.count()).where(which).group_by(*owners)):
        _note(counts, (job, allocation, state), -number)
        _note(counts, (job, NO_ALLOCATION, RangeState.READY), number)
    connection.execute(update(event_ranges).where(which).values(state=RangeState.READY.value, **_nowhere))


def _feed_on(connection: Connection, fed: Fed, counts: dict[Count, int]) -> None:
    row = {"allocation_id": fed.allocation, "job_id": fed.job, "number": fed.number}
    if connection.execute(select(feeds.c.size).where(*(feeds.c[name] == value for name, value in row.items()))).first():
        return
    _check(RangeState.READY, RangeState.FED)
    order = (_rows.file, _rows.first_event, _rows.id)
    some = select(_rows.id).where(_rows.job_id == fed.job, READY).order_by(*order).limit(fed.size)
    names = list(connection.scalars(some))
    for part in _slices(names):
        chosen = update(event_ranges).where(_rows.job_id == fed.job, _rows.id.in_(part), READY)
        connection.execute(chosen.values(state=RangeState.FED.value, allocation_id=fed.allocation, feed=fed.number))
    connection.execute(insert(feeds), {**row, "first": fed.first, "size": len(names), "last": fed.last})
    _note(counts, (fed.job, NO_ALLOCATION, RangeState.READY), -len(names))
    _note(counts, (fed.job, fed.allocation, RangeState.FED), len(names))


def _check(before: RangeState, after: RangeState) -> None:
    if after not in RANGE_LIFE[before]:
        raise IllegalTransition(f"event ranges cannot go from {before} to {after}")


def _note(counts: dict[Count, int], key: Count, number: int) -> None:
    counts[key] = counts.get(key, 0) + number


def _count(connection: Connection, counts: dict[Count, int]) -> None:
    rows = [
        {"job_id": job, "allocation_id": allocation, "state": state.value, "number": number}
        for (job, allocation, state), number in counts.items()
        if number
    ]
    if rows:
        statement: Any = (sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert)(range_counts)
        keys = list(range_counts.primary_key.columns)
        total = {"number": range_counts.c.number + statement.excluded.number}
        connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=total), rows)


def _feed(row: Row[Any]) -> FeedFile:
    return FeedFile(
        job=row.job_id,
        allocation=row.allocation_id,
        number=row.number,
        first=row.first,
        size=row.size,
        last=row.last,
    )


def _range(row: Row[Any]) -> EventRange:
    return EventRange(
        id=row.id, start=row.first_event, last=row.last_event, lfn=row.lfn, guid=row.guid, scope=row.scope
    )


def _ended(row: Row[Any]) -> RangeOutcome:
    return RangeOutcome(
        id=row.id, state=RangeState(row.state), cpu_s=row.cpu_s or 0.0, cores=row.cores or 1, error=row.error or ""
    )


def _slices(items: Iterable[Any]) -> Iterator[list[Any]]:
    left = iter(items)
    while some := list(islice(left, _SLICE)):
        yield some
