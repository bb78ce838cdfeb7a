"""Telling PanDA what became of event ranges: each once.

As with final reports of jobs, a bundle is marked as *sending*, and the mark is committed, before it is given to the
network. If its answer is lost, or we die, or the server answers with the status 500 that it gives after its commit,
PanDA is asked where the job's ranges are; only those of which it has heard nothing go out again. The same question
tells how many ranges were lost with an answer that never came here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from queue import SimpleQueue

from hpcharvest.clock import Clock
from hpcharvest.config.schema import Configuration
from hpcharvest.engine import lifecycle
from hpcharvest.engine.bundles import Bundles
from hpcharvest.engine.effects import Hands, Kind
from hpcharvest.engine.events import Event, RangesReported, RangesUnasked, RangesUnreported
from hpcharvest.engine.range_book import RangeBook
from hpcharvest.engine.turn import Turn
from hpcharvest.errors import HarvestError, ServerRefused, ServerUnreachable
from hpcharvest.model.event_range import Bundle, RangeOutcome
from hpcharvest.model.facts import KillAsked, RangesLost
from hpcharvest.model.ids import BundleId, JobId
from hpcharvest.model.job import Job
from hpcharvest.model.states import BundleState
from hpcharvest.model.words import counted
from hpcharvest.panda.client import PandaClient
from hpcharvest.panda.wire import MAX_REPORTED, fatal_name
from hpcharvest.store.changes import Told
from hpcharvest.store.database import Database

logger = logging.getLogger(__name__)

REPORT, ASK = "report ranges", "where ranges are"
SUSPECT = 2
"""So many tries make a bundle one that goes alone: it may be what others fail for."""
SHARE = 5
"""A question about a job's ranges takes no more than one part in so many of the time, however many it has."""

Batch = tuple[Job, tuple[Bundle, ...]]


class RangeReports:
    """Reports bundles, one batch of one job at a time."""

    def __init__(
        self,
        *,
        configuration: Configuration,
        client: PandaClient,
        database: Database,
        book: RangeBook,
        bundles: Bundles,
        hands: Hands,
        events: SimpleQueue[Event],
        clock: Clock,
        settled: Callable[[Bundle], None],
    ) -> None:
        self._patience = configuration.controller.patience
        self._interval_s = configuration.panda.report_interval_s
        self._queues = configuration.queues
        self._client = client
        self._database = database
        self._book = book
        self._bundles = bundles
        self._hands = hands
        self._events = events
        self._clock = clock
        self._settled = settled
        """Called with every bundle of which PanDA needs to hear nothing more."""
        self._next_send = 0.0
        self._next_question = clock.steady() + self._patience.retry_first_s
        self._in_flight: set[BundleId] = set()
        self._batch: Batch | None = None
        self._limit = MAX_REPORTED
        self._unanswered: dict[JobId, tuple[int, float]] = {}
        """By job: how often in a row a question was not answered, and the steady seconds when to ask again."""

    @property
    def busy(self) -> bool:
        """Whether anything is on its way, or its fate unknown."""
        return bool(self._in_flight) or any(one.state is BundleState.SENDING for one in self._book.bundles.values())

    def pick(self, turn: Turn) -> None:
        """Choose bundles to report next; they are marked in this very turn."""
        now = self._clock.steady()
        if now < self._next_send or self._batch is not None or self._in_flight:
            return
        due = [one for one in self._book.bundles.values() if self._is_due(one, turn)]
        served = (turn.mirror.served.get(one.job) for one in due)
        job = next((one for one in served if one is not None and one.queue in self._queues), None)
        if job is None:
            return
        chosen: list[Bundle] = []
        room = self._limit
        for bundle in due:
            alone = bundle.tries >= SUSPECT or any(one.tries >= SUSPECT for one in chosen)
            if bundle.job == job.id and (not chosen or (bundle.ranges <= room and not alone)):
                room -= bundle.ranges
                self._bundles.move(bundle, turn, BundleState.SENDING)
                chosen.append(turn.changes.bundles[bundle.id])
        self._batch = (job, tuple(chosen))
        self._next_send = now + self._interval_s

    def send(self) -> None:
        """Give the chosen bundles to the network; called when their marks are committed."""
        if self._batch is None:
            return
        (job, bundles), self._batch = self._batch, None
        self._in_flight |= {one.id for one in bundles}
        self._hands.carry_out(Kind.REPORT, REPORT, partial(self._post, job, bundles))

    def settle(self, turn: Turn, unsure: set[JobId], busy: Callable[[JobId], bool]) -> None:
        """Ask PanDA where the ranges of jobs are: of bundles whose answer was lost, and of `unsure` jobs.

        What was lost cannot be told of a job of which an answer is on its way (`busy`).
        """
        now = self._clock.steady()
        if not self._hands.holds(REPORT):
            self._in_flight.clear()  # also what broke in a way that nobody foresaw
        if now < self._next_question or self._hands.holds(ASK):
            return
        sending = [
            one
            for one in self._book.bundles.values()
            if one.state is BundleState.SENDING and one.id not in self._in_flight
        ]
        wanted = [*(one.job for one in sending), *(one for one in unsure if not busy(one))]
        due = {one: again for one in wanted if now >= (again := self._unanswered.get(one, (0, 0.0))[1])}
        job = next((job for one in sorted(due, key=due.__getitem__) if (job := turn.mirror.served.get(one))), None)
        if job is None:
            return
        mine = tuple(one for one in sending if one.job == job.id)
        self._next_question = now + self._patience.retry_first_s
        self._hands.carry_out(Kind.REPORT, ASK, partial(self._ask, job, mine, count=not busy(job.id)))

    def reported(self, event: RangesReported, turn: Turn) -> None:
        """Take PanDA's word: what is settled, what must be repeated, whether it wants the job stopped."""
        for number in event.bundles:
            self._in_flight.discard(number)
            bundle = self._bundles.now(number, turn)
            if bundle is None or bundle.state is not BundleState.SENDING:
                continue
            for taken, ranges in ((True, event.taken.get(number, ())), (False, event.refused.get(number, ()))):
                if ranges:
                    turn.changes.told.append(Told(job=event.job, taken=taken, ranges=ranges))
            if event.left.get(number, 0):
                left = f"{event.left[number]} event ranges are to be told of still"
                self._again(bundle, turn, left, counts=not event.taken.get(number))
            else:
                refused = len(event.refused.get(number, ()))
                problem = f"PanDA refused {refused} event ranges" if refused else ""
                self._bundles.move(bundle, turn, BundleState.SETTLED, problem=problem)
                self._settled(bundle)
        if refusals := sum(len(ranges) for ranges in event.refused.values()):
            logger.error("job %s: PanDA will not hear of %d event ranges", event.job, refusals)
        if event.asked:
            self._unanswered.pop(event.job, None)
        # An answer has all ranges of the job: the more there are, the more reports one question is to settle.
        self._next_question = max(self._next_question, self._clock.steady() + SHARE * event.took_s * event.asked)
        if event.lost is not None:
            self._lost(event.job, event.lost, turn)
        if event.stop:
            turn.tell(KillAsked(job=event.job, by="PanDA", at=turn.now))

    def unreported(self, event: RangesUnreported, turn: Turn) -> None:
        """Keep what was not sent; after what may have arrived, PanDA is asked."""
        # Servers up to 1.0.4 answer every such report with status 500 after they have committed it: no reason to worry.
        many = counted(len(event.bundles), "bundle")
        if event.unsure:
            logger.info("PanDA will be asked whether it took the outcomes of %s: %s", many, event.error)
        else:
            logger.warning("the outcomes of %s were not sent: %s; will try again", many, event.error)
        self._next_send = self._next_question = self._clock.steady() + self._patience.retry_first_s
        for number in event.bundles:
            self._in_flight.discard(number)
            bundle = self._bundles.now(number, turn)
            if bundle is not None and bundle.state is BundleState.SENDING and not event.unsure:
                self._again(bundle, turn, str(event.error), counts=not isinstance(event.error, ServerUnreachable))

    def unasked(self, event: RangesUnasked) -> None:
        """Ask again after ever longer pauses: the answer may be larger than we read, or than the server gives.

        Other jobs do not wait for that: theirs may be answered all the same.
        """
        tries = self._unanswered.get(event.job, (0, 0.0))[0] + 1
        pause = lifecycle.backoff(self._patience, tries)
        self._unanswered[event.job] = (tries, self._clock.steady() + pause)
        logger.warning(
            "job %s: cannot ask where its event ranges are: %s; will ask again in %.0f s", event.job, event.error, pause
        )

    def _is_due(self, bundle: Bundle, turn: Turn) -> bool:
        waits = lifecycle.waits(bundle.not_before, turn.now, self._patience)
        return bundle.state is BundleState.STORED and bundle.id not in turn.changes.bundles and not waits

    def _again(self, bundle: Bundle, turn: Turn, problem: str, *, counts: bool) -> None:
        tries = bundle.tries + counts
        wait = turn.now + lifecycle.backoff(self._patience, tries) if tries else 0.0
        self._bundles.move(bundle, turn, BundleState.STORED, tries=tries, not_before=wait, problem=problem[:500])

    def _lost(self, job: JobId, number: int, turn: Turn) -> None:
        known = turn.job(job)
        if known is not None and number > known.ranges_lost:
            logger.error("job %s: %d event ranges were lost with an answer of PanDA's, until the job ends", job, number)
        turn.tell(RangesLost(job=job, number=number, at=turn.now))

    # --- in the threads of the hands ------------------------------------------------------------------------------

    def _post(self, job: Job, bundles: Sequence[Bundle]) -> None:
        numbers = tuple(one.id for one in bundles)
        try:
            letters = [(one, self._database.event_ranges.untold(one.id, self._limit)) for one in bundles]
            section = self._queues[job.queue].payload.event_ranges
            answer = self._client.update_ranges(letters, objstore_id=section.objstore_id if section else 0)
            left = {one.id: self._database.event_ranges.untold_count(one.id) for one in bundles}
        except HarvestError as error:
            unsure = not isinstance(error, ServerUnreachable | ServerRefused)
            self._events.put(RangesUnreported(bundles=numbers, unsure=unsure, error=error))
            return
        words = iter(answer.taken)
        said = {one.id: [(each.id, next(words)) for each in outcomes] for one, outcomes in letters}
        taken = {number: tuple(name for name, word in rows if word is True) for number, rows in said.items()}
        refused = {number: tuple(name for name, word in rows if word is False) for number, rows in said.items()}
        left = {number: left[number] - len(taken[number]) - len(refused[number]) for number in numbers}
        self._events.put(
            RangesReported(job=job.id, bundles=numbers, taken=taken, refused=refused, left=left, stop=answer.stop)
        )

    def _ask(self, job: Job, bundles: Sequence[Bundle], *, count: bool) -> None:
        began = self._clock.steady()
        try:
            there = self._client.range_statuses(job.spec)
            # Only what waits for an outcome can be lost: of the others, we told.
            waiting = (name for name, told in there.items() if not told)
            lost = self._database.event_ranges.unknown(job.id, waiting) if count else None
            fates = {one.id: fate(self._database.event_ranges.untold(one.id, one.ranges), there) for one in bundles}
        except HarvestError as error:
            self._events.put(RangesUnasked(job=job.id, error=error))
            return
        self._events.put(
            RangesReported(
                job=job.id,
                bundles=tuple(fates),
                taken={number: fate[0] for number, fate in fates.items()},
                refused={number: fate[1] for number, fate in fates.items()},
                left={number: fate[2] for number, fate in fates.items()},
                lost=lost,
                asked=True,
                took_s=self._clock.steady() - began,
            )
        )


def fate(outcomes: Sequence[RangeOutcome], there: Mapping[str, bool]) -> tuple[tuple[str, ...], tuple[str, ...], int]:
    """Say which ranges PanDA has heard of, which are not the job's any more, and how many are left.

    `there`: whether it has heard of a range, by its name. An earlier attempt of the same range, of which it has heard
    too, has another name and says nothing.
    """
    heard = [(one.id, there.get(one.id, there.get(fatal_name(one.id)))) for one in outcomes]
    taken = tuple(name for name, told in heard if told)
    gone = tuple(name for name, told in heard if told is None)
    return taken, gone, len(outcomes) - len(taken) - len(gone)
