"""The poller: looks at journals, heartbeats and batch jobs of live allocations, and puts what it sees in the queue."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from queue import SimpleQueue

from hpcharvest.clock import Clock
from hpcharvest.config.schema import Controller
from hpcharvest.engine.events import Event, SegmentArrived, StraysSeen
from hpcharvest.engine.strays import Ours, strays, told_of
from hpcharvest.errors import BatchError, HarvestError, MessageNotUnderstood, TornMessage
from hpcharvest.messenger.mailbox import Mailbox
from hpcharvest.messenger.protocol import Segment
from hpcharvest.model.allocation import Allocation
from hpcharvest.model.facts import BatchReported, HeartbeatMoved
from hpcharvest.model.ids import AllocationId
from hpcharvest.model.states import BatchState
from hpcharvest.providers.batch import BatchSystem
from hpcharvest.providers.dialect import BatchStatus

logger = logging.getLogger(__name__)

TICK_S = 1.0
"""Seconds between two looks whether a batch system is to be asked."""
LONGEST_BACKOFF = 8
"""A batch system that does not answer is asked again after twice, four times, ... and so many times the usual pause."""
TORN_LOOKS = 60
"""A segment that is torn in so many looks, some minutes, stays so."""
SLOWER = 1.5
"""Factor by which the pauses between two looks at a quiet journal grow."""


@dataclass(slots=True)
class Watched:
    """A live allocation, as the poller knows it. Times in steady seconds."""

    number: AllocationId
    site: str
    tag: str
    mailbox: Mailbox
    next_segment: int
    pause: float
    heartbeat: float
    next_look: float = 0.0
    next_beat: float = 0.0
    torn: int = 0
    """How often in a row its next segment was found torn."""
    closed: bool = False


@dataclass(slots=True)
class Asked:
    """A batch system, and when it is to be asked next."""

    system: BatchSystem
    next_question: float = 0.0
    failures: int = 0
    """How often in a row it did not answer."""
    tidy: bool = False
    """Whether it was asked since the last allocation ended, and told of no strays; until then it is asked even if no
    allocation is alive."""
    unknown: set[str] = field(default_factory=set)
    """Words of its own that we do not know, and that people were told of."""


class Watch:
    """The poller's thread, and what it looks after."""

    def __init__(
        self,
        *,
        systems: dict[str, BatchSystem],
        events: SimpleQueue[Event],
        settings: Controller,
        clock: Clock,
    ) -> None:
        self._harvester_id = settings.harvester_id
        self._sites = {site: Asked(system) for site, system in systems.items()}
        self._events = events
        self._patience = settings.patience
        self._clock = clock
        self._watched: dict[AllocationId, Watched] = {}
        self._batch_ids: dict[AllocationId, str] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._news = threading.Event()
        # Two threads: a batch system that does not answer must not keep journals from being read.
        self._threads = [
            threading.Thread(target=self._run, args=(self._look_at_all, self._wake), name="watch", daemon=True),
            threading.Thread(target=self._run, args=(self._ask_all, self._news), name="ask", daemon=True),
        ]
        self.looks = 0
        """How often all journals were looked at."""
        self.questions = 0
        """How often all batch systems were asked that are to be asked."""

    def start(self) -> None:
        """Begin to look."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop looking."""
        self._stop.set()
        self._wake.set()
        self._news.set()
        for thread in self._threads:
            thread.join()

    def follow(self, allocation: Allocation, site: str, mailbox: Mailbox) -> None:
        """Look after an allocation from now on; again, if it is followed already, to learn its batch id."""
        with self._lock:
            if allocation.id not in self._watched:
                self._watched[allocation.id] = Watched(
                    allocation.id,
                    site,
                    allocation.tag,
                    mailbox,
                    allocation.next_segment,
                    self._patience.journal_poll_s,
                    allocation.heartbeat,
                )
                self._wake.set()
            if allocation.batch_id:
                self._batch_ids[allocation.id] = allocation.batch_id

    def forget(self, number: AllocationId) -> None:
        """Look no more after an allocation."""
        with self._lock:
            one = self._watched.pop(number, None)
            self._batch_ids.pop(number, None)
            if one is not None and one.site in self._sites:
                self._sites[one.site].tidy = False  # its batch job may be there still

    def _run(self, do: Callable[[], float], wake: threading.Event) -> None:
        while not self._stop.is_set():
            try:
                pause = do()
            except Exception:
                # The border of a thread: it must go on, and what nobody foresaw must be seen.
                logger.exception("looking after allocations failed in a way that nobody foresaw")
                pause = self._patience.journal_poll_max_s
            wake.wait(pause)
            wake.clear()

    def _look_at_all(self) -> float:
        """Look at every journal that is due; give the seconds until one is due again."""
        with self._lock:
            watched = list(self._watched.values())
        now = self._clock.steady()
        for one in watched:
            if now >= one.next_look and not one.closed:
                self._look(one, now)
        self.looks += 1
        due = [one.next_look for one in watched if not one.closed]
        latest = now + self._patience.journal_poll_max_s
        return max(0.01, min([*due, latest]) - self._clock.steady())

    def _ask_all(self) -> float:
        """Ask every batch system that is due, if it may have batch jobs of ours; give the seconds until the next is."""
        if not self.looks:
            return 0.05  # heartbeats first: what the batch system says counts only beside them
        now = self._clock.steady()
        for site, asked in self._sites.items():
            with self._lock:
                ours = {
                    n: Ours(id=self._batch_ids[n], tag=one.tag, folder=one.mailbox.folder)
                    for n, one in self._watched.items()
                    if one.site == site and n in self._batch_ids
                }
                wanted = (ours or not asked.tidy) and now >= asked.next_question
                asked.tidy = asked.tidy or wanted
            if wanted:
                asked.next_question = now + self._patience.batch_poll_s
                self._ask(site, asked, ours)
        self.questions += 1
        return max(0.05, min(TICK_S, self._patience.batch_poll_s))

    def _look(self, one: Watched, now: float) -> None:
        moved = False
        try:
            for segment in _read(one):
                moved = True
                one.next_segment = segment.number + 1
                one.closed = segment.closes
                self._events.put(SegmentArrived(allocation=one.number, segment=segment, at=self._clock.wall()))
            if now >= one.next_beat:
                self._feel(one, now)
        except HarvestError as error:
            logger.warning("allocation %s: %s; will look again", one.number, error)
        slowest = self._patience.journal_poll_max_s
        one.pause = self._patience.journal_poll_s if moved else min(one.pause * SLOWER, slowest)
        one.next_look = now + one.pause

    def _feel(self, one: Watched, now: float) -> None:
        """Look whether the heartbeat moved; compared with itself, since the file server has a clock of its own."""
        one.next_beat = now + self._patience.heartbeat_s / 2
        beat = one.mailbox.heartbeat_mtime()
        if beat is not None and beat != one.heartbeat:
            one.heartbeat = beat
            self._events.put(HeartbeatMoved(allocation=one.number, beat=beat, at=self._clock.wall()))

    def _ask(self, site: str, asked: Asked, ours: dict[AllocationId, Ours]) -> None:
        """Ask a batch system once about all its batch jobs. If it does not answer, nothing is known about any."""
        try:
            said = asked.system.status({one.id: one.folder for one in ours.values()})
        except BatchError as error:
            if not asked.failures:
                logger.warning("the batch system of %s says nothing: %s; will ask again", site, error)
            asked.failures += 1
            asked.tidy = False
            pause = self._patience.batch_poll_s * min(2**asked.failures, LONGEST_BACKOFF)
            asked.next_question = self._clock.steady() + pause
            return
        if asked.failures:
            logger.info("the batch system of %s answers again", site)
        asked.failures = 0
        at = self._clock.wall()
        told = {number: told_of(one, said) for number, one in ours.items()}
        known = {one.id for one in told.values() if one} | {one.id for one in ours.values()}
        if found := strays(said, known, self._harvester_id):
            asked.tidy = False
            self._events.put(StraysSeen(site=site, found=found, at=at))
        self._tell_unknown(site, asked, said)
        for number, one in ours.items():
            status = told[number] or BatchStatus(id=one.id, state=BatchState.ABSENT, words="not listed")
            self._events.put(BatchReported(allocation=number, state=status.state, words=status.words, at=at))

    @staticmethod
    def _tell_unknown(site: str, asked: Asked, said: Mapping[str, BatchStatus]) -> None:
        """Let people know of words that we do not, once each."""
        for status in said.values():
            if status.state is BatchState.UNKNOWN and status.words not in asked.unknown:
                asked.unknown.add(status.words)
                logger.warning(
                    "the batch system of %s says %r of batch job %s: a state that we do not know, and conclude nothing "
                    "from; please open an issue",
                    site,
                    status.words,
                    status.id,
                )


def _read(one: Watched) -> list[Segment]:
    """Read what is new. What stays torn, or is damaged, is passed over, or it would hide all that follows."""
    try:
        found = one.mailbox.read_segments(one.next_segment)
    except TornMessage as error:
        one.torn += 1
        if one.torn < TORN_LOOKS:
            raise
        found = [one.mailbox.journal.pass_over(one.next_segment, error)]
    except MessageNotUnderstood as error:
        found = [one.mailbox.journal.pass_over(one.next_segment, error)]
    one.torn = 0
    return found
