"""What we and a payload say to each other by panda-harvester's files: one look at its access point at a time."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from hpcharvest.clock import Clock
from hpcharvest.errors import MessageNotUnderstood, TornMessage, UnsafeName
from hpcharvest.jumbo.access.ledger import Ledger
from hpcharvest.jumbo.access.outputs import Inspector
from hpcharvest.jumbo.access.point import AccessPoint, Identity, stamp
from hpcharvest.jumbo.slots.slot import Outcome
from hpcharvest.messenger import harvester_files as names
from hpcharvest.messenger.ranges import EventTask
from hpcharvest.model.ids import JobId

log = logging.getLogger(__name__)

SERVED: Final = names.RANGE_REQUEST + ".served"


@dataclass(slots=True, kw_only=True)
class Desk:
    """All about one job of a worker."""

    task: EventTask
    ledger: Ledger
    point: AccessPoint
    inspector: Inspector
    outbox: list[Outcome] = field(default_factory=list)
    equipped: bool = False
    """Whether the payload knows of it."""
    closing: bool = False
    """Whether no more ranges come."""
    gathering_since: float = math.inf
    there: frozenset[str] = frozenset()
    """What was in its folder at the last look."""
    broken: str = ""
    """Why nothing can be done for it: the next range fails for that."""

    @property
    def settled(self) -> bool:
        """Whether all that was said of its outputs was looked at, and fetched."""
        return not (self.inspector.busy or self.outbox)


class Talk:
    """The conversation. Methods raise OSError as it comes, and can be called again then.

    With one task its files are in the access point itself. `scratch`, `roots` and `gather_s`: as in `worker.Setting`.
    """

    def __init__(
        self,
        folder: str,
        tasks: Sequence[EventTask],
        clock: Clock,
        *,
        scratch: str = "",
        roots: Sequence[str] = (),
        gather_s: float = 0.0,
    ) -> None:
        self.top = AccessPoint(folder)
        alone = len(tasks) == 1
        points = [self.top if alone else AccessPoint(f"{folder}/{task.job}") for task in tasks]
        self.desks = {
            task.job: Desk(
                task=task,
                ledger=Ledger(task.cores),
                point=point,
                inspector=Inspector([point.folder, folder, *roots], scratch),
            )
            for task, point in zip(tasks, points, strict=True)
        }
        self.has_asked = False
        """Whether ranges were ever asked for."""
        self._clock = clock
        self._gather_s = gather_s
        self._request: Identity | None = None
        self._strangers: list[JobId] = []
        self._unacknowledged: list[tuple[AccessPoint, str]] = []

    @property
    def all_acknowledged(self) -> bool:
        """Whether the payload was told of all that was taken in."""
        return not self._unacknowledged

    def spent(self) -> int:
        """Give how many operations the file system was asked for since this was asked last."""
        points = {id(point): point for point in (self.top, *(desk.point for desk in self.desks.values()))}
        return sum(point.spent() for point in points.values())

    def gathered_at(self) -> float:
        """Steady seconds when some ranges were gathered long enough; infinity: there are none."""
        return min(desk.gathering_since for desk in self.desks.values()) + self._gather_s

    def begin(self, job: JobId) -> None:
        """Make the access point, with all about the first job. UnsafeName, MessageNotUnderstood: that cannot be."""
        self.top.make()
        self._equip(self.desks[job])

    def hear(self, seen: frozenset[str], now: float) -> bool:
        """Take in dumps and updates. `seen`: what is in the access point; tell whether there was anything new."""
        fresh = False
        for desk in self._equipped():
            desk.there = seen if desk.point is self.top else desk.point.look()
            for name in (names.UPDATES, names.DUMP):
                fresh |= self._hear(desk, name, now)
        return fresh

    def answer(self, seen: frozenset[str], now: float) -> bool:
        """Serve requests, as far as there is something to give; tell whether there was anything new."""
        fresh = False
        if names.JOB_REQUEST in seen:
            self._hand_over_jobs()
            fresh = True
        if names.RANGE_REQUEST in seen and self._request is None:
            fresh |= self._hear_request()
        for desk in self._equipped():
            if desk.ledger.asked or self._owes_strangers(desk):
                fresh |= self._hand_over(desk, now)
        open_still = [desk for desk in self._equipped() if desk.ledger.asked or self._owes_strangers(desk)]
        if self._request is not None and not open_still:
            self._close_request()
        return fresh

    def acknowledge(self) -> None:
        """Say that dumps were taken in: when all that was made of them has been fetched."""
        while self._unacknowledged and all(desk.settled for desk in self.desks.values()):
            point, name = self._unacknowledged[-1]
            point.move(name + names.TAKEN, f"{name}{names.TAKEN}.{stamp(self._clock.wall())}")
            self._unacknowledged.pop()

    def _equipped(self) -> Sequence[Desk]:
        return [desk for desk in self.desks.values() if desk.equipped]

    def _owes_strangers(self, desk: Desk) -> bool:
        """Tell whether this job's answer is the place to say that there is nothing for jobs which nobody knows."""
        return bool(self._strangers) and desk.point is self.top

    def _equip(self, desk: Desk) -> None:
        """Let the payload find what it needs for a job."""
        task, point = desk.task, desk.point
        dictionary = names.event_job(task)
        if point is not self.top:
            point.make()
        point.link(task.inputs)
        point.put(names.CATALOG, names.write_catalog(task.inputs, dictionary))
        point.put(names.JOBS, names.write_job(task.job, dictionary))
        known = [other.task.job for other in self.desks.values() if other.equipped or other is desk]
        self.top.put(names.PANDA_IDS, names.write_panda_ids(known))
        desk.equipped = True

    def _hand_over_jobs(self) -> None:
        """Let the payload know of as many more jobs as it wants and there are."""
        try:
            found = self.top.read(names.JOB_REQUEST)
        except TornMessage:
            return
        number = names.read_job_request(found.text) if found else 0
        waiting = [desk for desk in self.desks.values() if not (desk.equipped or desk.broken)]
        for desk in waiting[:number]:
            try:
                self._equip(desk)
            except (UnsafeName, MessageNotUnderstood) as error:
                desk.broken = f"the payload cannot be told of its job: {error}"
        self.top.remove(names.JOB_REQUEST)

    def _hear_request(self) -> bool:
        """Read who asks for how many ranges; a text that is not whole is left for the next look."""
        try:
            found = self.top.read(names.RANGE_REQUEST)
            asked = names.read_range_request(found.text, names.RANGE_REQUEST) if found else {}
        except TornMessage:
            return False
        except MessageNotUnderstood as error:
            log.warning("set aside: %s", error)
            self.top.move(names.RANGE_REQUEST, self._odd(names.RANGE_REQUEST))
            return True
        if found is None:
            return False
        self._request, self.has_asked = found.identity, True
        known = {desk.task.job: desk for desk in self._equipped()}
        self._strangers = []
        for job, number in asked.items():
            if job in known:
                known[job].ledger.asked = number
            else:
                log.warning("%s: ranges are wanted of job %s, which is not this worker's", self.top.folder, job)
                self._strangers.append(job)
        return True

    def _close_request(self) -> None:
        """Remove the request that was served, and no other: the payload may have written the next one by now."""
        if self.top.move(names.RANGE_REQUEST, SERVED):
            same = self.top.identity(SERVED) == self._request
            if same or not self.top.put_back(SERVED, names.RANGE_REQUEST):
                self.top.remove(SERVED)
        self._request = None

    def _hand_over(self, desk: Desk, now: float) -> bool:
        """Write the ranges that were gathered, or that there are no more; never over a file that was not read."""
        ledger, waiting = desk.ledger, desk.ledger.waiting
        gathered = len(waiting) >= ledger.asked or now >= desk.gathering_since + self._gather_s
        wanted = desk.closing or not ledger.asked or (waiting and gathered)
        if names.RANGES in desk.there or not wanted:
            return False
        answer = {desk.task.job: [leased.range for leased in waiting]} if ledger.asked else {}
        if self._owes_strangers(desk):
            answer |= {job: [] for job in self._strangers}
            self._strangers = []
        desk.point.put(names.RANGES, names.write_ranges(answer))
        if ledger.asked:
            ledger.hand_over(now)
            desk.gathering_since = math.inf
        return True

    def _hear(self, desk: Desk, name: str, now: float) -> bool:
        """Take in a dump. Until it is acknowledged, the next one is not looked at."""
        point, there, taken = desk.point, desk.there, name + names.TAKEN
        if (point, name) in self._unacknowledged:
            return False
        if taken not in there and not (name in there and point.move(name, taken)):
            return False
        try:
            found = point.read(taken)
            dump = names.read_dump(found.text if found else b"", f"{point.folder}/{name}")
        except TornMessage:
            point.put_back(taken, name)
            return False
        except MessageNotUnderstood as error:
            log.warning("set aside: %s", error)
            point.move(taken, self._odd(name))
            return True
        self._unacknowledged.append((point, name))
        self._enter(dump, f"{point.folder}/{name}", now)
        return True

    def _enter(self, dump: names.Dump, where: str, now: float) -> None:
        for words in dump.strange:
            log.warning("left out of %s: %s", where, words)
        for job, entries in dump.entries.items():
            desk = self.desks.get(job)
            if desk is None:
                log.warning("%s speaks of job %s, which is not this worker's", where, job)
                continue
            claims, failed = desk.ledger.hear(entries, now)
            desk.inspector.add(claims)
            desk.outbox += failed

    def _odd(self, name: str) -> str:
        return f"{name}.odd.{stamp(self._clock.wall())}"
