"""One event-service job at the head's desk: its ranges, their pace, its feed, and which node has asked for how many."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import repeat
from typing import Final

from hpcharvest.jumbo import drain, share
from hpcharvest.jumbo.failures import GivenUp
from hpcharvest.jumbo.feeder import Feeder, ReadFeed
from hpcharvest.jumbo.links.messages import Archived, Lease, Slots
from hpcharvest.jumbo.placement import Need
from hpcharvest.jumbo.ranges import RangePool
from hpcharvest.jumbo.share import NOTHING, Claim, Grant
from hpcharvest.messenger.ranges import (
    ArchiveClosed,
    EventTask,
    Feed,
    PayloadKind,
    RangeDone,
    RangeFailed,
    RangesFailed,
    RangesWanted,
)

SEVERAL_AT_A_TIME: Final = {PayloadKind.SERVICE, PayloadKind.FILES}
"""Payloads that do as many ranges at a time as they have cores."""
LARGEST_LEASE: Final = 5_000
WANTED_PAUSE_S: Final = 2.0
"""Between two words about how many ranges are wanted."""
IDLE_S: Final = 60.0
"""A job that has had no range for so long leaves its slots to others."""
CHANGE: Final = 0.1
"""What nodes are told about time is told anew when it has changed by such a share."""


class Serving:
    """What the desk knows of one job. It decides and counts; what is said about it the desk says."""

    def __init__(self, task: EventTask, nodes: Iterable[str], read_feed: ReadFeed) -> None:
        self.task = task
        self._names = tuple(nodes)
        self._firsts = share.firsts(len(self._names), self.need.nodes)
        self._absent: Collection[int] = ()
        self.pool = RangePool(self._names[first] for first in self._firsts)
        self.pace = drain.Pace(task.range_walltime_s)
        self.feeder = Feeder(task.job, read_feed, self._take_in)
        self.width = max(task.cores, 1) if task.kind in SEVERAL_AT_A_TIME else 1
        self.grants: dict[int, Grant] = {}
        self.asks: dict[str, int] = {}
        self.stopped = ""
        """Why; empty: it is not."""
        self.sealed = False
        """Whether its nodes were told to close their archives, as all is done."""
        self.active_at = -math.inf
        """When it last had a range, or a word of the feed."""
        self._eager: dict[str, None] = {}
        self._occupied: dict[int, Grant] = {}
        self._wanted = 0
        self._wanted_at = -math.inf
        self._ahead_s = drain.AHEAD_S
        self._asked: tuple[int, float] | None = None
        self._told_s = (0.0, 0.0)

    @property
    def need(self) -> Need:
        """What one slot of it takes."""
        task = self.task
        return Need(max(task.nodes, 1), max(task.cores, 1), max(task.memory_mb, 0), max(task.gpus, 0))

    @property
    def complete(self) -> bool:
        """Whether all that was fed is told, and nothing will follow."""
        return self.feeder.last and not (self.pool.ready or self.pool.leased or self.pool.limbo)

    def may_begin(self, left_s: float) -> bool:
        """Tell whether a range has the time to be done, and nobody has stopped the job."""
        return not self.stopped and left_s > 0 and self.pace.needs_s <= left_s

    def could_begin(self, now: float, left_s: float, patience_s: float) -> bool:
        """Tell whether there is, or may come within `patience_s`, a range that may begin."""
        if not self.may_begin(left_s):
            return False
        more = self.pool.ready > 0
        return (more and bool(self.grants)) or ((more or not self.feeder.last) and now - self.active_at < patience_s)

    # The feed

    def look(self, now: float) -> bool:
        """Look for more, and tell whether there was any."""
        found = self.feeder.look(now)
        if found:
            self.stir(now)
        if self._asked is not None and self.pool.fed >= self._asked[0]:
            self._ahead_s = drain.ahead(self._ahead_s, now - self._asked[1])
            self._asked = None
        return found

    def _take_in(self, feed: Feed) -> None:
        self.pool.feed(feed)

    def stir(self, now: float) -> None:
        """Hear that there are ranges again: whoever has asked may get some."""
        self.active_at = now
        self.ask_again()

    def wants(self, now: float, slots: Callable[[], int], left_s: float) -> int | None:
        """Give how many it wants to have been fed in all, if that is to be said now. `slots` counts them."""
        if self.stopped or self.feeder.last or now < self._wanted_at + WANTED_PAUSE_S:
            return None
        told = self.pool.outcomes
        total = drain.appetite(told, slots() * self.width, self.pace.mean_s, self._ahead_s, left_s)
        if total - self._wanted < max(1, (total - told) // 10):
            return None
        self._wanted, self._wanted_at = total, now
        if total > self.pool.fed:
            self._asked = self._asked or (total, now)
            self.feeder.hurry()
        return total

    # Leases

    def ask(self, node: str, want: int) -> None:
        """Note how many more a node wants."""
        self.asks[node] = want
        self._eager[node] = None
        if want <= 0:
            del self.asks[node]

    def forget(self, node: str) -> None:
        """Note that a node asks for nothing."""
        self.asks.pop(node, None)

    def again(self, node: str) -> None:
        """Note that a node may get more than before: it has told of some."""
        if node in self.asks:
            self._eager[node] = None

    def ask_again(self) -> None:
        """Look anew at all that was asked for."""
        self._eager |= dict.fromkeys(self.asks)

    def leases(self, places: Mapping[str, int]) -> Iterable[tuple[str, Lease]]:
        """Lease ranges to those that have asked, and give what they are to be told. `places`: of nodes that are there.

        When few are left, no node gets more than it has slots: what waits there another could do now.
        """
        eager, self._eager = self._eager, {}
        scarce = self.pool.ready < 2 * self.slots * self.width
        for node in eager:
            want = self.asks.get(node, 0)
            if not self.pool.ready or node not in places:
                continue
            room = self.grants.get(places[node], NOTHING).count * self.width
            if scarce:
                want = min(want, room - self.pool.leased_by(node))
            if want <= 0 or not room or not self.pool.trusts(node):
                continue
            indices = self.pool.lease(node, want)
            self._asked_less(node, len(indices))
            for first in range(0, len(indices), LARGEST_LEASE):
                rows, files = self.pool.rows(indices[first : first + LARGEST_LEASE])
                yield node, Lease(job=self.task.job, ranges=rows, files=files)

    def _asked_less(self, node: str, got: int) -> None:
        self.asks[node] -= got
        if self.asks[node] <= 0:
            del self.asks[node]

    def idle(self) -> bool:
        """Tell whether a node waits in vain for ranges, of which others may have more than they can do now."""
        return not self.pool.ready and any(not self.pool.leased_by(node) for node in self.asks)

    def surplus(self, places: Mapping[str, int]) -> Iterable[tuple[str, list[int]]]:
        """Give the ranges that wait on nodes whose slots are all taken."""
        for node, place in places.items():
            excess = self.pool.excess(node, self.grants.get(place, NOTHING).count * self.width)
            if excess:
                yield node, excess

    # Slots

    @property
    def slots(self) -> int:
        """How many it has on all nodes."""
        return sum(grant.count for grant in self.grants.values())

    @property
    def wide(self) -> bool:
        """Whether a slot of it is on several nodes, and ends with any of them."""
        return self.need.nodes > 1

    def miss(self, absent: Collection[int], hopeless: Collection[int]) -> None:
        """Hear which nodes are not there, and which of them are not waited for; it matters to one that is wide."""
        self._absent = absent
        for first in self._firsts:
            able = share.is_whole(first, self.need.nodes, hopeless)
            self.pool.able(self._names[first], able=able)

    def claim(self, now: float, left_s: float, nodes: Iterable[tuple[int, str]], *, alone: bool) -> Claim:
        """Say what it would take. `nodes`: their places and names; `alone`: there is no other job."""
        busy = {}
        for place, node in nodes:
            before = max(self._occupied.get(place, NOTHING), self.grants.get(place, NOTHING), key=lambda one: one.count)
            count = min(self.pool.leased_by(node), before.count)
            if count:
                busy[place] = Grant(count, before.gpus)
        self._occupied = busy
        most = math.inf
        if self.complete or not self.may_begin(left_s):
            most = 0
        elif not alone and (self.feeder.last or now - self.active_at > IDLE_S):
            most = math.ceil((self.pool.ready + self.pool.leased + self.pool.limbo) / self.width)
        return Claim(need=self.need, most=most, busy=busy, absent=self._absent)

    def slots_for(self, place: int) -> Slots:
        """Give what a node is to be told of its slots."""
        grant = self.grants.get(place, NOTHING)
        needs_s, limit_s = self._told_s
        slots = Slots(job=self.task.job, count=grant.count, gpus=grant.gpus, needs_s=needs_s, limit_s=limit_s)
        if self.wide and share.is_whole(place, self.need.nodes, self._absent):
            slots.nodes = list(self._names[place : place + self.need.nodes])
        return slots

    def times_changed(self) -> bool:
        """Take over what was learnt about time, if it is worth to be told; tell whether it is."""
        fresh = (self.pace.needs_s, self.pace.limit_s)
        if all(abs(new - old) <= CHANGE * old for new, old in zip(fresh, self._told_s, strict=True)):
            return False
        self._told_s = fresh
        return True

    # Outcomes

    def remember(self, record: ArchiveClosed | RangesFailed | RangesWanted) -> None:
        """Take in what the journal says already, before the feed is read."""
        if isinstance(record, RangesWanted):
            self._wanted = max(self._wanted, record.total)
        else:
            self.pool.know(one.id for one in record.ranges)

    def closed(self, archived: Archived, counted: Iterable[int], at: float) -> ArchiveClosed:
        """Make the record of a node's archive, of which these ranges count. `at`: wall seconds."""
        cores = max(self.task.cores * self.task.nodes // self.width, 1)
        rows = {row[0]: row for row in archived.ranges}
        found = [rows[index] for index in counted]
        ids = map(self.pool.id, [row[0] for row in found])
        times = ([row[2] for row in found], [row[3] for row in found])
        ranges = tuple(map(RangeDone._make, zip(ids, *times, repeat(cores), strict=False)))  # there are millions
        return ArchiveClosed(
            at=at,
            job=self.task.job,
            name=archived.name,
            size=archived.size,
            adler32=archived.adler32,
            ranges=ranges,
        )

    def failures(self, given_up: Iterable[GivenUp]) -> tuple[RangeFailed, ...]:
        """Give ranges that were given up as the journal has them."""
        return tuple(
            RangeFailed(id=self.pool.id(one.index), error=one.error, node=one.node, fatal=one.fatal) for one in given_up
        )
