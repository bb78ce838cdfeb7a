"""The agent: what a node says to its head, and what it does with the ranges that it gets.

Its effects are all in what is passed in: the link, the slots, and whoever keeps the outputs. So it runs on virtual time
as well as on a node. A range becomes *told* only after its outcome is durable in the node's spool.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from hpcharvest.errors import MessageNotUnderstood
from hpcharvest.jumbo.links.link import NodeLink
from hpcharvest.jumbo.links.messages import (
    Ack,
    Archived,
    Ask,
    Beat,
    Bye,
    HeadMessage,
    Hello,
    Lease,
    Leave,
    Recall,
    Slots,
    Stop,
    Told,
    Welcome,
)
from hpcharvest.jumbo.node import appetite, lease
from hpcharvest.jumbo.node.crew import Crew, SlotMaker
from hpcharvest.jumbo.node.outputs import Kept, Outputs
from hpcharvest.jumbo.node.unheard import Unheard
from hpcharvest.jumbo.slots.slot import Done, Failed, Leased, Outcome
from hpcharvest.messenger.ranges import EventTask
from hpcharvest.model.ids import JobId

log = logging.getLogger(__name__)

SILENT_BEATS: Final = 15
SHORTEST_SILENCE_S: Final = 600.0
"""A head is given up after so many heartbeats, and not before this."""
TROUBLED_BEATS: Final = 3
"""A head that is silent for so many heartbeats will not say when it is time to leave."""
DOUBT_S: Final = 0.5
"""So long a failure is not told: who ends everything here may have told the payload before he tells us."""
FLUSH_S: Final = 2.0
"""What a range needs beside its own time: until its outcome is durable and told."""


@dataclass(slots=True, kw_only=True)
class _Leaving:
    """That the agent leaves, and how far it is; steady seconds."""

    reason: str
    stop_at: float
    """What still runs then is stopped."""
    end_at: float
    """Whatever is not told then is left to the salvage."""
    told: bool = True
    """Whether somebody listens: else nothing is closed, and nobody is waited for."""
    stopped: bool = False
    sealed: bool = False


def no_facts(_now: float) -> Mapping[str, float]:
    """Tell nothing about the node."""
    return {}


class Agent:
    """A node's side of the conversation with the head; `tick` it when something happened, and at `next_event`."""

    def __init__(
        self,
        *,
        node: str,
        life: int,
        tasks: Sequence[EventTask],
        link: NodeLink,
        make_slot: SlotMaker,
        outputs: Outputs,
        heartbeat_s: float = 10.0,
        grace_s: float = 10.0,
        leave_at: float = math.inf,
        facts: Callable[[float], Mapping[str, float]] = no_facts,
    ) -> None:
        """Begin. `leave_at`: steady seconds when to leave, unless the head says something else about the time left."""
        self._node, self._life = node, life
        self._link, self._outputs, self._facts = link, outputs, facts
        self._heartbeat_s, self._grace_s = heartbeat_s, grace_s
        self._patience_s = max(SILENT_BEATS * heartbeat_s, SHORTEST_SILENCE_S)
        self._crews = {task.job: Crew(task, make_slot) for task in tasks}
        self._unheard = Unheard()
        self._welcome = False
        self._leave_at = leave_at
        self._in_touch_at: float | None = None
        self._next_beat = -math.inf
        self._leaving: _Leaving | None = None
        self._doubtful: deque[tuple[float, Crew, Failed]] = deque()
        self.over = False
        """Whether there is nothing more to do, or no time to do it."""

    def tick(self, now: float) -> None:
        """Do all that is due; never blocks."""
        if self.over:
            return
        self._listen(now)
        self._hand_on(now)
        for crew in self._crews.values():
            self._take_in(crew, crew.serve(now), now)
        self._believe(now)
        self._mind_the_silence(now)
        if self._leaving is None:
            for crew in self._crews.values():
                self._work(crew, now)
            self._beat(now)
        else:
            self._beat(now)
            self._go_on_leaving(self._leaving, now)

    def next_event(self) -> float:
        """Steady seconds when to tick although nothing happened."""
        crews = min((crew.next_event() for crew in self._crews.values()), default=math.inf)
        doubt = self._doubtful[0][0] if self._doubtful else math.inf
        return min(
            crews, doubt, self._link.next_event(), self._outputs.next_event(), self._next_beat, self._next_step()
        )

    def filenos(self) -> list[int]:
        """Give the descriptors that ring when there is something to do."""
        found = [self._link.fileno(), self._outputs.fileno()]
        found += [one for crew in self._crews.values() for one in crew.filenos()]
        return [one for one in found if one >= 0]

    def leave(self, reason: str, left_s: float, now: float) -> None:
        """Begin nothing more, stop what cannot end within `left_s`, tell all, and say goodbye."""
        end_at = now + max(0.0, left_s)
        if self._leaving is not None:
            self._leaving.end_at = min(self._leaving.end_at, end_at)
            self._leaving.stop_at = min(self._leaving.stop_at, end_at - self._grace_s - FLUSH_S)
            return
        log.info("leaving within %.0f s: %s", left_s, reason)
        self._leaving = _Leaving(reason=reason, stop_at=end_at - self._grace_s - FLUSH_S, end_at=end_at)
        for crew in self._crews.values():
            self._give_back(crew, crew.recall())
            crew.finish(now)
            if self._leaving.stop_at > now:
                crew.stop(reason, now, self._leaving.stop_at - now)

    def _abandon(self, reason: str, now: float) -> None:
        """Leave without a head: what is durable is salvaged by others, and all else is not ours to tell."""
        log.error("leaving without a word: %s", reason)
        self._leaving = _Leaving(
            reason=reason, stop_at=now, end_at=now + self._grace_s + FLUSH_S, told=False, sealed=True
        )
        for crew in self._crews.values():
            crew.recall()
            crew.finish(now)

    def _listen(self, now: float) -> None:
        messages = self._link.receive(now)
        if self._link.fresh():
            self._say_hello()
        for message in messages:
            try:
                self._obey(message, now)
            except MessageNotUnderstood as error:
                log.error("the head is not understood: %s", error)  # noqa: TRY400  # the message says it all
        owed = bool(self._unheard) or not self._welcome
        if messages or self._in_touch_at is None or (self._link.connected and not owed):
            self._in_touch_at = now

    def _say_hello(self) -> None:
        self._welcome = False
        held = {str(job): indices for job, crew in self._crews.items() if (indices := crew.held())}
        done = {str(job): sorted(crew.durable) for job, crew in self._crews.items() if crew.durable}
        self._link.send(Hello(node=self._node, life=self._life, held=held, done=done))
        for message in self._unheard:
            self._link.send(message)
        for crew in self._crews.values():
            crew.asked = 0  # what was asked of an earlier connection is forgotten

    def _obey(self, message: HeadMessage, now: float) -> None:
        match message:
            case Welcome(left_s=left_s):
                self._welcome = True
                self._leave_at = self._leave_at if left_s is None else now + left_s
            case Ack():
                self._acknowledged(message)
            case Leave(reason=reason, left_s=left_s):
                self.leave(reason, left_s, now)
            case Slots() | Lease() | Recall() | Stop():
                crew = self._crews.get(JobId(message.job))
                if crew is None:
                    raise MessageNotUnderstood(f"there is no job {message.job} in this allocation")
                self._obey_for(crew, message, now)

    def _obey_for(self, crew: Crew, message: Slots | Lease | Recall | Stop, now: float) -> None:
        match message:
            case Slots():
                if self._leaving is None:
                    crew.order(message, now)
            case Lease():
                leased = lease.ranges(message)
                crew.meter.answered(now)
                crew.asked = max(0, crew.asked - len(leased))
                if crew.returned:
                    self._unheard.taken_again(crew.task.job, {one.index for one in leased})
                crew.add(leased)
                if self._leaving is not None:
                    self._give_back(crew, crew.recall())
            case Recall(indices=indices):
                self._give_back(crew, crew.recall(indices))
            case Stop(reason=reason):
                self._give_back(crew, crew.recall())
                crew.finish(now)
                crew.stop(reason, now)
                self._outputs.seal(crew.task.job)

    def _acknowledged(self, ack: Ack) -> None:
        void = {int(job): set(indices) for job, indices in ack.void.items()}
        for message in self._unheard.heard(ack.number):
            crew = self._crews[JobId(message.job)]
            if isinstance(message, Archived):
                crew.forget(row[0] for row in message.ranges)
                continue
            lost = void.get(message.job, set[int]())
            done = [row[0] for row in message.done]
            failed = [row[0] for row in message.failed]
            crew.returned.difference_update(failed, message.back)
            crew.forget(index for index in done if index in lost)
            self._outputs.settle(crew.task.job, [*done, *failed], lost)

    def _hand_on(self, now: float) -> None:
        """Tell what has become durable."""
        for one in self._outputs.take(now):
            told: Told | Archived
            if isinstance(one, Kept):
                failed = {row[0] for row in one.failed}  # also such whose output was gone before it could be kept
                self._crews[one.job].kept -= failed
                self._crews[one.job].durable.update(row[0] for row in one.done)
                self._crews[one.job].returned |= failed
                told = self._unheard.told(one.job, done=one.done, failed=one.failed)
            else:
                told = self._unheard.archived(one)
            self._link.send(told)

    def _take_in(self, crew: Crew, outcomes: Sequence[Outcome], now: float) -> None:
        back = []
        for outcome in outcomes:
            if isinstance(outcome, Done):
                crew.kept.add(outcome.leased.index)
                self._outputs.add_done(crew.task.job, outcome)
            elif outcome.ours or self._leaving:
                back.append(outcome.leased)
                log.info("range %s is given back: %s", outcome.leased.range.id, outcome.error)
            else:
                crew.kept.add(outcome.leased.index)
                self._doubtful.append((now + DOUBT_S, crew, outcome))
        self._give_back(crew, back)

    def _believe(self, now: float) -> None:
        """Take failures for what they seem to be; if we are told to leave meanwhile, they may have been none."""
        while self._doubtful and (self._leaving or self._doubtful[0][0] <= now):
            _, crew, failed = self._doubtful.popleft()
            if self._leaving:
                crew.kept.discard(failed.leased.index)
                self._take_in(crew, [failed], now)
                continue
            self._outputs.add_failed(crew.task.job, failed.leased, failed.error)
            log.warning("range %s failed: %s", failed.leased.range.id, failed.error)

    def _give_back(self, crew: Crew, ranges: Collection[Leased]) -> None:
        if ranges:
            indices = sorted(one.index for one in ranges)
            crew.returned.update(indices)
            self._link.send(self._unheard.told(crew.task.job, back=indices))

    def _work(self, crew: Crew, now: float) -> None:
        """Begin ranges, if they can end in time, and ask for more."""
        fits = self._leave_at - now >= crew.needs_s + FLUSH_S
        if not fits:
            self._give_back(crew, crew.recall())
        elif not self._outputs.full:
            crew.fill(now)
        if self._welcome and self._link.connected:
            self._ask(crew, now, crew.capacity if fits else 0)

    def _ask(self, crew: Crew, now: float, capacity: int) -> None:
        spare = appetite.spare(capacity, crew.meter.range_s, crew.meter.answer_s)
        want = appetite.want(capacity, spare, crew.have, crew.asked)
        if want is not None:
            crew.asked = want
            crew.meter.asked(now)
            self._link.send(Ask(job=crew.task.job, want=want))

    def _beat(self, now: float) -> None:
        if now >= self._next_beat:
            self._next_beat = now + self._heartbeat_s
            self._link.send(Beat(facts=dict(self._facts(now))))

    def _mind_the_silence(self, now: float) -> None:
        since = now if self._in_touch_at is None else self._in_touch_at
        if self._leaving is not None:
            return
        # The very sums of `_next_step`: a difference may be too small by a last bit, and it would be asked for ever.
        if now >= since + self._patience_s:
            self._abandon(f"the head is silent for {now - since:.0f} s", now)
        elif now >= self._leave_at and now >= since + TROUBLED_BEATS * self._heartbeat_s:
            self._abandon("the end of the allocation is near, and the head is silent", now)

    def _go_on_leaving(self, leaving: _Leaving, now: float) -> None:
        if now >= leaving.stop_at and not leaving.stopped:
            leaving.stopped = True
            for crew in self._crews.values():
                crew.stop(leaving.reason, now)
        if self._quiet and not leaving.sealed:
            leaving.sealed = True
            for job in self._crews:
                self._outputs.seal(job)
        if self._quiet and not leaving.told:
            self.over = True
        elif self._quiet and not self._unheard and not any(crew.kept for crew in self._crews.values()):
            self._link.send(Bye(reason=leaving.reason))
            self.over = True
        if now >= leaving.end_at and not self.over:
            log.warning("there is no time to tell all: %s messages were not acknowledged", len(self._unheard))
            self.over = True

    @property
    def _quiet(self) -> bool:
        """Whether nothing runs here any more, and all that was done is durable."""
        return all(crew.empty for crew in self._crews.values()) and self._outputs.idle

    def _next_step(self) -> float:
        """When silence or leaving want something."""
        if self._leaving is not None:
            return self._leaving.end_at if self._leaving.stopped else self._leaving.stop_at
        since = -math.inf if self._in_touch_at is None else self._in_touch_at
        troubled = max(self._leave_at, since + TROUBLED_BEATS * self._heartbeat_s)
        return min(since + self._patience_s, troubled)
