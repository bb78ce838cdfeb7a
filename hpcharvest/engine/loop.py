"""The loop: one thread, one queue. Takes what happened, decides, commits, and only then acts.

A turn goes like this. Everything in the queue is taken (up to a limit); each piece changes records through
`lifecycle.apply`; what follows at once (new allocations, the next batch of reports) is decided on top; all of it goes
into one transaction. When that is committed, the commands that follow from the new states are carried out by other
threads, which put what comes of it into the queue. Nothing else changes state.
"""

from __future__ import annotations

import heapq
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from hpcharvest.clock import Clock
from hpcharvest.config.schema import Controller
from hpcharvest.engine import events as happened
from hpcharvest.engine import lifecycle
from hpcharvest.engine.allocations import Allocations
from hpcharvest.engine.dag import DagWindow
from hpcharvest.engine.effects import Hands
from hpcharvest.engine.event_ranges import EventRanges
from hpcharvest.engine.events import Event
from hpcharvest.engine.intake import Intake
from hpcharvest.engine.mirror import Mirror
from hpcharvest.engine.reports import Reports
from hpcharvest.engine.requests import Requests
from hpcharvest.engine.strays import Strays
from hpcharvest.engine.sweeper import Sweeper
from hpcharvest.engine.turn import Turn
from hpcharvest.engine.watchdog import Watchdog
from hpcharvest.errors import StoreError
from hpcharvest.model import facts
from hpcharvest.model.commands import StartDag, StopPayload
from hpcharvest.model.ids import JobId
from hpcharvest.model.job import Job
from hpcharvest.model.states import AllocationState, BatchState
from hpcharvest.store.database import Database

logger = logging.getLogger(__name__)

TICK_S = 1.0
"""Seconds between two turns at the most: timers have this grain."""
COMMIT_PAUSE_S = 2.0
"""Seconds before a database that failed is tried again."""
STOP_PAUSE_S = 10.0
"""Seconds before a payload that is still there is asked to stop once more."""


_SIMPLE = (facts.Fact, happened.DagEnded, happened.EffectEnded, happened.StopAsked)
"""Events that change one thing, as their last act; all others may break halfway, and are undone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """Who works for the loop, and the records that they share."""

    database: Database
    mirror: Mirror
    hands: Hands
    sweeper: Sweeper
    dags: DagWindow
    intake: Intake
    allocations: Allocations
    ranges: EventRanges
    strays: Strays
    reports: Reports
    requests: Requests
    watchdog: Watchdog


class Loop:
    """The engine's heart, put together by `engine.service`."""

    def __init__(
        self,
        crew: Crew,
        *,
        settings: Controller,
        events: SimpleQueue[Event],
        clock: Clock,
        around_commit: Callable[[str], None],
        stop_asked: threading.Event,
    ) -> None:
        self._crew = crew
        self._settings = settings
        self._events = events
        self._clock = clock
        self._around_commit = around_commit
        self._stop_asked = stop_asked
        """Set when somebody asks us to stop, also while the queue is not looked at."""
        self._timers: list[tuple[float, JobId]] = []
        self._plan_in = float("inf")
        self.stopping = ""
        self._handlers: dict[type[Any], Callable[[Any, Turn], None]] = {
            happened.Fetched: self._fetched,
            happened.FetchFailed: lambda event, _: crew.intake.failed(event),
            happened.AnswerKept: self._answer_kept,
            happened.ReportsAnswered: crew.reports.answered,
            happened.ReportsFailed: crew.reports.failed,
            happened.FateKnown: crew.reports.fate_known,
            happened.SegmentArrived: crew.allocations.read,
            happened.StraysSeen: crew.strays.seen,
            happened.DagEnded: self._dag_ended,
            happened.EffectEnded: lambda event, _: crew.hands.ended(event.key),
            happened.StopAsked: self._stop,
            **crew.ranges.handlers(),
        }

    def run(self, idle: Callable[[], bool]) -> None:
        """Turn until somebody asks to stop, or `idle` says that there is nothing to do."""
        while not self.stopping and not idle():
            self.turn(self._gather())

    def turn(self, batch: list[Event]) -> None:
        """Let a batch of events change the records, commit, and act on what follows."""
        self._crew.watchdog.check_lease()
        turn = Turn(self._crew.mirror, self._crew.database, self._settings.patience, self._clock.wall())
        for event in batch:
            self._handle(event, turn)
        if not self.stopping:
            self._patiently(lambda: self._decide(turn))
        self._commit(turn)
        self._patiently(lambda: self._act(turn))

    def last_turn(self) -> None:
        """Commit what the hands and Parsl's threads brought while they were let go; act on nothing any more."""
        self.stopping = self.stopping or "done"
        while batch := self._take_all([]):
            self.turn(batch)
        self._crew.sweeper.finish()

    def quiet(self) -> bool:
        """Whether nothing is left to do but to wait for others."""
        return (
            self._events.empty()
            and not self._crew.hands.busy
            and not self._crew.dags.moving()
            and self._crew.intake.asked_all
            and self._crew.ranges.quiet(self._crew.mirror.served.values(), self._crew.mirror.allocations.values())
            and self._reports_wait() > TICK_S
            and self._plan_in > TICK_S
        )

    def _handle(self, event: Event, turn: Turn) -> None:
        """Let one event change the records: wholly, or, if something breaks that nobody foresaw, not at all.

        What breaks must not keep the others from being heard; while the database cannot be read, it waits.
        """
        mark = None if isinstance(event, _SIMPLE) else turn.mark()
        try:
            self._patiently(lambda: self._dispatch(event, turn), lambda: turn.back_to(mark))
        except StoreError:
            raise
        except Exception:
            logger.exception("%s could not be taken in, and is passed over", type(event).__name__)
            turn.back_to(mark)

    def _patiently(self, act: Callable[[], object], undo: Callable[[], object] = lambda: None) -> None:
        """Do what asks the database, however long that takes: a pause in which it cannot be asked loses nothing."""
        while True:
            try:
                act()
            except StoreError as error:
                if not error.transient or self._stop_asked.is_set():
                    raise
                logger.error("the database does not answer: %s; nothing is lost, trying again", error)  # noqa: TRY400 - its words suffice
                undo()
                self._crew.watchdog.pause(COMMIT_PAUSE_S)
            else:
                return

    def _dispatch(self, event: Event, turn: Turn) -> None:
        if isinstance(event, facts.JobFact):
            turn.tell(event)
        elif isinstance(event, facts.AllocationFact):
            turn.tell_allocation(event)
            if isinstance(event, facts.BatchReported) and event.state is not BatchState.UNKNOWN:
                self._crew.allocations.heard(event)
        else:
            self._handlers[type(event)](event, turn)

    def _decide(self, turn: Turn) -> None:
        """Decide what nobody asked for but the state of things."""
        self._crew.watchdog.look(turn)
        self._crew.requests.carry_out(turn)
        self._crew.ranges.decide(turn)
        self._crew.allocations.withdraw_empty(turn)
        self._crew.allocations.name_ends(turn)
        self._plan_in = self._crew.allocations.plan(turn)
        self._crew.allocations.plan_for_ranges(turn)
        self._crew.allocations.begin(turn)
        self._crew.reports.pick(turn)

    def _commit(self, turn: Turn) -> None:
        """Commit, however long it takes: without the database nothing may be done."""
        if not turn.changes:
            return
        self._around_commit("before")
        self._crew.watchdog.check_lease()
        self._patiently(lambda: self._crew.database.commit(turn.changes))
        self._crew.mirror.follow(turn.changes)
        self._patiently(lambda: self._crew.ranges.follow(turn))
        for job in turn.changes.new_jobs.values():
            if job.spec.merge_of is not None:
                self._crew.intake.begun(job.queue)
        for job in turn.changes.jobs.values():
            if job.state.final:
                self._crew.intake.finished(job.queue)
        self._around_commit("after")

    def _act(self, turn: Turn) -> None:
        """Set in motion what follows from what is committed. Who stops leaves it to the next start."""
        if self.stopping:
            return
        self._crew.reports.send()
        self._crew.ranges.act(turn)
        for answer in turn.changes.answers:
            self._events.put(happened.AnswerKept(answer=answer))
        begun = {one.id for one in turn.changes.allocations.values() if one.state is AllocationState.INTENDED}
        for allocation in turn.changes.allocations.values():
            self._crew.allocations.follow(allocation)
        for job_id in turn.touched:
            job = self._crew.mirror.jobs.get(job_id)
            if job is None and self._crew.dags.holds(job_id):
                job = turn.job(job_id)  # it is over and forgotten, but its DAG must still be told
            if job is not None:
                self._follow(job, turn)
        for allocation in list(self._crew.mirror.allocations.values()):
            self._crew.allocations.issue(allocation, turn, begun=allocation.id in begun and allocation.submissions > 0)
        self._wake_sleepers(turn)
        self._fill_window(turn)
        self._crew.reports.settle(turn)
        self._crew.intake.ask()
        self._crew.sweeper.sweep()

    def _follow(self, job: Job, turn: Turn, *, waited: bool = False) -> None:
        """Set in motion what follows from a job's committed state. `waited`: it comes from those that wait longest."""
        self._crew.dags.follow(job)
        if job.state.final:
            return
        command = lifecycle.next_command(job, turn.now, turn.patience)
        match command:
            case StopPayload():
                self._crew.allocations.stop_payload(command.job, command.attempt, command.allocation)
                pause = min(STOP_PAUSE_S, turn.patience.retry_max_s)
                heapq.heappush(self._timers, (turn.now + pause, job.id))
            case StartDag():
                if self._crew.dags.start(job, waited=waited):
                    self._crew.mirror.keep(job.id)
                else:
                    self._crew.mirror.drop(job.id)
            case None:
                heapq.heappush(self._timers, (job.not_before, job.id))

    def _wake_sleepers(self, turn: Turn) -> None:
        """Look again after jobs whose time to wait is over."""
        due: dict[JobId, None] = {}
        while self._timers and not lifecycle.waits(self._timers[0][0], turn.now, turn.patience):
            due[heapq.heappop(self._timers)[1]] = None
        for job_id in due:
            if job := self._crew.mirror.jobs.get(job_id):
                self._follow(job, turn)

    def _fill_window(self, turn: Turn) -> None:
        """Bring waiting jobs from the database into the window, as many as it has room for."""
        for job in self._crew.dags.next_waiting(self._crew.database, self._crew.mirror):
            self._crew.mirror.add(job)
            self._follow(job, turn, waited=True)

    def _fetched(self, event: happened.Fetched, turn: Turn) -> None:
        self._crew.intake.keep(event, turn)
        self._crew.ranges.fetched(event)

    def _answer_kept(self, event: happened.AnswerKept, turn: Turn) -> None:
        who = self._crew.intake if event.answer.job is None else self._crew.ranges
        who.parse(event, turn)

    def _dag_ended(self, event: happened.DagEnded, turn: Turn) -> None:
        self._crew.dags.ended(event.job)
        turn.touched[event.job] = None

    def _stop(self, event: happened.StopAsked, _turn: Turn) -> None:
        logger.info("stopping: %s; allocations go on", event.why)
        self.stopping = event.why
        self._crew.intake.stopped = True

    def _gather(self) -> list[Event]:
        """Wait for something to happen, or for a timer; take all there is."""
        try:
            first = self._events.get(timeout=self._pause())
        except Empty:
            return []
        return self._take_all([first])

    def _take_all(self, batch: list[Event]) -> list[Event]:
        """Add to a batch what is in the queue, up to the limit of a turn."""
        with suppress(Empty):
            while len(batch) < self._settings.loop_batch:
                batch.append(self._events.get_nowait())
        return batch

    def _pause(self) -> float:
        timers = self._timers[0][0] - self._clock.wall() if self._timers else TICK_S
        steady = self._clock.steady()
        wait = min(TICK_S, self._plan_in, timers, self._reports_wait(), self._crew.intake.next_at() - steady)
        return max(wait, 0.005)

    def _reports_wait(self) -> float:
        return self._crew.reports.next_at(self._crew.mirror) - self._clock.steady()
