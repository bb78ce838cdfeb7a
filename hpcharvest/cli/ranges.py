"""Event ranges on a page: how many are where, and which bundles there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from hpcharvest.cli.harvest import Harvest
from hpcharvest.cli.page import Card, Listing, Record, moment
from hpcharvest.model.event_range import Bundle
from hpcharvest.model.ids import AllocationId, JobId
from hpcharvest.model.job import Job
from hpcharvest.model.states import BundleState, JobState, RangeState
from hpcharvest.store.event_ranges import Count

BUNDLES = ("id", "allocation", "archive", "ranges", "state", "since", "tries", "problem")
SUMMARY = ("job", "queue", *(state.value for state in RangeState), "lost", "bundles_open")
FAILURES = ("range", "allocation", "state", "error")
NEWEST = 20
"""Bundles, and failures of ranges, that are shown."""


def by_state(counts: Mapping[Count, int]) -> dict[RangeState, int]:
    """Add up counts over allocations."""
    found: Counter[RangeState] = Counter()
    for (_, _, state), number in counts.items():
        found[state] += number
    return {state: found[state] for state in RangeState}


def of_job(job: Job, harvest: Harvest) -> tuple[Card | Listing, ...]:
    """Show the ranges and the newest bundles of an event-service job; nothing for any other."""
    if not job.spec.event_service:
        return ()
    database = harvest.database
    states = by_state(database.event_ranges.counts([job.id]))
    bundles = database.bundles.counts([job.id]).get(job.id, {})
    fields = {
        **_words(states),
        "lost": job.ranges_lost,
        "bundles": {one.value: bundles.get(one, 0) for one in BundleState},
    }
    newest = database.bundles.of_job(job.id, NEWEST)
    return (
        Card(name="ranges", fields=fields),
        Listing(name="bundles", columns=BUNDLES, records=[_bundle(one) for one in newest]),
        *_failures(database.bundles.of_job(job.id, NEWEST, failures=True), harvest),
    )


def of_allocation(allocation: AllocationId, event_jobs: Iterable[JobId], harvest: Harvest) -> tuple[Listing, ...]:
    """Show the ranges that an allocation has, or had, by job; nothing for one without any."""
    counts = harvest.database.event_ranges.of_allocation(allocation)
    rows = []
    for job in event_jobs:
        mine = by_state({key: number for key, number in counts.items() if key[0] == job})
        rows.append({"job": job, **{state.value: mine[state] for state in RangeState if state is not RangeState.READY}})
    columns = ("job", *(state.value for state in RangeState if state is not RangeState.READY))
    return (Listing(name="ranges", columns=columns, records=rows),) if rows else ()


def of_all(harvest: Harvest, rows: int) -> tuple[Listing, ...]:
    """Show the ranges of all jobs that are served; nothing if there are none."""
    jobs = harvest.database.jobs.page(states=[JobState.SERVED], limit=1000)
    if not jobs:
        return ()
    counts = harvest.database.event_ranges.counts([job.id for job in jobs])
    bundles = harvest.database.bundles.counts([job.id for job in jobs])
    records = [
        {
            "job": job.id,
            "queue": job.queue,
            **_words(by_state({key: number for key, number in counts.items() if key[0] == job.id})),
            "lost": job.ranges_lost,
            "bundles_open": sum(number for state, number in bundles.get(job.id, {}).items() if not state.final),
        }
        for job in jobs
    ]
    return (Listing(name="event_ranges", columns=SUMMARY, records=records, rows=rows),)


def _failures(newest: Iterable[Bundle], harvest: Harvest) -> tuple[Listing, ...]:
    """Show why ranges of these bundles failed; nothing if none did."""
    where = {one.id: one.allocation for one in newest}
    rows = [
        {"range": one.id, "allocation": where[bundle], "state": one.state, "error": one.error}
        for bundle, one in harvest.database.event_ranges.failures(where, NEWEST)
    ]
    return (Listing(name="failures", columns=FAILURES, records=rows),) if rows else ()


def _words(states: Mapping[RangeState, int]) -> Record:
    return {state.value: number for state, number in states.items()}


def _bundle(one: Bundle) -> Record:
    return {
        "id": one.id,
        "allocation": one.allocation,
        "archive": one.archive,
        "ranges": one.ranges,
        "size": one.size,
        "adler32": one.adler32,
        "state": one.state,
        "since": moment(one.since),
        "tries": one.tries,
        "not_before": moment(one.not_before),
        "url": one.url,
        "problem": one.problem,
    }
