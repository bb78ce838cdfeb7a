"""What `engine.why` must know about a job, read from the database and the configuration."""

from __future__ import annotations

from datetime import datetime

from hpcharvest.cli.harvest import Harvest
from hpcharvest.cli.ranges import by_state
from hpcharvest.engine.why import TOLD, Circumstances
from hpcharvest.model.allocation import Allocation
from hpcharvest.model.job import Job
from hpcharvest.model.states import AllocationState, JobState

LATEST = 20
"""Entries of a job's journal among which the last ones of its life are."""


def gather(job: Job, harvest: Harvest) -> Circumstances:
    """Read what is so just now."""
    database, settings, now = harvest.database, harvest.configuration.controller, harvest.clock.wall()
    queue = harvest.configuration.queues.get(job.queue)
    return Circumstances(
        now=now,
        controller=harvest.controller().runs,
        allocation=_allocation(job, harvest),
        report=database.outbox.get(job.id),
        told_at=_told_at(job, harvest),
        configured=queue is not None,
        in_hand=job.state is not JobState.RECEIVED or _in_hand(job, harvest),
        dag_window=settings.dag_window,
        stage_threads=settings.stage_threads,
        site=queue.site.name if queue else "",
        alive=_alive(queue.site.name, harvest) if queue else 0,
        max_allocations=queue.site.allocation.max_allocations if queue else 0,
        ranges=by_state(database.event_ranges.counts([job.id])) if job.spec.event_service else {},
        serving=_serving(job, harvest),
        bundles=database.bundles.counts([job.id]).get(job.id, {}) if job.spec.event_service else {},
        problem=_problem(job, harvest),
        show=lambda seconds: _clock_face(seconds, now),
    )


def _allocation(job: Job, harvest: Harvest) -> Allocation | None:
    """Find the job's allocation, or one that lives and is to do its event ranges, one that runs before all others."""
    allocations = harvest.database.allocations
    if job.state is not JobState.SERVED:
        return allocations.get(job.allocation) if job.allocation is not None else None
    mine = (one for one in allocations.live() if (job.id, job.attempt) in one.event_jobs)
    return min(mine, key=lambda one: (one.state is not AllocationState.RUNNING, one.id), default=None)


def _problem(job: Job, harvest: Harvest) -> str:
    """Say what keeps the oldest bundle of the job that is held up."""
    bundles = harvest.database.bundles.unfinished() if job.state is JobState.SERVED else []
    return next((one.problem for one in bundles if one.job == job.id and one.problem), "")


def _told_at(job: Job, harvest: Harvest) -> float:
    """Find in the journal when PanDA took the final report; 0 if it does not say."""
    entries = harvest.database.journal.of("job", job.id, LATEST) if job.state.final else []
    return max((entry.at for entry in entries if entry.action == TOLD), default=0.0)


def _in_hand(job: Job, harvest: Harvest) -> bool:
    """Whether a job that waits is urgent enough to be among the DAGs in hand, beside those that have begun."""
    counts = harvest.database.jobs.counts().values()
    begun = sum(
        number
        for states in counts
        for state, number in states.items()
        if not state.final and state is not JobState.RECEIVED
    )
    room = harvest.configuration.controller.dag_window - begun
    return room > 0 and any(one.id == job.id for one in harvest.database.jobs.waiting(room, ()))


def _alive(site: str, harvest: Harvest) -> int:
    queues = harvest.configuration.queues
    return sum(
        1 for one in harvest.database.allocations.live() if one.queue in queues and queues[one.queue].site.name == site
    )


def _serving(job: Job, harvest: Harvest) -> tuple[Allocation, ...]:
    if not job.spec.event_service:
        return ()
    return tuple(one for one in harvest.database.allocations.live() if (job.id, job.attempt) in one.event_jobs)


def _clock_face(seconds: float, now: float) -> str:
    """Write a moment in local time: the time of day, and the date where it is another than today's."""
    moment, today = datetime.fromtimestamp(seconds).astimezone(), datetime.fromtimestamp(now).astimezone()
    return moment.strftime("%H:%M:%S" if moment.date() == today.date() else "%Y-%m-%d %H:%M:%S")
