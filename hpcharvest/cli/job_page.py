"""A job on a page: the fields of a list, and all that is known about one."""

from __future__ import annotations

from collections.abc import Iterator

from hpcharvest.cli import ranges
from hpcharvest.cli.harvest import Harvest
from hpcharvest.cli.journal import listing as journal
from hpcharvest.cli.page import Card, Listing, Page, Record, Span, moment
from hpcharvest.model.allocation import Allocation
from hpcharvest.model.job import Job, PayloadOutcome
from hpcharvest.model.report import Report

COLUMNS = ("id", "queue", "state", "since", "attempt", "allocation", "not_before", "error")
_FILES = ("lfn", "role", "scope", "size", "adler32", "stored", "endpoint")
_ATTEMPTS = ("attempt", "allocation", "state", "outcome", "folder")
_PAGE = 500
ENTRIES = 50
"""Entries of the journal that are shown."""


def row(job: Job) -> Record:
    """Give the fields of a job for a list."""
    return {
        "id": job.id,
        "queue": job.queue,
        "state": job.state,
        "since": moment(job.since),
        "received_at": moment(job.received_at),
        "priority": job.spec.priority,
        "attempt": job.attempt,
        "allocation": job.allocation,
        "tries": job.tries,
        "infrastructure_losses": job.infrastructure_losses,
        "refusals": job.refusals,
        "not_before": moment(job.not_before),
        "kill_requested_by": job.kill_requested,
        "error": job.error,
        "error_code": job.error_code,
    }


def page(job: Job, harvest: Harvest) -> Page:
    """Gather all that is known about a job."""
    database = harvest.database
    report = database.outbox.get(job.id)
    return Page(
        parts=(
            Card(name="job", fields=row(job)),
            Card(name="spec", fields=_spec(job)),
            Listing(name="files", columns=_FILES, records=list(_files(job))),
            *ranges.of_job(job, harvest),
            Listing(name="attempts", columns=_ATTEMPTS, records=list(_attempts(job, harvest))),
            Card(name="outcome", fields=_outcome(job.outcome)),
            Card(name="report", fields=_report(report)),
            journal("journal", database.journal.of("job", job.id, ENTRIES)),
        ),
        ids=(job.id,),
    )


def _spec(job: Job) -> Record:
    spec = job.spec
    return {
        "panda_attempt": spec.attempt_nr,
        "task": spec.task_id,
        "jobset": spec.jobset_id,
        "transformation": spec.transformation,
        "parameters": spec.job_pars,
        "cores": spec.core_count,
        "memory_mb": spec.memory_mb,
        "disk_mb": spec.disk_mb,
        "max_walltime_s": spec.max_walltime_s,
        "prod_source_label": spec.prod_source_label,
        "processing_type": spec.processing_type,
        "resource_type": spec.resource_type,
        "event_service": spec.event_service,
        "image": spec.image,
    }


def _files(job: Job) -> Iterator[Record]:
    """Give the inputs with what was promised of them, and the outputs with what was stored."""
    for one in job.spec.inputs:
        yield {
            "lfn": one.lfn,
            "role": "input",
            "scope": one.scope,
            "size": one.size,
            "adler32": one.adler32,
            "endpoint": one.endpoint,
        }
    stored = {one.lfn: one for one in job.stored}
    for out in job.spec.outputs:
        there = stored.get(out.lfn)
        yield {
            "lfn": out.lfn,
            "role": "log" if out.log else "output",
            "scope": out.scope,
            "size": there.size if there else None,
            "adler32": there.adler32 if there else None,
            "stored": there.url if there else None,
            "endpoint": there.endpoint if there else out.endpoint,
        }


def _attempts(job: Job, harvest: Harvest) -> Iterator[Record]:
    """Give each attempt of the job with the allocations that it was given to, where those were not purged."""
    folders = harvest.folders
    given = {
        (attempt, one.id): one
        for one in (_allocations(job.queue, harvest) if job.attempt else ())
        for number, attempt in (*one.jobs, *one.event_jobs)
        if number == job.id
    }
    for (attempt, number), one in sorted(given.items()):
        yield {
            "attempt": attempt,
            "allocation": number,
            "state": one.state,
            "outcome": one.outcome,
            "folder": folders.served(job.id, number) if job.spec.event_service else folders.attempt(job.id, attempt),
        }


def _allocations(queue: str, harvest: Harvest) -> Iterator[Allocation]:
    """Give all allocations of a queue: no table has them by job."""
    last = 0
    while some := harvest.database.allocations.page(queue=queue, limit=_PAGE, after=last):
        yield from some
        last = some[-1].id


def _outcome(outcome: PayloadOutcome | None) -> Record:
    if outcome is None:
        return {"result": None}
    return {
        "result": outcome.result,
        "exit_code": outcome.exit_code,
        "signal": outcome.signal,
        "reason": outcome.reason,
        "node": outcome.node,
        "started_at": moment(outcome.started_at),
        "ended_at": moment(outcome.ended_at),
        "cpu_s": Span(outcome.cpu_s),
        "max_rss_kb": outcome.max_rss_kb,
    }


def _report(report: Report | None) -> Record:
    if report is None:
        return {"owed": False}
    return {
        "owed": True,
        "status": report.status,
        "final": report.final,
        "state": report.state,
        "since": moment(report.since),
        "tries": report.tries,
        "not_before": moment(report.not_before),
        "problem": report.problem,
    }
