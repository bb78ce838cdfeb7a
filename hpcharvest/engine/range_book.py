"""What is known of event ranges as of the last commit: how many are where, what was fed, which bundles are open.

The ranges themselves stay in the database, since there may be millions. The book is filled at start and follows every
commit; the loop alone writes and reads it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from hpcharvest.model.event_range import Bundle
from hpcharvest.model.ids import AllocationId, BundleId, JobId
from hpcharvest.model.states import BundleState, RangeState
from hpcharvest.store.changes import Changes
from hpcharvest.store.database import Database
from hpcharvest.store.event_ranges import Count, FeedFile

RECENT = 50
"""So many of a job's bundles tell how long its ranges take."""
Feeding = tuple[AllocationId, JobId]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far the feed of a job in an allocation is."""

    number: int = 0
    """Of the next file."""
    fed: int = 0
    """How many ranges it has."""
    last: bool = False
    """Whether nothing follows."""


NOTHING_FED = Standing()


class RangeBook:
    """Counts, feeds and open bundles of the jobs that are served."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._counts: dict[JobId, dict[tuple[AllocationId, RangeState], int]] = {}
        self._feeds: dict[Feeding, Standing] = {}
        self._pace: dict[JobId, tuple[float, int]] = {}
        self.bundles: dict[BundleId, Bundle] = {}
        """Those that are not final."""

    def recover(self, jobs: Iterable[JobId], allocations: Iterable[AllocationId]) -> list[FeedFile]:
        """Read what the database has about these; give the files that were committed to their feeds."""
        known = list(jobs)
        self._read_counts(known)
        self.bundles = {one.id: one for one in self._database.bundles.unfinished()}
        for job in known:
            for bundle in self._database.bundles.of_job(job, RECENT):
                self._learn(bundle)
        files = self._database.event_ranges.feeds(allocations)
        for file in files:
            self._note(file)
        return files

    def follow(self, changes: Changes) -> None:
        """Take over what was just committed. May be repeated."""
        for bundle in changes.bundles.values():
            if bundle.id not in self.bundles and not bundle.state.final:
                self._learn(bundle)
            if bundle.state.final:
                self.bundles.pop(bundle.id, None)
            else:
                self.bundles[bundle.id] = bundle
        lost = [one.job for one in changes.bundles.values() if one.state is BundleState.LOST]
        moved = [one.job for one in changes.new_ranges] + [one.job for one in changes.outcomes]
        moved += [one.job for one in changes.feeds]
        released = [job for one in changes.released for job in self._jobs_of(one)]
        fresh = [one for one, job in changes.new_jobs.items() if one in self._counts or job.spec.event_service]
        if touched := dict.fromkeys((*lost, *moved, *released, *fresh)):
            self._read_counts(touched)
        for fed in changes.feeds:  # one by one: a long-lived allocation has thousands of files
            if file := self._database.event_ranges.feed_file(fed.allocation, fed.job, fed.number):
                self._note(file)
        for job_id, job in changes.jobs.items():
            if job.state.final:
                self._forget(job_id)

    def number(self, job: JobId, *states: RangeState) -> int:
        """Say how many ranges a job has in these states; in any, if none is named."""
        counts = self._counts.get(job, {})
        return sum(number for (_, state), number in counts.items() if not states or state in states)

    def fed_to(self, allocation: AllocationId) -> int:
        """Say how many ranges an allocation has, of which nothing is known."""
        return sum(counts.get((allocation, RangeState.FED), 0) for counts in self._counts.values())

    def ended_in(self, allocation: AllocationId, job: JobId) -> int:
        """Say how many of a job's ranges came to an end in an allocation."""
        counts = self._counts.get(job, {})
        return sum(number for (where, state), number in counts.items() if where == allocation and state in _ENDS)

    def standing(self, allocation: AllocationId, job: JobId) -> Standing:
        """Say how far a feed is."""
        return self._feeds.get((allocation, job), NOTHING_FED)

    def open_bundles(self, job: JobId, *states: BundleState) -> list[Bundle]:
        """Give a job's bundles in these states; all that are not final, if none is named."""
        mine = (one for one in self.bundles.values() if one.job == job)
        return [one for one in mine if not states or one.state in states]

    def pace(self, job: JobId) -> float:
        """Say how many seconds its ranges took, as those that were done did of late; 0: none was."""
        seconds, ranges = self._pace.get(job, (0.0, 0))
        return seconds / ranges if ranges else 0.0

    def allocations_with_fed(self) -> set[AllocationId]:
        """Give the allocations that have ranges of which nothing is known."""
        return {
            where
            for counts in self._counts.values()
            for (where, state), number in counts.items()
            if state is RangeState.FED and number
        }

    def _jobs_of(self, allocation: AllocationId) -> list[JobId]:
        return [job for job, counts in self._counts.items() if any(where == allocation for where, _ in counts)]

    def _read_counts(self, jobs: Iterable[JobId]) -> None:
        known = list(jobs)
        found: dict[Count, int] = self._database.event_ranges.counts(known)
        fresh: dict[JobId, dict[tuple[AllocationId, RangeState], int]] = {job: {} for job in known}
        for (job, allocation, state), number in found.items():
            fresh[job][allocation, state] = number
        self._counts |= fresh

    def _note(self, file: FeedFile) -> None:
        known = self._feeds.get((file.allocation, file.job), NOTHING_FED)
        if file.number >= known.number:
            self._feeds[file.allocation, file.job] = Standing(
                number=file.number + 1, fed=file.first + file.size, last=file.last or known.last
            )

    def _learn(self, bundle: Bundle) -> None:
        """Learn from a bundle how long ranges take; what was learnt long ago counts less and less."""
        if bundle.archive and bundle.wall_s > 0:
            seconds, ranges = self._pace.get(bundle.job, (0.0, 0))
            if ranges > RECENT * bundle.ranges:
                seconds, ranges = seconds / 2, ranges // 2
            self._pace[bundle.job] = (seconds + bundle.wall_s, ranges + bundle.ranges)

    def _forget(self, job: JobId) -> None:
        """Let go of a job that is over; what is left in allocations of its ranges, nobody needs."""
        self._counts.pop(job, None)
        self._pace.pop(job, None)
        for key in [one for one in self._feeds if one[1] == job]:
            del self._feeds[key]


_ENDS = frozenset({RangeState.FINISHED, RangeState.FAILED, RangeState.FATAL})
