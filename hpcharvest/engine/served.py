"""What becomes of an event-service job that is served, as its allocations come and go. Pure.

No single allocation is its fate; but a job for which many in a row come to nothing has an end like any other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hpcharvest.config.schema import Patience
from hpcharvest.model.facts import AllocationLeft, JobFact, RangesEnded, RangesLost
from hpcharvest.model.job import Job
from hpcharvest.model.states import JobState


def allocation_left(job: Job, fact: AllocationLeft, pause: Callable[[int], float]) -> Job:
    """Count allocations that came to nothing, one after another. `pause`: seconds to wait after so many."""
    if job.state is not JobState.SERVED or fact.attempt != job.attempt:
        return job
    if fact.useful:
        return _of_use(job)
    if fact.wished:
        return job
    if not fact.started:
        refusals = job.refusals + 1
        return replace(job, refusals=refusals, not_before=fact.at + pause(refusals), error=fact.reason)
    losses = job.infrastructure_losses + 1
    wait = fact.at + pause(losses - 1) if losses > 1 else 0.0
    return replace(job, infrastructure_losses=losses, not_before=wait, error=fact.reason)


def ranges_ended(job: Job, fact: RangesEnded, _: Patience) -> Job:
    """Forget the allocations that came to nothing: one does its ranges, and may do so for days."""
    return _of_use(job) if job.state is JobState.SERVED and fact.attempt == job.attempt else job


def ranges_lost(job: Job, fact: RangesLost, _: Patience) -> Job:
    """Note how many of its ranges were lost on their way here."""
    return job if job.ranges_lost == fact.number else replace(job, ranges_lost=fact.number)


def out_of_patience(job: Job, patience: Patience) -> str:
    """Say why the event ranges of a job are not tried any more; empty: they are."""
    if job.infrastructure_losses > patience.infrastructure_losses:
        return f"{job.infrastructure_losses} allocations in a row did none of its event ranges; last: {job.error}"
    if job.refusals > patience.refusals:
        return f"no allocation for it ever started, in {job.refusals} tries; last: {job.error}"
    return ""


def _of_use(job: Job) -> Job:
    clean = not (job.infrastructure_losses or job.refusals or job.not_before)
    return job if clean else replace(job, infrastructure_losses=0, refusals=0, not_before=0.0, error="")


RULES: dict[type[JobFact], Callable[[Job, Any, Patience], Job]] = {RangesEnded: ranges_ended, RangesLost: ranges_lost}
"""What these facts make of a job, whatever else there is."""
