"""The jobs' rows, and their specs, which are written once."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Iterator
from itertools import islice
from typing import Any, NoReturn

from sqlalchemy import Connection, Row, Select, and_, bindparam, func, select, update

from hpcharvest.errors import StoreError
from hpcharvest.model.ids import Attempt, JobId
from hpcharvest.model.job import Job, JobSpec
from hpcharvest.model.states import JobState
from hpcharvest.store.changes import Changes
from hpcharvest.store.codec import Codec
from hpcharvest.store.connections import Connections
from hpcharvest.store.schema import WAITING, jobs, specs, upsert

_SLICE = 1000
"""How many ids go into one question; SQLite takes 32766 values."""
FINAL = [state.value for state in JobState if state.final]
UNFINISHED = [state.value for state in JobState if not state.final]
_BEGUN = [state for state in UNFINISHED if state != JobState.RECEIVED]

_job = Codec(Job, "spec", "queue", "state", "since", "received_at", "attempt", "allocation", "not_before")
_spec = Codec(JobSpec)

_whole = select(jobs, specs.c.spec).join_from(jobs, specs, specs.c.job_id == jobs.c.id)
_by_urgency = (jobs.c.priority.desc(), jobs.c.received_at, jobs.c.id)
_of_spec = {"priority", "attempt_nr"}
_changed = (
    update(jobs)
    .where(jobs.c.id == bindparam("key"))
    .values({one.name: bindparam(one.name) for one in jobs.columns if one.name not in {"id", *_of_spec}})
)


class Jobs:
    """Reads jobs."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def get(self, job: JobId) -> Job | None:
        """Read one job; None if it is not known."""
        return next(iter(self._read(_whole.where(jobs.c.id == job))), None)

    def known(self, ids: Iterable[JobId]) -> dict[JobId, tuple[int, JobState]]:
        """Tell PanDA's attempt number and the state of those that are known."""
        found: dict[JobId, tuple[int, JobState]] = {}
        with self._connections.reading() as connection:
            for some in _slices(ids):
                question = select(jobs.c.id, jobs.c.attempt_nr, jobs.c.state).where(jobs.c.id.in_(some))
                found |= {JobId(row.id): (row.attempt_nr, JobState(row.state)) for row in connection.execute(question)}
        return found

    def unfinished(self, *, waiting_limit: int) -> list[Job]:
        """Read all jobs that are not final and beyond RECEIVED, by id, and then at most so many `waiting` ones."""
        begun = self._read(_whole.where(jobs.c.state.in_(_BEGUN)).order_by(jobs.c.id))
        return begun + self.waiting(waiting_limit, ())

    def waiting(self, limit: int, exclude: Collection[JobId], *, queues: Collection[str] | None = None) -> list[Job]:
        """Read at most `limit` RECEIVED jobs, the most urgent first: priority, then age; none of `exclude`.

        `queues`: of these alone; None: of all.
        """
        wanted = WAITING if queues is None else and_(WAITING, jobs.c.queue.in_(queues))
        order = select(jobs.c.id).where(wanted).order_by(*_by_urgency).limit(limit + len(exclude))
        left_out = frozenset(exclude)
        with self._connections.reading() as connection:
            chosen = [one for one in connection.scalars(order) if one not in left_out][:limit]
        found = {job.id: job for some in _slices(chosen) for job in self._read(_whole.where(jobs.c.id.in_(some)))}
        return [found[one] for one in chosen if one in found]

    def counts(self) -> dict[str, dict[JobState, int]]:
        """Count the jobs by queue and state."""
        found: dict[str, dict[JobState, int]] = {}
        columns = (jobs.c.queue, jobs.c.state)
        with self._connections.reading() as connection:
            for queue, state, number in connection.execute(select(*columns, func.count()).group_by(*columns)):
                found.setdefault(queue, {})[JobState(state)] = number
        return found

    def unfinished_count(self, queue: str) -> int:
        """Count the queue's jobs that are not final."""
        question = select(func.count()).where(jobs.c.state.in_(UNFINISHED), jobs.c.queue == queue)
        with self._connections.reading() as connection:
            return connection.scalars(question).one()

    def page(
        self,
        *,
        states: Collection[JobState] | None = None,
        queue: str | None = None,
        limit: int = 100,
        after: int = 0,
    ) -> list[Job]:
        """Read at most `limit` jobs by id, beginning after that id; of those states and that queue, if given."""
        question = _whole.where(jobs.c.id > after).order_by(jobs.c.id).limit(limit)
        if states is not None:
            question = question.where(jobs.c.state.in_([state.value for state in states]))
        if queue is not None:
            question = question.where(jobs.c.queue == queue)
        return self._read(question)

    def _read(self, question: Select[Any]) -> list[Job]:
        with self._connections.reading() as connection:
            return [_from_row(row) for row in connection.execute(question)]


def write(connection: Connection, changes: Changes) -> None:
    """Write new jobs with their specs, and the others without. Raises `StoreError` for one that is not known."""
    if changes.new_jobs:
        dialect = connection.dialect.name
        texts = [{"job_id": one, "spec": _spec.encode(job.spec)} for one, job in changes.new_jobs.items()]
        connection.execute(_insert_spec(dialect), texts)
        rows = [
            {**_columns_of_spec(job.spec), **_columns(changes.jobs.get(one, job))}
            for one, job in changes.new_jobs.items()
        ]
        connection.execute(_insert_job(dialect), rows)
    known = [{"key": one, **_columns(job)} for one, job in changes.jobs.items() if one not in changes.new_jobs]
    if known and connection.execute(_changed, known).rowcount != len(known):
        _complain(connection, set(changes.jobs) - set(changes.new_jobs))


def _complain(connection: Connection, ids: set[JobId]) -> NoReturn:
    there = {one for some in _slices(ids) for one in connection.scalars(select(jobs.c.id).where(jobs.c.id.in_(some)))}
    names = ", ".join(str(one) for one in sorted(ids - there)[:10])
    raise StoreError(f"jobs {names}: changed, but never written as new, or purged meanwhile: nothing was committed")


def _columns(job: Job) -> dict[str, object]:
    return {
        "queue": job.queue,
        "state": job.state.value,
        "since": job.since,
        "received_at": job.received_at,
        "attempt": job.attempt,
        "allocation_id": job.allocation,
        "not_before": job.not_before,
        "rest": _job.encode(job),
    }


def _columns_of_spec(spec: JobSpec) -> dict[str, object]:
    return {"id": spec.panda_id, "priority": spec.priority, "attempt_nr": spec.attempt_nr}


def _from_row(row: Row[Any]) -> Job:
    columns = {
        "spec": _spec.decode(row.spec, {}, row.id),
        "queue": row.queue,
        "state": row.state,
        "since": row.since,
        "received_at": row.received_at,
        "attempt": Attempt(row.attempt),
        "allocation": row.allocation_id,
        "not_before": row.not_before,
    }
    return _job.decode(row.rest, columns, row.id)


@functools.cache
def _insert_job(dialect: str) -> Any:
    return upsert(dialect, jobs)


@functools.cache
def _insert_spec(dialect: str) -> Any:
    return upsert(dialect, specs)


def _slices(ids: Iterable[JobId]) -> Iterator[list[JobId]]:
    left = iter(ids)
    while some := list(islice(left, _SLICE)):
        yield some
