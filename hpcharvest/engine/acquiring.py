"""Asking PanDA for event ranges, ahead of need, and never for more than the allocations can do.

As with jobs, an answer is durable before it is read. One that is lost takes ranges with it: the server never gives them
out again while the job lives. How many, is found out by asking where the job's ranges are (`range_reports`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import partial
from queue import SimpleQueue

from hpcharvest.clock import Clock
from hpcharvest.config.schema import Configuration
from hpcharvest.engine.effects import Hands, Kind
from hpcharvest.engine.events import AnswerKept, Event, Fetched, RangesCounted, RangesFetchFailed
from hpcharvest.engine.range_book import RangeBook
from hpcharvest.engine.turn import Turn
from hpcharvest.errors import HarvestError, PandaError, ServerRefused, ServerUnreachable
from hpcharvest.model.ids import JobId
from hpcharvest.model.job import Job
from hpcharvest.model.states import RangeState
from hpcharvest.model.words import counted
from hpcharvest.panda.client import PandaClient
from hpcharvest.panda.wire import MAX_ASKED, decode_ranges
from hpcharvest.store.changes import NewRanges

logger = logging.getLogger(__name__)

COUNT_PAUSE_S = 60.0
"""Seconds between two questions how many ranges a job could have."""


class Acquiring:
    """Asks for ranges, one request at a time for each job."""

    def __init__(
        self,
        *,
        configuration: Configuration,
        client: PandaClient,
        hands: Hands,
        events: SimpleQueue[Event],
        clock: Clock,
    ) -> None:
        self._pause_s = configuration.panda.fetch_interval_s
        self._retry_s = configuration.controller.patience.retry_first_s
        self._client = client
        self._hands = hands
        self._events = events
        self._clock = clock
        self._next: dict[JobId, float] = {}
        self._next_count: dict[JobId, float] = {}
        self._asked: dict[JobId, int] = {}
        """What was asked for, and is not read yet."""
        self._unread: set[JobId] = set()
        self._available: dict[JobId, int] = {}
        self._exhausted: set[JobId] = set()
        self.unsure: set[JobId] = set()
        """Jobs of which an answer may have been lost, by this process or by one before it."""

    def recover(self, jobs: Iterable[JobId], unread: Iterable[JobId]) -> None:
        """Begin with jobs that are served already, and with those that have answers to be read."""
        self.unsure |= set(jobs)
        self._unread |= set(unread)

    def exhausted(self, job: JobId) -> bool:
        """Whether PanDA had nothing more when it was asked last, and no answer of its is to be read still."""
        return job in self._exhausted and not self.busy(job)

    def busy(self, job: JobId) -> bool:
        """Whether an answer is on its way, or to be read."""
        return job in self._unread or job in self._asked or self._hands.holds(("ranges", job))

    def available(self, job: JobId) -> int | None:
        """Say how many ranges PanDA could give, as far as is known; None: it did not say yet."""
        return 0 if job in self._exhausted else self._available.get(job)

    def due(self, job: JobId, need: int, book: RangeBook) -> bool:
        """Whether PanDA is to be asked for ranges of a job of which `need` could be done, now."""
        short = need > book.number(job, RangeState.READY)
        probing = not need and job not in self._exhausted and not book.number(job, RangeState.READY, RangeState.FED)
        return (short or (probing and self._available.get(job) == 0)) and (
            not self.busy(job) and self._clock.steady() >= self._next.get(job, 0.0)
        )

    def ask(self, job: Job, need: int, book: RangeBook) -> None:
        """Ask for what is missing, if it is time to; and how much there is, from time to time."""
        now = self._clock.steady()
        if now >= self._next_count.get(job.id, 0.0) and job.id not in self._exhausted:
            self._next_count[job.id] = now + COUNT_PAUSE_S
            self._hands.carry_out(Kind.FETCH, ("range count", job.id), partial(self._count, job))
        if not self.due(job.id, need, book):
            return
        missing = max(1, min(need - book.number(job.id, RangeState.READY), MAX_ASKED))
        self._asked[job.id] = missing
        self._hands.carry_out(Kind.FETCH, ("ranges", job.id), partial(self._fetch, job, missing))

    def fetched(self, event: Fetched) -> None:
        """Note that an answer came; one with something in it is made durable by the intake."""
        if event.job is None:
            return
        if event.body is None:
            self._exhausted.add(event.job)
            self._rest(event.job)
        else:
            self._unread.add(event.job)

    def failed(self, event: RangesFetchFailed) -> None:
        """Note that PanDA could not be asked, or that its answer was lost."""
        logger.warning("job %s: no event ranges came: %s; will ask again", event.job, event.error)
        self._rest(event.job, self._retry_s)
        if event.unsure:
            self.unsure.add(event.job)

    def counted(self, event: RangesCounted) -> None:
        """Note how many ranges could be had."""
        self._available[event.job] = event.number

    def parse(self, event: AnswerKept, turn: Turn) -> None:
        """Take in the ranges of a durable answer."""
        answer = event.answer
        if answer.job is None:
            return
        turn.changes.answers_read.append(answer.id)
        try:
            decoded = decode_ranges(answer.body)
        except PandaError as error:
            logger.warning("answer %s for job %s cannot be read, and is kept: %s", answer.id, answer.job, error)
            self.unsure.add(answer.job)
            self._rest(answer.job, self._retry_s)
            return
        for reason in decoded.refused:
            logger.error("job %s: an event range is none: %s", answer.job, reason)
        if decoded.refused:
            self.unsure.add(answer.job)
        turn.changes.new_ranges.append(NewRanges(job=answer.job, ranges=decoded.ranges))
        logger.info("job %s: %s came", answer.job, counted(len(decoded.ranges), "event range"))
        self._taken(answer.job, len(decoded.ranges))

    def _taken(self, job: JobId, number: int) -> None:
        asked = self._asked.get(job, number)
        self._exhausted.discard(job)
        self._available[job] = max(0, self._available.get(job, 0) - number)
        self._rest(job, 0.0 if number >= asked else self._pause_s)

    def forget(self, job: JobId) -> None:
        """Let go of a job that is over."""
        for known in (self._next, self._next_count, self._asked, self._available):
            known.pop(job, None)
        self._exhausted.discard(job)
        self.unsure.discard(job)

    def _rest(self, job: JobId, pause_s: float | None = None) -> None:
        self._asked.pop(job, None)
        self._unread.discard(job)
        self._next[job] = self._clock.steady() + (self._pause_s if pause_s is None else pause_s)

    def _fetch(self, job: Job, number: int) -> None:
        try:
            body = self._client.acquire_ranges(job.spec, number)
        except HarvestError as error:
            unsure = not isinstance(error, ServerUnreachable | ServerRefused)
            self._events.put(RangesFetchFailed(job=job.id, unsure=unsure, error=error))
        else:
            self._events.put(Fetched(queue=job.queue, at=self._clock.wall(), body=body, job=job.id))

    def _count(self, job: Job) -> None:
        try:
            number = self._client.available_ranges(job.spec)
        except ServerRefused as error:
            logger.warning("job %s: PanDA will not say how many event ranges there are: %s", job.id, error)
            self._events.put(RangesCounted(job=job.id, number=MAX_ASKED))  # to be seen by asking for them
        except HarvestError as error:
            logger.warning("job %s: PanDA does not say how many event ranges there are: %s", job.id, error)
        else:
            self._events.put(RangesCounted(job=job.id, number=number))
