"""The records at hand: what the database holds of everything that is under way, as of the last commit.

A mirror and no more: it is filled from the database at start, and follows every commit. Jobs that wait for a place in
the DAG window stay in the database until there is one, so memory does not grow with their number.
"""

from __future__ import annotations

from hpcharvest.model.allocation import Allocation
from hpcharvest.model.ids import AllocationId, JobId
from hpcharvest.model.job import Job
from hpcharvest.model.report import Report
from hpcharvest.model.states import JobState, ReportState
from hpcharvest.store.changes import Changes


class Mirror:
    """Committed records by id. Read by Parsl's threads too; written by the loop alone."""

    def __init__(self) -> None:
        self.jobs: dict[JobId, Job] = {}
        self.allocations: dict[AllocationId, Allocation] = {}
        self.reports: dict[JobId, Report] = {}
        """What PanDA is owed."""
        self.sending: set[JobId] = set()
        """Those of them that were given to the network, and whose fate is not known yet."""
        self._outside: set[JobId] = set()
        """Jobs that may go back to the database once their report is settled."""
        self.queued: dict[str, dict[JobId, Job]] = {}
        """By queue: jobs that may be given to an allocation."""
        self.unserved: dict[JobId, Job] = {}
        """Event-service jobs whose ranges may be done from now on."""
        self.served: dict[JobId, Job] = {}
        """Event-service jobs whose ranges are being done."""

    def follow(self, changes: Changes) -> None:
        """Take over what was just committed."""
        for job in (*changes.new_jobs.values(), *changes.jobs.values()):
            self._take_job(job)
        for allocation in changes.allocations.values():
            if allocation.state.final:
                self.allocations.pop(allocation.id, None)
            else:
                self.allocations[allocation.id] = allocation
        for report in changes.reports.values():
            self.owe(report)
        for job_id, serial in changes.settled:
            self._settle(job_id, serial)

    def add(self, job: Job) -> None:
        """Bring a job at hand that the database had."""
        self._outside.discard(job.id)
        self._take_job(job)

    def keep(self, job_id: JobId) -> None:
        """Keep a job at hand: it has begun."""
        self._outside.discard(job_id)

    def drop(self, job_id: JobId) -> None:
        """Let a waiting job go back to where it waits, the database, as soon as PanDA knows of it."""
        if job_id in self.reports:
            self._outside.add(job_id)
        else:
            self.jobs.pop(job_id, None)

    def owe(self, report: Report) -> None:
        """Note what PanDA is owed."""
        self.reports[report.job] = report
        if report.state is ReportState.SENDING:
            self.sending.add(report.job)
        else:
            self.sending.discard(report.job)

    def _settle(self, job_id: JobId, serial: int) -> None:
        report = self.reports.get(job_id)
        if report is not None and report.serial <= serial:
            del self.reports[job_id]
            self.sending.discard(job_id)
            self._forget(job_id)

    def _take_job(self, job: Job) -> None:
        self.jobs[job.id] = job
        queued, events = job.state is JobState.QUEUED, job.spec.event_service
        _keep(self.queued.setdefault(job.queue, {}), job, here=queued and not events)
        _keep(self.unserved, job, here=queued and events)
        _keep(self.served, job, here=job.state is JobState.SERVED)
        if job.spec.merge_of is not None and job.state.final:
            del self.jobs[job.id]  # no report of it will be settled

    def _forget(self, job_id: JobId) -> None:
        """Let go of a job that is over, or waits in the database, and of which PanDA knows."""
        job = self.jobs.get(job_id)
        if job is not None and (job.state.final or job_id in self._outside):
            del self.jobs[job_id]
            self._outside.discard(job_id)


def _keep(some: dict[JobId, Job], job: Job, *, here: bool) -> None:
    """Let a job be among some, or not."""
    if here:
        some[job.id] = job
    else:
        some.pop(job.id, None)
