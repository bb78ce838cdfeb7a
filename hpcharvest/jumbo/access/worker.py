"""A payload that is served by panda-harvester's files: a worker, in its words.

It may have several jobs; `files` gives each of them its slot. One loop drives it: it never blocks and has no thread.
What is said is in `talk`, when and how its process ends in `life`, what it has of each job in `ledger`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hpcharvest.clock import Clock, SystemClock
from hpcharvest.errors import MessageNotUnderstood, UnsafeName
from hpcharvest.jumbo.access.life import Life
from hpcharvest.jumbo.access.point import Pace
from hpcharvest.jumbo.access.talk import Talk
from hpcharvest.jumbo.slots.slot import Failed, Leased
from hpcharvest.messenger.ranges import EventTask
from hpcharvest.model.ids import JobId

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Where and how a worker is served. Times in seconds."""

    folder: str
    """Its access point: absolute, on the shared file system, of nobody else's name."""
    environment: Mapping[str, str]
    mark: str
    """Of all its processes and of nobody else, as in `kin`."""
    pace: Pace
    """One for all slots of the node."""
    clock: Clock = field(default_factory=SystemClock)
    """For the names of files that were taken in."""
    scratch: str = ""
    """A folder of the node's own into which archives are unpacked; empty: that is done beside them."""
    roots: tuple[str, ...] = ()
    """Folders in which outputs may lie, beside the access point."""
    grace_s: float = 10.0
    """From SIGTERM to SIGKILL; also what a payload has that says that it is at its end."""
    quickest_s: float = 0.1
    """From one look at the folder to the next, when something happens;"""
    slowest_s: float = 5.0
    """and when nothing does. The pace may make both longer."""
    gather_s: float = 0.2
    """How long ranges are gathered when there are fewer than were asked for."""


class Worker:
    """Serves one payload process. `tasks`: its jobs; it knows of the first, and of others when it asks for jobs."""

    def __init__(self, tasks: Sequence[EventTask], setting: Setting) -> None:
        self.talk = Talk(
            setting.folder,
            tasks,
            setting.clock,
            scratch=setting.scratch,
            roots=setting.roots,
            gather_s=setting.gather_s,
        )
        self.life = Life(tasks[0], setting.environment, setting.mark, setting.grace_s)
        self.over = False
        self._setting = setting
        self._interval_s = setting.quickest_s
        self._look_at = -math.inf
        self._looked_at = -math.inf
        self._heard_all = False
        self._dead = False
        """Whether there is no process, and somebody is to hear why."""
        self._dead_by_us = False

    @property
    def fruitful(self) -> bool:
        """Whether anything came of a range."""
        return any(desk.ledger.heard for desk in self.talk.desks.values())

    def start(self, now: float) -> None:
        """Start the payload. What cannot be started has room for one range of each job, which fails with the reason."""
        try:
            self.talk.begin(next(iter(self.talk.desks)))
        except OSError as error:
            self._die(f"the payload's access point cannot be made: {error.strerror}", ours=True)
        except (UnsafeName, MessageNotUnderstood) as error:
            self._die(f"the payload cannot be started: {error}", ours=False)
        else:
            problem = self.life.start(self._setting.folder, now)
            if problem:
                self._die(problem.words, ours=problem.ours)
        self._setting.pace.spend(self.talk.spent(), now)

    def next_event(self) -> float:
        """Steady seconds when `serve` is to be called although nothing happened; infinity: never."""
        desks = self.talk.desks.values()
        if self.over or self._dead:
            return math.inf
        if any(not desk.settled for desk in desks):
            return 0.0
        if self.life.code is not None:
            return self._look_at
        return min(self.life.next_event(), math.inf if self._heard_all else self._due())

    def room(self, job: JobId) -> int:
        """Give how many more ranges of this job it would take now."""
        desk = self.talk.desks[job]
        if desk.broken:
            return 1
        closed = desk.closing or self.life.leaving or self.life.halted or self.life.code is not None or self.over
        return 0 if closed else desk.ledger.room

    def serve(self, now: float) -> None:
        """Do what is due. Outcomes are left in the outboxes of the desks."""
        if self.over or self._dead:
            return
        ended = self.life.ended(now)
        due = ended or now >= min(self._due(), self.life.next_event())
        if due and not self._heard_all:
            self._look_carefully(now)
        self.life.press(now)
        if self.life.halted and not ended:
            self._heard_all = True  # what it says from now on does not count
        for desk in self.talk.desks.values():
            desk.outbox += desk.inspector.step()
        if ended and self._heard_all and not any(desk.inspector.busy for desk in self.talk.desks.values()):
            self._conclude(now)

    def give(self, job: JobId, leased: Leased, now: float) -> None:
        """Take a range for the payload; `room` was more than 0."""
        desk = self.talk.desks[job]
        if desk.broken:
            desk.outbox.append(Failed(leased=leased, error=desk.broken, wall_s=0.0, ours=self._dead_by_us))
            self._close(job)
            return
        desk.ledger.give(leased)
        desk.gathering_since = min(desk.gathering_since, now)

    def finish(self, job: JobId) -> None:
        """Say that no more ranges of this job come."""
        if not self.talk.desks[job].closing:
            self._look_at = -math.inf
        self._close(job)

    def stop(self, job: JobId, ranges: Sequence[Leased], reason: str, now: float) -> None:
        """Give back what the payload has not got yet; if it has some, end it. None named and none held: end it."""
        desk, wanted = self.talk.desks[job], {leased.range.id for leased in ranges}
        back = desk.ledger.withdraw(wanted)
        desk.outbox += [Failed(leased=leased, error=reason, wall_s=0.0, ours=True) for leased in back]
        idle = not ranges and not any(other.ledger.held for other in self.talk.desks.values())
        if self._dead:
            self._close(job)
        elif (idle or desk.ledger.has_out(wanted)) and not self.life.halted and not self.life.ended(now):
            self._look_carefully(now)  # what it said until now counts, and nothing of what it says later
            self._heard_all = True
            self.life.halt(reason, now, blame=False)

    def _due(self) -> float:
        """Steady seconds when the access point is to be looked at.

        What was gathered before the last look could not be written then, and waits like everything else.
        """
        gathered_at = self.talk.gathered_at()
        wanted_at = self._look_at if gathered_at <= self._looked_at else min(self._look_at, gathered_at)
        return max(wanted_at, self._setting.pace.ready_at())

    def _look_carefully(self, now: float) -> None:
        """Look what is new; where the storage does not play, look again later."""
        ended, fresh = self.life.ended(now), False
        try:
            self.talk.acknowledge()
            fresh = self._look(now, ended=ended)
            self._heard_all |= ended and not fresh and self.talk.all_acknowledged
        except OSError as error:
            log.warning("the access point %s cannot be used just now: %s", self._setting.folder, error)
            self._heard_all |= ended and self.life.out_of_patience(now)
        longer_s = min(self._setting.slowest_s, self._interval_s * 2)
        self._interval_s = self._setting.quickest_s if fresh else longer_s
        self._looked_at, self._look_at = now, now + self._interval_s
        self._setting.pace.spend(self.talk.spent(), now)

    def _look(self, now: float, *, ended: bool) -> bool:
        """Do once all that the files ask for; tell whether there was anything new."""
        seen = self.talk.top.look()
        fresh = self.talk.hear(seen, now)
        fresh |= self.life.heed(self.talk.top, seen, now)
        if not (ended or self.life.leaving or self.life.halted):
            fresh |= self.talk.answer(seen, now)
        return fresh

    def _conclude(self, now: float) -> None:
        """Say what becomes of the ranges that the payload never told of."""
        life, desks = self.life, self.talk.desks.values()
        if not (life.halted or life.leaving or self.talk.has_asked or any(desk.closing for desk in desks)):
            self._die(f"{life.last_words()} and never asked for ranges", ours=False)
            return
        blame = life.blamed and (life.code != 0 or not self.fruitful)
        for desk in desks:
            desk.outbox += desk.ledger.end(now, life.last_words(), blame=blame)
        self.over = True

    def _die(self, problem: str, *, ours: bool) -> None:
        """Let the next range of each job fail, as that is how one hears of a payload that can do nothing."""
        log.warning("job %s: %s", ",".join(map(str, self.talk.desks)), problem)
        self._dead, self._dead_by_us = True, ours
        for desk in self.talk.desks.values():
            desk.broken = problem

    def _close(self, job: JobId) -> None:
        desk = self.talk.desks[job]
        desk.closing, desk.broken = True, ""
        if self._dead and not any(other.broken for other in self.talk.desks.values()):
            self.over = True
