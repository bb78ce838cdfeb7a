"""Deals out what nodes get: slots, and ranges to fill them. Times are steady seconds."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Final

from hpcharvest.jumbo import share
from hpcharvest.jumbo.links.link import HeadLink
from hpcharvest.jumbo.links.messages import HeadMessage, Recall, Stop
from hpcharvest.jumbo.muster import Muster
from hpcharvest.jumbo.placement import Room
from hpcharvest.jumbo.serving import Serving
from hpcharvest.jumbo.share import NOTHING, Grant
from hpcharvest.model.ids import JobId

log = logging.getLogger(__name__)

GRACE_S: Final = 20.0
"""So long a head that takes over leases nothing, unless all have come: what it thinks ready may be done by then."""
TIMES_S: Final = 10.0
"""Between two words to all nodes about how long ranges take."""
BALANCE_S: Final = 5.0
"""Between two looks whether ranges wait on one node while another is idle."""
DONE: Final = "all is done"


class Dealer:
    """Deals out slots of the jobs, the first first, and their ranges to those that ask."""

    def __init__(
        self,
        jobs: Mapping[JobId, Serving],
        muster: Muster,
        link: HeadLink,
        *,
        now: float,
        leave_at: float,
        takes_over: bool,
    ) -> None:
        self._jobs, self._muster, self._link = jobs, muster, link
        self._leave_at = leave_at
        self._grace_until = now + GRACE_S if takes_over else -math.inf
        self._rooms: tuple[Room, ...] = ()
        self._stale = True
        self._next_times = self._next_balance = now

    def offer(self, rooms: Sequence[Room]) -> None:
        """Take over the room that is free for ranges, node by node."""
        self._rooms = tuple(rooms)
        self._stale = True

    def left_s(self, now: float) -> float:
        """Tell how long it is until the runner leaves; infinity: nobody knows."""
        return self._leave_at - now

    def slots(self, job: Serving, now: float) -> int:
        """Count a job's slots on the nodes that are there, or may still come."""
        return sum(
            job.grants[peer.place].count
            for peer in self._muster
            if peer.place in job.grants and self._muster.may_come(peer, now)
        )

    def greet(self, node: str, place: int) -> None:
        """Tell a node that has come what it may do."""
        for job in self._jobs.values():
            if job.grants.get(place, NOTHING).count:
                self._link.send(node, job.slots_for(place))
            if job.stopped or job.sealed:
                self._link.send(node, Stop(job=job.task.job, reason=job.stopped or DONE))

    def stop(self, job: Serving, reason: str) -> None:
        """Let a job's ranges be done no longer."""
        job.stopped = reason
        self._stale = True
        self.tell_all(Stop(job=job.task.job, reason=reason))

    def tell_all(self, message: HeadMessage) -> None:
        """Say something to all nodes that are there."""
        for peer in self._muster.there():
            self._link.send(peer.name, message)

    def deal(self, now: float) -> None:
        """Give each node what it may have now."""
        for job in self._jobs.values():
            self._seal(job)
        if self._stale:
            self._stale = False
            self._divide(now)
        if now < self._grace_until and not self._muster.all_came:
            return
        places = self._muster.places
        for job in self._jobs.values():
            if job.pool.ready and job.may_begin(self.left_s(now)):
                for node, lease in job.leases(places):
                    self._link.send(node, lease)

    def chores(self, now: float) -> None:
        """Do what is due once in a while."""
        self._stale |= len(self._jobs) > 1 or any(job.wide for job in self._jobs.values())
        for job in self._jobs.values():
            job.ask_again()
            if now >= self._next_times and job.times_changed():
                self._next_times = now + TIMES_S
                self._tell_slots(job)
        if now >= self._next_balance:
            self._next_balance = now + BALANCE_S
            for job in self._jobs.values():
                self._balance(job)

    def _tell_slots(self, job: Serving) -> None:
        for peer in self._muster.there():
            if peer.place in job.grants:
                self._link.send(peer.name, job.slots_for(peer.place))

    def _balance(self, job: Serving) -> None:
        """Call back what waits on some nodes while others are idle."""
        if job.idle():
            for node, indices in job.surplus(self._muster.places):
                self._link.send(node, Recall(job=job.task.job, indices=indices))

    def _seal(self, job: Serving) -> None:
        """Let archives be closed when all is done; nobody waits for what is to be put into them."""
        if job.complete and not job.sealed and not job.stopped:
            log.info("job %s: all that was fed is done", job.task.job)
            job.sealed = self._stale = True
            self.tell_all(Stop(job=job.task.job, reason=DONE))
        elif job.sealed and not job.complete:
            job.sealed = False
            self._stale = True

    def _divide(self, now: float) -> None:
        left_s = self.left_s(now)
        jobs = list(self._jobs.values())
        nodes = [(peer.place, peer.name) for peer in self._muster]
        self._call_the_roll([job for job in jobs if job.wide], now)
        claims = [job.claim(now, left_s, nodes, alone=len(jobs) == 1) for job in jobs]
        for job, grants in zip(jobs, share.divide(self._rooms, claims), strict=True):
            before, job.grants = job.grants, grants
            for peer in self._muster.there():
                old, new = before.get(peer.place, NOTHING), grants.get(peer.place, NOTHING)
                if old != new:
                    self._regrant(job, peer.name, peer.place, old, new)

    def _call_the_roll(self, wide: Sequence[Serving], now: float) -> None:
        """Tell the jobs whose slots are on several nodes which of these are not there."""
        if not wide:
            return
        absent = {peer.place for peer in self._muster if not peer.there}
        hopeless = {peer.place for peer in self._muster if not self._muster.may_come(peer, now)}
        for job in wide:
            job.miss(absent, hopeless)

    def _regrant(self, job: Serving, node: str, place: int, old: Grant, new: Grant) -> None:
        self._link.send(node, job.slots_for(place))
        if new.count > old.count:
            job.again(node)
            return
        excess = job.pool.excess(node, new.count * job.width)
        if excess:
            self._link.send(node, Recall(job=job.task.job, indices=excess))
