"""The head's desk for event ranges: it reads the feed, leases ranges to nodes, and counts what became of each once.

It is driven by the head's loop and never blocks. What it says for the journal is said through `say`; a node learns that
a closed archive was taken in only after the journal has it. Times are steady seconds.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Final

from hpcharvest.jumbo.dealer import Dealer
from hpcharvest.jumbo.failures import GivenUp
from hpcharvest.jumbo.feeder import ReadFeed
from hpcharvest.jumbo.links.link import HeadLink
from hpcharvest.jumbo.links.messages import (
    Archived,
    Ask,
    Beat,
    Bye,
    Hello,
    Leave,
    NodeMessage,
    Recall,
    Told,
    Welcome,
)
from hpcharvest.jumbo.muster import START_S, Muster, Peer
from hpcharvest.jumbo.placement import Room
from hpcharvest.jumbo.serving import Serving
from hpcharvest.jumbo.wakes import Salvage, Wake, Wakes
from hpcharvest.messenger.protocol import Record
from hpcharvest.messenger.ranges import ArchiveClosed, EventTask, RangesFailed, RangesWanted
from hpcharvest.model.ids import JobId

log = logging.getLogger(__name__)

SILENCE_BEATS: Final = 3
SHORTEST_SILENCE_S: Final = 30.0
"""A node that is silent for so many heartbeats, and for so long, is lost."""
CHORES_S: Final = 1.0
STALL_S: Final = 2.0
"""When the head's loop comes so late, as its storage let it wait, the silence meanwhile was not its nodes'."""
SOON_S: Final = 0.1
"""When something is waited for that does not ring."""


def _always() -> bool:
    return True


class Desk:
    """Serves the event-service jobs of an allocation, the first first.

    `say` takes records for the journal; `published` tells whether the journal has all of them. `salvage` is run by
    `aside`, or, without one, in `tick`. `known`: what the journal says already, to a head that takes over.
    `leave_at`: when the runner begins to leave.
    """

    def __init__(
        self,
        tasks: Sequence[EventTask],
        nodes: Sequence[str],
        link: HeadLink,
        read_feed: ReadFeed,
        say: Callable[[Record], None],
        *,
        salvage: Salvage,
        heartbeat_s: float,
        wall: Callable[[], float],
        now: float = 0.0,
        leave_at: float = math.inf,
        patience_s: float = 600.0,
        published: Callable[[], bool] = _always,
        aside: Executor | None = None,
        known: Iterable[Record] = (),
        takes_over: bool = False,
    ) -> None:
        self._link, self._say, self._wall, self._published = link, say, wall, published
        self._jobs = {task.job: Serving(task, nodes, read_feed) for task in tasks}
        self._muster = Muster(nodes, now)
        self._dealer = Dealer(self._jobs, self._muster, link, now=now, leave_at=leave_at, takes_over=takes_over)
        self._wakes = Wakes(salvage, aside)
        self._silence_s = max(SILENCE_BEATS * heartbeat_s, SHORTEST_SILENCE_S)
        self._patience_s = patience_s
        self._leaving: tuple[str, float] | None = None
        self._now = self._next_chores = now
        self._lost: list[str] = []
        self._owing: dict[str, Peer] = {}
        self._unpublished: dict[str, Peer] = {}
        self._given_up: defaultdict[JobId, list[GivenUp]] = defaultdict(list)
        self._first = True
        self._next_look = now
        for job in self._jobs.values():
            job.active_at = now
        for record in known:
            if isinstance(record, ArchiveClosed | RangesFailed | RangesWanted) and record.job in self._jobs:
                self._jobs[record.job].remember(record)

    # What the head asks

    def offer(self, rooms: Sequence[Room]) -> None:
        """Take over the room that is free for ranges, node by node."""
        self._dealer.offer(rooms)

    @property
    def busy(self) -> bool:
        """Whether there is something that is not done and could be done here."""
        if len(self._wakes) or any(job.pool.under_way for job in self._jobs.values()):
            return True
        if self._leaving or not any(self._muster.may_come(peer, self._now) for peer in self._muster):
            return False
        left_s = self._dealer.left_s(self._now)
        return any(job.could_begin(self._now, left_s, self._patience_s) for job in self._jobs.values())

    def gone(self, now: float) -> bool:
        """Tell whether all nodes said Bye or are lost, and all that they left was looked through."""
        self._now = max(self._now, now)
        return not len(self._wakes) and not self._muster.there()

    def expects(self, node: str) -> bool:
        """Tell whether a process should be there on this node."""
        peer = self._muster.get(node)
        return peer is not None and not peer.left and self._leaving is None

    def is_there(self, node: str) -> bool:
        """Tell whether a node has said Hello, and neither Bye nor nothing for too long since."""
        peer = self._muster.get(node)
        return peer is not None and peer.there

    def lost(self) -> list[str]:
        """Take the names of the nodes that were lost since this was asked last."""
        lost, self._lost = self._lost, []
        return lost

    @property
    def bad_feeds(self) -> int:
        """How many files of feeds were passed over, as they could not be understood."""
        return sum(job.feeder.bad for job in self._jobs.values())

    def next_event(self) -> float:
        """Steady seconds when to tick although nothing came."""
        return self._next_chores

    def tick(self, now: float) -> None:
        """Do all that is due; never blocks."""
        self._now = now
        if self._first:
            self._first = False
            self._read_all(now)
        if now >= self._next_chores + STALL_S:
            self._muster.excuse(now - self._next_chores)
        self._acknowledge()
        for node, message in self._link.receive():
            self._hear(node, message, now)
        if now >= self._next_chores:
            self._chores(now)
        self._tell_failures()
        if self._leaving is None:
            self._dealer.deal(now)
        self._acknowledge()

    def stop(self, job: JobId, reason: str) -> None:
        """Stop one job: its ranges are no longer done, what is in archives already counts."""
        if job in self._jobs and not self._jobs[job].stopped:
            log.info("job %s is stopped: %s", job, reason)
            self._dealer.stop(self._jobs[job], reason)

    def leave(self, reason: str, left_s: float) -> None:
        """Let all nodes finish, tell all, and go, within `left_s`."""
        if self._leaving is None:
            self._leaving = (reason, self._now + left_s)
            self._dealer.tell_all(Leave(reason=reason, left_s=left_s))

    # What is due

    def _read_all(self, now: float) -> None:
        """Read all of the feed that is there: a head that takes over must know what its nodes speak of."""
        for job in self._jobs.values():
            while job.look(now):
                pass

    def _chores(self, now: float) -> None:
        for peer in self._muster.silent_since(now - self._silence_s):
            self._lose(peer, f"it was silent for {now - peer.heard_at:.0f} s")
        for peer in self._muster.overdue(now):
            self._miss(peer, now)
        for wake in self._wakes.over(now):
            self._settle(wake, now)
        for number, job in self._jobs.items():
            self._given_up[number] += job.pool.hopeless()
        if self._leaving is None:
            self._look(now)
            self._want(now)
            self._dealer.chores(now)
        self._next_chores = now + (SOON_S if len(self._wakes) or self._unpublished else CHORES_S)

    def _look(self, now: float) -> None:
        """Look for more of one feed: that of a job which has nothing left, if there is one."""
        due = [job for job in self._jobs.values() if job.feeder.due <= now and not job.stopped]
        if due and now >= self._next_look:
            self._next_look = now + CHORES_S
            min(due, key=lambda job: (job.pool.ready > 0, job.feeder.due)).look(now)

    def _want(self, now: float) -> None:
        left_s = self._dealer.left_s(now)
        for number, job in self._jobs.items():
            total = job.wants(now, partial(self._dealer.slots, job, now), left_s)
            if total is not None:
                self._say(RangesWanted(at=self._wall(), job=number, total=total))

    def _tell_failures(self) -> None:
        for number, given_up in self._given_up.items():
            if given_up:
                failed = self._jobs[number].failures(given_up)
                self._say(RangesFailed(at=self._wall(), job=number, ranges=failed))
        self._given_up.clear()

    def _acknowledge(self) -> None:
        """Acknowledge what was taken in; an archive, only when the journal has it."""
        published = False
        if self._unpublished and self._published():
            published = True
            self._owing |= self._unpublished
            self._unpublished = {}
        for peer in self._owing.values():
            ack = peer.acknowledge(published=published)
            if ack is None:
                self._unpublished[peer.name] = peer
            else:
                self._link.send(peer.name, ack)
        self._owing = {}

    # What nodes say

    def _hear(self, node: str, message: NodeMessage | None, now: float) -> None:
        peer = self._muster.get(node)
        if peer is None:
            log.warning("%s is none of this allocation's nodes", node)
            self._link.drop(node)
            return
        if isinstance(message, Hello):
            self._greet(peer, message, now)
        elif message is not None and peer.there and peer.heeded:
            self._muster.heard(peer, now)
            try:
                self._take(peer, message)
            except (TypeError, ValueError, IndexError, KeyError) as error:
                log.error("%s is not understood, and hung up on: %r", node, error)  # noqa: TRY400  # the message says it all
                self._link.drop(node)

    def _greet(self, peer: Peer, hello: Hello, now: float) -> None:
        if hello.life in peer.given_up or hello.life < peer.life:
            self._link.send(peer.name, Leave(reason="this process was given up, others do its ranges", left_s=0.0))
            peer.heeded = False
            return
        if peer.there and hello.life > peer.life:
            self._give_up(peer, "another process came instead")
        log.info("%s is there (life %s)", peer.name, hello.life)
        self._muster.greet(peer, hello.life, now)
        left_s = self._dealer.left_s(now)
        self._link.send(peer.name, Welcome(left_s=None if math.isinf(left_s) else left_s))
        for job, serving in self._jobs.items():
            serving.forget(peer.name)
            ready = serving.pool.ready
            foreign = serving.pool.held(peer.name, hello.held.get(str(job), []))
            serving.pool.told(peer.name, sorted(set(hello.done.get(str(job), [])).difference(foreign)))
            if serving.pool.ready > ready:
                serving.stir(now)
            if foreign:
                self._link.send(peer.name, Recall(job=job, indices=foreign))
        self._dealer.greet(peer.name, peer.place)
        if self._leaving:
            reason, until = self._leaving
            self._link.send(peer.name, Leave(reason=reason, left_s=max(0.0, until - now)))

    def _take(self, peer: Peer, message: NodeMessage) -> None:
        match message:
            case Ask(job=job, want=want):
                if JobId(job) in self._jobs:
                    self._jobs[JobId(job)].ask(peer.name, int(want))
            case Told():
                self._told(peer, message)
            case Archived():
                self._archived(peer, message)
            case Beat(facts=facts):
                peer.facts = facts
            case Bye():
                self._bid_farewell(peer)

    def _told(self, peer: Peer, told: Told) -> None:
        job = self._jobs[JobId(told.job)]
        indices = [row[0] for row in told.done]
        job.pace.learn([row[2] for row in told.done])
        taken = job.pool.told(peer.name, indices, [(row[0], str(row[1])) for row in told.failed], told.back)
        peer.take_in(told.number, told.job, taken.void)
        self._owing[peer.name] = peer
        self._given_up[job.task.job] += taken.given_up
        job.active_at = self._now
        if told.back or told.failed:
            job.stir(self._now)
        job.again(peer.name)

    def _archived(self, peer: Peer, archived: Archived) -> None:
        job = self._jobs[JobId(archived.job)]
        if not archived.name or "/" in archived.name:
            raise ValueError(f"{archived.name!r:.80} cannot be the name of an archive")
        counted = job.pool.archived_by(peer.name, [row[0] for row in archived.ranges])
        peer.take_in(archived.number, archived.job, publishes=bool(counted))
        self._owing[peer.name] = peer
        job.again(peer.name)
        if counted:
            self._say(job.closed(archived, counted, self._wall()))

    def _bid_farewell(self, peer: Peer) -> None:
        log.info("%s said goodbye", peer.name)
        peer.left = True
        self._part(peer)

    # Deaths

    def _lose(self, peer: Peer, why: str) -> None:
        """Do without a node, until another process is there."""
        self._link.drop(peer.name)
        self._lost.append(peer.name)
        self._give_up(peer, why)

    def _give_up(self, peer: Peer, why: str) -> None:
        log.warning("%s is lost: %s", peer.name, why)
        peer.given_up.add(peer.life)
        peer.lost_at = self._now
        self._part(peer)

    def _miss(self, peer: Peer, now: float) -> None:
        """Wait no longer for a node that never came."""
        log.warning("%s never came", peer.name)
        peer.lost_at = now - START_S
        self._lost.append(peer.name)
        self._part(peer)

    def _part(self, peer: Peer) -> None:
        self._muster.gone(peer)
        self._owing.pop(peer.name, None)
        self._unpublished.pop(peer.name, None)
        limbo = {}
        for job, serving in self._jobs.items():
            serving.forget(peer.name)
            left = serving.pool.part(peer.name)
            if left:
                limbo[job] = left
        if limbo:
            peer.given_up.add(peer.life)
            self._wakes.add(Wake(peer.name, peer.life, limbo))

    def _settle(self, wake: Wake, now: float) -> None:
        archives = [record for record in wake.records if isinstance(record, ArchiveClosed)]
        failed = [record for record in wake.records if isinstance(record, RangesFailed)]
        for job, limbo in wake.limbo.items():
            serving = self._jobs[job]
            saved = [one.id for record in archives if record.job == job for one in record.ranges]
            errors = {one.id: one.error for record in failed if record.job == job for one in record.ranges}
            counted, given_up = serving.pool.settle(limbo, wake.node, saved, errors)
            self._given_up[job] += given_up
            self._publish(job, archives, set(counted))
            serving.stir(now)
            log.info("of %s ranges of job %s on %s %s are saved", len(limbo), job, wake.node, len(counted))

    def _publish(self, job: JobId, archives: Iterable[ArchiveClosed], counted: set[str]) -> None:
        """Say which archives were saved; each range with the first that has it."""
        for record in archives:
            ranges = tuple(one for one in record.ranges if record.job == job and one.id in counted)
            counted.difference_update(one.id for one in ranges)
            if ranges:
                self._say(dataclasses.replace(record, ranges=ranges))
