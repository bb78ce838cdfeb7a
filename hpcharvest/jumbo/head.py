"""The head: the loop that starts what fits, watches it, and tells the journal. One thread, asleep when nothing happens.

Times here are steady seconds; only what goes into records is wall seconds.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import logging
import math
import os
import signal
from collections.abc import Callable, Collection, Sequence
from typing import Final

from hpcharvest.clock import Clock
from hpcharvest.errors import StorageUnavailable
from hpcharvest.jumbo import command, drain, gpus, kin, slot, tarball, verdict
from hpcharvest.jumbo.bell import Bell, ended_children
from hpcharvest.jumbo.event_service import EventService, NoEventService
from hpcharvest.jumbo.links.link import HeadLink
from hpcharvest.jumbo.pen import Pen
from hpcharvest.jumbo.pool import Place, Pool
from hpcharvest.jumbo.slot import Slot
from hpcharvest.jumbo.surroundings import Surroundings
from hpcharvest.jumbo.verdict import Stop
from hpcharvest.messenger.mailbox import Mailbox
from hpcharvest.messenger.protocol import (
    KILL_ALL,
    ExitCode,
    Key,
    Manifest,
    PayloadEnded,
    PayloadStarted,
    Record,
    RunnerLeft,
    Task,
    kill_name,
    leave_name,
)
from hpcharvest.model.job import PayloadOutcome
from hpcharvest.model.states import PayloadResult

log = logging.getLogger(__name__)

GOODBYE_PATIENCE_S: Final = 600.0
"""How long to try to publish the last segment, if nothing else ends us."""

SHORTEST_BEAT_S: Final = 0.05

FOR_NODES: Final = 0.8
"""The share of the last seconds that the nodes of event ranges have; the rest is for the journal."""

START_S: Final = 30.0
"""Seconds that an allocation's start may take off the time of a payload as long as the allocation itself."""


class Head:
    """Runs a manifest's tasks, after its pen has won the start."""

    def __init__(
        self,
        manifest: Manifest,
        surroundings: Surroundings,
        mailbox: Mailbox,
        pen: Pen,
        clock: Clock,
        *,
        life: int = 0,
        known: Sequence[Record] = (),
        mpi: HeadLink | None = None,
    ) -> None:
        """`life`, `known`: which head of this start it is, and what the journal says already.

        `mpi`: the link to the other nodes, if they are ranks.
        """
        self._manifest = manifest
        self._surroundings = surroundings
        self._mailbox = mailbox
        self._pen = pen
        self._clock = clock
        now = clock.steady()
        left_s = None if surroundings.deadline is None else surroundings.deadline - clock.wall()
        self._end = math.inf if left_s is None else now + left_s
        self._leave_at = drain.leave_at(now, left_s, manifest.margin_s)
        self._next_beat = now
        self._pool = Pool(
            surroundings.nodes, manifest.cores_per_node, manifest.memory_mb_per_node, manifest.gpus_per_node
        )
        self._running: dict[int, Slot] = {}
        self._packing: dict[int, tuple[Slot, PayloadOutcome]] = {}
        self._alarms: list[tuple[float, int, Callable[[], None]]] = []
        self._serial = itertools.count()
        self._notes: frozenset[str] = frozenset()
        self._leaving = ""
        # The allocation was sized for its tasks: the seconds that its start took must not make them all too long.
        self._first_round = True
        self._environment = dict(os.environ)
        self._ranges = self._event_service(life, known, mpi)

    def run(self, done: Collection[Key]) -> ExitCode:
        """Run all tasks but those `done`, say goodbye, and tell how to exit."""
        tasks = {task.key: task for task in self._manifest.tasks if task.key not in done}
        for task in self._pool.add(tasks.values()):
            self._conclude(task, Stop(PayloadResult.NOT_RUN, _misfit(task, self._manifest, self._surroundings)))
        with contextlib.ExitStack() as stack:
            bell = stack.enter_context(Bell())
            self._stdin = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, self._stdin)
            stack.callback(self._ranges.close)
            self._ranges.begin(self._clock.steady())
            self._work(bell)
            return self._say_goodbye(bell)

    def _event_service(self, life: int, known: Sequence[Record], mpi: HeadLink | None) -> NoEventService:
        if not self._manifest.event_tasks:
            return NoEventService()
        return EventService(
            self._manifest,
            self._surroundings,
            self._mailbox,
            self._pen,
            self._clock,
            environment=self._environment,
            life=life,
            known=known,
            leave_at=self._leave_at,
            mpi=mpi,
        )

    def _work(self, bell: Bell) -> None:
        while not self._pen.fenced:
            self._tick()
            self._start_what_fits()
            if not (self._running or self._packing or len(self._pool) or self._ranges.busy(self._clock.steady())):
                return
            bell.listen(self._ranges.filenos())
            bell.wait(self._next_event() - self._clock.steady())
            if bell.asked_to_leave:
                self._leave(f"the runner was told to leave by {bell.asked_to_leave.name}")
            self._bury()

    def _next_event(self) -> float:
        alarm = self._alarms[0][0] if self._alarms else math.inf
        leave = math.inf if self._leaving else self._leave_at
        return min(self._next_beat, alarm, leave, self._pen.due or math.inf, self._ranges.next_event())

    def _tick(self) -> None:
        """Do what is due now."""
        now = self._clock.steady()
        if now >= self._leave_at:
            self._leave("the end of the allocation is near", at_end=True)
        while self._alarms and self._alarms[0][0] <= now:
            heapq.heappop(self._alarms)[2]()
        if now >= self._next_beat:
            self._next_beat = now + max(self._manifest.heartbeat_s, SHORTEST_BEAT_S)
            self._beat()
        if self._pen.due is not None and now >= self._pen.due:
            self._pen.flush(now)
        self._ranges.tick(now)

    def _beat(self) -> None:
        """Show that we are alive, and look what the controller wants."""
        try:
            self._mailbox.beat()
            notes = self._mailbox.kill_notes()
            self._pen.listen()
        except StorageUnavailable as error:
            log.warning("the controller cannot be heard: %s", error)
            return
        fresh, self._notes = notes - self._notes, notes
        if fresh:
            self._obey(fresh)

    def _obey(self, notes: frozenset[str]) -> None:
        if KILL_ALL in notes:
            self._leave("the controller asked the runner to leave")
        if leave_name(self._surroundings.restart) in notes:
            self._leave("the runner was told to leave by a signal")
        stop = Stop(PayloadResult.KILLED, "the controller asked for it")
        for task in self._manifest.tasks:
            if kill_name(task.job, task.attempt) in notes and self._pool.withdraw(task.key):
                self._conclude(task, stop)
        running = self._running.values()
        self._stop([one for one in running if kill_name(one.task.job, one.task.attempt) in notes], stop)
        self._ranges.obey(notes)

    def _start_what_fits(self) -> None:
        if self._leaving or self._pen.fenced:
            return
        if not self._first_round:
            for task in self._pool.too_long(self._leave_at - self._clock.steady()):
                self._conclude(task, Stop(PayloadResult.NOT_RUN, "its time limit is more than the allocation has left"))
        self._first_round = False
        while found := self._pool.take():
            self._start(*found)
        self._ranges.give(self._pool.give_away())

    def _start(self, task: Task, place: Place) -> None:
        surroundings = self._surroundings
        mark = kin.Mark(self._manifest.tag, surroundings.restart, task.job, task.attempt)
        here = surroundings.is_here(place.nodes[0])
        argv = command.words(task, place.nodes, self._manifest.launcher, here=here)
        launched = command.is_launched(argv, task)
        argv = command.witnessed(argv, task) if launched else argv
        alone = here and len(place.nodes) == 1
        bound = gpus.bound(self._manifest, place.gpus, self._environment, here=alone)
        environment = {**self._environment, **task.env, **bound, kin.MARK_VARIABLE: str(mark)}
        process = slot.start(task, argv, environment, self._stdin)
        if isinstance(process, Stop):
            self._pool.give_back(place)
            self._conclude(task, process, node=",".join(place.nodes))
            return
        at = self._clock.wall()
        one = Slot(task=task, place=place, mark=mark, process=process, started_at=at, launched=launched)
        self._running[process.pid] = one
        started = PayloadStarted(at=at, job=task.job, attempt=task.attempt, node=one.node)
        self._pen.add(started, self._clock.steady())
        if task.walltime_s:
            too_long = Stop(PayloadResult.TIMED_OUT, f"the payload passed its time limit of {task.walltime_s} s")
            self._later(task.walltime_s, lambda: self._stop([one], too_long))

    def _bury(self) -> None:
        for pid in ended_children():
            if pid in self._running:
                self._ended(self._running.pop(pid))
            elif pid in self._packing:
                _, status = os.waitpid(pid, 0)
                one, outcome = self._packing.pop(pid)
                self._packed(one, outcome, os.waitstatus_to_exitcode(status))
            elif not self._ranges.bury(pid, self._clock.steady()):
                os.waitpid(pid, 0)  # an orphan that became ours

    def _ended(self, one: Slot) -> None:
        outcome = verdict.judge(one.task, one.node, one.reap(self._clock.wall()), one.stop, launched=one.launched)
        if one.task.log is None or outcome.result is PayloadResult.NOT_RUN:
            self._finish(one, outcome)
            return
        try:
            if not tarball.is_small(one.task):
                self._packing[tarball.fork_to_pack(one.task)] = one, outcome
                return
            tarball.pack(one.task)
        except OSError as error:
            self._packed(one, outcome, error.errno or 1)
        else:
            self._packed(one, outcome, 0)

    def _packed(self, one: Slot, outcome: PayloadOutcome, code: int) -> None:
        self._finish(one, verdict.with_log(outcome, code))

    def _finish(self, one: Slot, outcome: PayloadOutcome) -> None:
        self._pool.give_back(one.place)
        self._tell(one.task, outcome)

    def _conclude(self, task: Task, stop: Stop, node: str = "") -> None:
        self._tell(task, verdict.never_ran(stop, node, self._clock.wall()))

    def _tell(self, task: Task, outcome: PayloadOutcome) -> None:
        ended = PayloadEnded(at=self._clock.wall(), job=task.job, attempt=task.attempt, outcome=outcome)
        self._pen.add(ended, self._clock.steady())

    def _later(self, seconds: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._alarms, (self._clock.steady() + seconds, next(self._serial), act))

    def _stop(self, slots: list[Slot], why: Stop) -> None:
        """Ask payloads to stop, and kill them if they do not."""
        fresh = [one for one in slots if one.process.returncode is None and one.stop is None]
        if not fresh:
            return
        for one in fresh:
            one.stop = why
        self._signal(fresh, signal.SIGTERM)
        self._later(self._manifest.kill_grace_s, lambda: self._signal(fresh, signal.SIGKILL))

    def _signal(self, slots: Collection[Slot], number: signal.Signals) -> None:
        leaders = {one.process.pid for one in slots if one.process.returncode is None}
        kin.send(kin.family(leaders, [one.mark for one in slots]), number)

    def _leave(self, reason: str, *, at_end: bool = False) -> None:
        if self._leaving:
            return
        self._leaving = reason
        log.info("leaving: %s", reason)
        stop = Stop(PayloadResult.NOT_RUN, reason)
        for task in self._pool.clear():
            self._conclude(task, stop)
        now = self._clock.wall()
        running = self._running.values() if at_end else ()
        spent = [one for one in running if drain.spent(one.task.walltime_s, now - one.started_at, START_S)]
        self._stop(spent, Stop(PayloadResult.TIMED_OUT, "its time limit, but for the seconds that the start took"))
        self._stop(list(self._running.values()), stop)
        patience_s = self._manifest.margin_s if at_end else 2 * self._manifest.kill_grace_s
        steady = self._clock.steady()
        self._ranges.leave(reason, steady, FOR_NODES * min(patience_s, self._end - steady))
        self._later(self._manifest.kill_grace_s, lambda: kin.send(self._packing, signal.SIGKILL))

    def _say_goodbye(self, bell: Bell) -> ExitCode:
        """End every process that is still ours, and publish the last segment."""
        in_vain = len(self._running) + len(self._packing)  # if we are fenced: else there are none
        kin.send(kin.of_this_start(self._manifest.tag, self._surroundings.restart), signal.SIGKILL)
        kin.send(self._packing, signal.SIGKILL)
        now = self._clock.steady()
        patience_until = min(self._end, now + GOODBYE_PATIENCE_S)
        self._pen.add(RunnerLeft(at=self._clock.wall(), reason=self._leaving or "everything was run"), now)
        while not self._pen.fenced and self._pen.due is not None:
            self._pen.flush(now)
            if now > patience_until:
                log.error("the journal could not be written: what is missing in it never counts")
                return ExitCode.UNPUBLISHED
            if self._pen.due is not None:
                bell.wait(self._pen.due - now)
            now = self._clock.steady()
        if not self._pen.fenced:
            return ExitCode.LEFT
        self._note_in_vain(in_vain + self._pen.unsaid())
        return ExitCode.FENCED

    def _note_in_vain(self, payloads: int) -> None:
        log.error("somebody else took or closed the journal: leaving; %s payloads ran in vain", payloads)
        try:
            self._mailbox.leave_cut_off(self._surroundings.restart, payloads)
        except StorageUnavailable as error:
            log.warning("nobody will know of it: %s", error)


def _misfit(task: Task, manifest: Manifest, surroundings: Surroundings) -> str:
    return (
        f"it needs {task.nodes} nodes with {task.cores} cores, {task.memory_mb} MB and {task.gpus} GPUs, but the "
        f"allocation has {len(surroundings.nodes)} with {manifest.cores_per_node}, "
        f"{manifest.memory_mb_per_node or 'unknown'} and {manifest.gpus_per_node}"
    )
