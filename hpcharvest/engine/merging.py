"""Merging on site: when all ranges of an output are in archives at their destination, a job of our own merges them.

Such a job is kept, run, tried again and staged out like any other. Here is only decided which there are to be, and when
an event-service job has nothing left to be merged. Everything follows from committed records.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from queue import SimpleQueue

from hpcharvest.clock import Clock
from hpcharvest.config.schema import Configuration, EventRanges
from hpcharvest.engine import merge_jobs
from hpcharvest.engine.effects import Hands, Kind
from hpcharvest.engine.events import Event, MergesPlanned
from hpcharvest.engine.turn import Turn
from hpcharvest.errors import HarvestError
from hpcharvest.model.facts import KillAsked
from hpcharvest.model.ids import JobId
from hpcharvest.model.job import Job, JobSpec, StoredFile
from hpcharvest.model.states import JobState
from hpcharvest.sizing.merging import Cut, Piece, plan_merges
from hpcharvest.store.changes import Changes
from hpcharvest.store.database import Database

logger = logging.getLogger(__name__)

TRIES = 3
"""How often one output is merged before it is given up: no other one fails with it."""
SHARE = 10
"""Planning reads all ranges of a job: it takes no more than one part in so many of the time."""
ALL = 10_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """What came of merging: files at their destination, and the number of outputs that could not be made."""

    stored: tuple[StoredFile, ...] = ()
    failed: int = 0

    @property
    def words(self) -> str:
        """Say it to people; empty if nothing was to be merged."""
        if not self.stored and not self.failed:
            return ""
        return f"; {len(self.stored)} of {len(self.stored) + self.failed} outputs merged"


@dataclass(frozen=True, slots=True)
class Run:
    """What is remembered of a merge job, whose lists may be long."""

    job: JobId
    state: JobState
    stopping: bool
    stored: tuple[StoredFile, ...]

    @property
    def failed(self) -> bool:
        """Whether it ended, and made nothing."""
        return self.state.final and self.state is not JobState.FINISHED


class Merging:
    """Decides about merge jobs. Used by the loop alone, but for what reads the database."""

    def __init__(
        self,
        *,
        configuration: Configuration,
        database: Database,
        hands: Hands,
        events: SimpleQueue[Event],
        clock: Clock,
    ) -> None:
        self._queues = configuration.queues
        self._pause_s = configuration.controller.patience.batch_poll_s
        self._database = database
        self._hands = hands
        self._events = events
        self._clock = clock
        self._runs: dict[JobId, dict[str, dict[JobId, Run]]] = {}
        """By event-service job and output: the jobs that were to make it, in their order, as of the last commit."""
        self._due: dict[JobId, float] = {}
        """Steady seconds when a job is planned again."""
        self._short: dict[JobId, int] = {}
        """Jobs that were planned to the end, with the number of outputs that will never be whole."""
        self._next = merge_jobs.FIRST

    def recover(self, served: Collection[JobId]) -> None:
        """Bring to hand what an earlier process began for jobs that are served still."""
        for job in self._database.jobs.page(after=merge_jobs.FIRST - 1, limit=ALL):
            self._next = max(self._next, JobId(job.id + 1))
            if job.spec.merge_of in served:
                self._note(job)

    def follow(self, changes: Changes) -> None:
        """Take over what was committed. May be repeated."""
        for job in (*changes.new_jobs.values(), *changes.jobs.values()):
            self._note(job)
            if job.state.final and job.spec.event_service:
                for known in (self._runs, self._due, self._short):
                    known.pop(job.id, None)

    def look(self, job: Job, turn: Turn, *, over: bool = False) -> Merged | None:
        """See to it that what can be merged is; give what came of it, or None while something is to be merged still.

        `over`: no more ranges of the job will finish.
        """
        section = self._queues[job.queue].payload.event_ranges if job.queue in self._queues else None
        cut = merge_jobs.cut(job.spec, self._queues[job.queue]) if section else None
        if section is None or cut is None:
            return Merged()
        if any(one.spec.merge_of == job.id for one in turn.changes.new_jobs.values()):
            return None  # they are not among the runs before they are committed
        outputs = self._runs.get(job.id, {}).values()
        latest = [_last(runs) for runs in outputs]
        if any(_last(runs).failed and len(runs) < TRIES for runs in outputs):
            self._short.pop(job.id, None)  # it is to be planned again
        if over and job.id in self._short and all(one.state.final for one in latest):
            stored = tuple(file for one in latest if not one.failed for file in one.stored)
            return Merged(stored=stored, failed=self._short[job.id] + sum(one.failed for one in latest))
        self._ask(job, cut, section, over=over)
        return None

    def give_up(self, job: Job, turn: Turn) -> None:
        """Stop what merges for a job that is stopped."""
        for runs in self._runs.get(job.id, {}).values():
            one = _last(runs)
            if not one.state.final and not one.stopping:
                turn.tell(KillAsked(job=one.job, by=f"job {job.id}, which is stopped", at=turn.now))

    def planned(self, event: MergesPlanned, turn: Turn) -> None:
        """Make jobs of what can be merged, unless there are some."""
        self._due[event.job] = self._clock.steady() + max(self._pause_s, SHARE * event.took_s)
        job = turn.job(event.job)
        if job is None or job.state is not JobState.SERVED or job.kill_requested:
            return
        for spec in event.specs:
            made = replace(spec, panda_id=self._next)
            self._next = JobId(self._next + 1)
            logger.info("job %s: %s is merged by our own job %s", job.id, spec.outputs[0].lfn, made.panda_id)
            turn.receive(Job(spec=made, queue=job.queue, since=turn.now, received_at=turn.now))
        if event.over:
            self._short[job.id] = len(event.short)
            for lfn, missing in event.short.items():
                logger.error("job %s: %s is not made: %d of its events are not there", job.id, lfn, missing)

    def _note(self, job: Job) -> None:
        if job.spec.merge_of is None:
            return
        runs = self._runs.setdefault(job.spec.merge_of, {}).setdefault(job.spec.outputs[0].lfn, {})
        runs[job.id] = Run(job.id, job.state, bool(job.kill_requested), job.stored)

    def _ask(self, job: Job, cut: Cut, section: EventRanges, *, over: bool) -> None:
        key = ("merge", job.id)
        now = self._clock.steady()
        if self._hands.holds(key) or now < self._due.get(job.id, 0.0):
            return
        self._due[job.id] = now + self._pause_s  # also if nothing comes of it
        settled = {
            lfn for lfn, runs in self._runs.get(job.id, {}).items() if not _last(runs).failed or len(runs) >= TRIES
        }
        self._hands.carry_out(Kind.SWEEP, key, partial(self._plan, job.spec, cut, section, settled, over=over))

    # --- in the threads of the hands ------------------------------------------------------------------------------

    def _plan(self, spec: JobSpec, cut: Cut, section: EventRanges, settled: set[str], *, over: bool) -> None:
        began, job = self._clock.steady(), spec.panda_id
        try:
            pieces = (
                Piece(id=one.id, lfn=one.lfn, start=one.start, last=one.last, archive=archive)
                for one, archive in self._database.event_ranges.stored(job)
            )
            plan = plan_merges(cut, pieces, over=over, partial=section.merge_partial)
            bundles = {one.archive: one for one in self._database.bundles.of_job(job, ALL)}
        except HarvestError as error:
            logger.warning("job %s: what can be merged is not known: %s; will look again", job, error)
            return
        wanted = [one for one in plan.groups if merge_jobs.name(spec, one.output) not in settled]
        self._events.put(
            MergesPlanned(
                job=job,
                specs=tuple(merge_jobs.merge_spec(spec, one, bundles, section) for one in wanted),
                short={merge_jobs.name(spec, output): missing for output, missing in plan.short.items()},
                over=over,
                took_s=self._clock.steady() - began,
            )
        )


def _last(runs: Mapping[JobId, Run]) -> Run:
    return next(reversed(list(runs.values())))
