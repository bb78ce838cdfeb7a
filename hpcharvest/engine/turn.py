"""One turn of the loop: what happened in it, gathered for one transaction."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from copy import copy
from dataclasses import fields, replace
from typing import Any

from hpcharvest.config.schema import Patience
from hpcharvest.engine import lifecycle
from hpcharvest.engine.mirror import Mirror
from hpcharvest.engine.why import TOLD
from hpcharvest.model.allocation import Allocation
from hpcharvest.model.facts import AllocationFact, HeartbeatMoved, JobFact, RangesWanted, SegmentRead
from hpcharvest.model.ids import AllocationId, JobId
from hpcharvest.model.job import Job
from hpcharvest.model.report import Report
from hpcharvest.model.states import JobState, ReportState
from hpcharvest.store.changes import Changes, Entry
from hpcharvest.store.database import Database

logger = logging.getLogger(__name__)

Mark = tuple[list[Any], dict[JobId, None]]

_TOLD_AS = dict.fromkeys((JobState.STAGED_IN, JobState.QUEUED, JobState.ASSIGNED), JobState.RECEIVED)
"""States of which PanDA knows no difference."""


class Turn:
    """The records as they are in this turn, committed or not, and the one place where they change."""

    def __init__(self, mirror: Mirror, database: Database, patience: Patience, now: float) -> None:
        self.mirror = mirror
        self.database = database
        self.patience = patience
        self.now = now
        self.changes = Changes()
        self.touched: dict[JobId, None] = {}
        """Jobs to look after once this turn is committed, in the order in which they were touched."""

    def mark(self) -> Mark:
        """Remember how things are, to come back to."""
        return [copy(getattr(self.changes, one.name)) for one in fields(Changes)], dict(self.touched)

    def back_to(self, mark: Mark | None) -> None:
        """Undo what was changed since a mark, if there is one."""
        if mark is None:
            return
        self.changes = Changes(**{one.name: copy(kept) for one, kept in zip(fields(Changes), mark[0], strict=True)})
        self.touched = dict(mark[1])

    def job(self, job_id: JobId) -> Job | None:
        """Give a job as it is now."""
        return (
            self.changes.jobs.get(job_id)
            or self.changes.new_jobs.get(job_id)
            or self.mirror.jobs.get(job_id)
            or self.database.jobs.get(job_id)
        )

    def allocation(self, number: AllocationId) -> Allocation | None:
        """Give an allocation as it is now."""
        return (
            self.changes.allocations.get(number)
            or self.mirror.allocations.get(number)
            or self.database.allocations.get(number)
        )

    def live_allocations(self) -> Iterable[Allocation]:
        """Give the allocations that are not over."""
        everything = self.mirror.allocations | self.changes.allocations
        return [one for one in everything.values() if not one.state.final]

    def tell(self, fact: JobFact) -> Job | None:
        """Let a fact change the job it is about; give the job as it is then, or None if nobody knows it."""
        job = self.job(fact.job)
        if job is None:
            logger.warning("%s is about job %s, which nobody knows", type(fact).__name__, fact.job)
            return None
        after = lifecycle.apply(job, fact, self.patience)
        self.touched[fact.job] = None
        if after is not job:
            self._put(after, before=job, action=type(fact).__name__)
        return after

    def receive(self, job: Job) -> None:
        """Take in a job that was not known, or a new life of one that was."""
        self.changes.new_jobs[job.id] = job
        self._journal("job", job.id, "Received" if not job.state.final else "Refused", job.error)
        self._owe(job)
        self.touched[job.id] = None

    def tell_allocation(self, fact: AllocationFact) -> Allocation | None:
        """Let a fact change the allocation it is about."""
        allocation = self.allocation(fact.allocation)
        if allocation is None:
            logger.warning("%s is about allocation %s, which nobody knows", type(fact).__name__, fact.allocation)
            return None
        after = lifecycle.apply_to_allocation(allocation, fact, self.patience)
        if after is allocation:
            return after
        self.changes.allocations[after.id] = after
        if after.state is not allocation.state:
            detail = after.outcome or _fresh_words(allocation, after)
            tail = f": {detail}" if detail else ""
            logger.info("allocation %s: %s (batch job %s)%s", after.id, after.state, after.batch_id or "-", tail)
        if not isinstance(
            fact, SegmentRead | HeartbeatMoved | RangesWanted
        ):  # they are too many, and say nothing to people
            detail = after.outcome or _fresh_words(allocation, after) or after.batch_id
            self._journal("allocation", after.id, type(fact).__name__, detail)
        return after

    def intend(self, allocation: Allocation, reason: str) -> None:
        """Want a new allocation."""
        self.changes.allocations[allocation.id] = allocation
        self._journal("allocation", allocation.id, "Intended", reason)
        logger.info("allocation %s for %s: %s", allocation.id, allocation.queue, reason)

    def owe_again(self, report: Report, **changes: object) -> None:
        """Change something about a report that is owed."""
        self.changes.reports[report.job] = replace(report, **changes)  # type: ignore[arg-type]  # names are checked by replace

    def settle(self, report: Report) -> None:
        """Owe nothing any more for a report that PanDA has."""
        self.changes.settled.append((report.job, report.serial))
        if report.final:
            self._journal("job", report.job, TOLD, report.status)

    def report(self, job_id: JobId) -> Report | None:
        """Give what is owed to PanDA about a job."""
        return self.changes.reports.get(job_id) or self.mirror.reports.get(job_id)

    def remind(self, job: Job) -> None:
        """Tell PanDA the job's status once more, so that it knows us alive."""
        self._owe(job)

    def _put(self, job: Job, *, before: Job, action: str) -> None:
        self.changes.jobs[job.id] = job
        self._journal("job", job.id, action, job.error if job.error and job.error != before.error else "")
        if job.state is before.state:
            return
        logger.info(
            "job %s: %s%s", job.id, job.state, f" ({job.error})" if job.error and job.error != before.error else ""
        )
        if _TOLD_AS.get(job.state, job.state) is not _TOLD_AS.get(before.state, before.state):
            self._owe(job)

    def _owe(self, job: Job) -> None:
        if job.spec.merge_of is not None:
            return  # PanDA hears of it with the job that it is a part of
        known = self.report(job.id)
        self.changes.reports[job.id] = Report(
            job=job.id,
            serial=known.serial + 1 if known else int(self.now * 1000),
            status=job.state,
            final=job.state.final,
            state=ReportState.OWED,
            since=self.now,
        )

    def _journal(self, subject: str, number: int, action: str, detail: str) -> None:
        self.changes.journal.append(Entry(at=self.now, subject=subject, id=number, action=action, detail=detail[:500]))


def _fresh_words(before: Allocation, after: Allocation) -> str:
    """Give what the batch system said, if it is new: an old word beside a new state would only mislead."""
    return "" if after.batch_words == before.batch_words else after.batch_words
