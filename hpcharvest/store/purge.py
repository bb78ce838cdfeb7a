"""Taking away what is over, in slices: the writer is never kept waiting for long."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, and_, delete, func, select, true

from hpcharvest.model.states import RequestState
from hpcharvest.store.allocations import FINAL as ENDED
from hpcharvest.store.bundles import UNFINISHED as UNFINISHED_BUNDLES
from hpcharvest.store.connections import Connections
from hpcharvest.store.jobs import FINAL, UNFINISHED
from hpcharvest.store.schema import (
    allocations,
    answers,
    bundles,
    event_ranges,
    feeds,
    inbox,
    jobs,
    journal,
    range_counts,
    range_files,
    reports,
    specs,
)

_SLICE = 500
"""Rows whose removal is one transaction."""
_MANY = 10_000
"""As many, of event ranges, which nobody else reads or writes by then."""


def purge(connections: Connections, before: float) -> int:
    """Delete what is over since before that moment (wall seconds), and tell how many jobs and allocations it was.

    A final job stays while a report of it is owed, an ended allocation while an unfinished job belongs to it, or an
    archive in its folder is needed. The newest allocation, answer and bundle stay too, because the next numbers are
    counted from them.
    """
    _sweep_ranges(connections, before)
    removed = _sweep(connections, jobs.c.id, _jobs_over(before), subject="job", beside=specs.c.job_id)
    removed += _sweep(connections, allocations.c.id, _allocations_over(before), subject="allocation")
    _sweep(connections, journal.c.id, and_(journal.c.subject == "service", journal.c.at < before))
    _sweep(connections, inbox.c.id, and_(inbox.c.state != RequestState.NEW.value, inbox.c.asked_at < before))
    _sweep(connections, answers.c.id, and_(answers.c.read == true(), answers.c.at < before, _not_last(answers.c.id)))
    return removed


def _sweep_ranges(connections: Connections, before: float) -> None:
    """Delete what is known of the event ranges of jobs that are over; before the jobs, by which they are found."""
    over = select(jobs.c.id).where(_jobs_over(before)).scalar_subquery()
    counted = select(range_counts.c.job_id).where(range_counts.c.job_id.in_(over)).distinct()
    with connections.reading() as connection:
        found = list(connection.scalars(counted))
    for job in found:
        some = select(event_ranges.c.id).where(event_ranges.c.job_id == job).limit(_MANY)
        removed = _MANY
        while removed >= _MANY:
            with connections.writing() as connection:
                mine = and_(event_ranges.c.job_id == job, event_ranges.c.id.in_(some.scalar_subquery()))
                removed = connection.execute(delete(event_ranges).where(mine)).rowcount
        with connections.writing() as connection:
            for table in (range_files, feeds, range_counts):
                connection.execute(delete(table).where(table.c.job_id == job))
            connection.execute(delete(bundles).where(bundles.c.job_id == job, _not_last(bundles.c.id)))


def _jobs_over(before: float) -> ColumnElement[bool]:
    owed = select(reports.c.job_id).where(reports.c.job_id == jobs.c.id).exists()
    return and_(jobs.c.state.in_(FINAL), jobs.c.since < before, ~owed)


def _allocations_over(before: float) -> ColumnElement[bool]:
    wanted = select(jobs.c.allocation_id).where(jobs.c.state.in_(UNFINISHED), jobs.c.allocation_id.is_not(None))
    return and_(
        allocations.c.state.in_(ENDED),
        allocations.c.since < before,
        allocations.c.id.not_in(wanted),
        allocations.c.id.not_in(select(bundles.c.allocation_id).where(bundles.c.state.in_(UNFINISHED_BUNDLES))),
        _not_last(allocations.c.id),
    )


def _not_last(key: Column[Any]) -> ColumnElement[bool]:
    return key < select(func.max(key.table.alias().c[key.name])).scalar_subquery()


def _sweep(
    connections: Connections,
    key: Column[Any],
    over: ColumnElement[bool],
    *,
    subject: str = "",
    beside: Column[Any] | None = None,
) -> int:
    """Delete the rows that are `over`; with them what the journal has about the subject, and the rows `beside`."""
    removed = 0
    while True:
        with connections.writing() as connection:
            ids = list(connection.scalars(select(key).where(over).limit(_SLICE).with_for_update()))
            if ids and subject:
                about = and_(journal.c.subject == subject, journal.c.subject_id.in_(ids))
                connection.execute(delete(journal).where(about))
            for column in (key, beside):
                _delete(connection, column, ids)
        removed += len(ids)
        if len(ids) < _SLICE:
            return removed


def _delete(connection: Connection, column: Column[Any] | None, ids: list[int]) -> None:
    if ids and column is not None:
        connection.execute(delete(column.table).where(column.in_(ids)))
