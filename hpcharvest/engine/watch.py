"""The poller: looks at journals, heartbeats and batch jobs of live allocations, and puts what it sees in the queue."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field
from queue import SimpleQueue

from hpcharvest.clock import Clock
from hpcharvest.config.schema import Patience
from hpcharvest.engine.events import Event, SegmentArrived
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

SLOWER = 1.5
"""Factor by which the pauses between two looks at a quiet journal grow."""


@dataclass(slots=True)
class Watched:
    """A live allocation, as the poller knows it. Times in steady seconds."""

    number: AllocationId
    site: str
    mailbox: Mailbox
    next_segment: int
    pause: float
    heartbeat: float
    next_look: float = 0.0
    next_beat: float = 0.0
    closed: bool = False


@dataclass(slots=True)
class Asked:
    """A batch system, and when it is to be asked next."""

    system: BatchSystem
    next_question: float = 0.0
    down: bool = False
    said: dict[str, BatchStatus] = field(default_factory=dict)


class Watch:
    """The poller's thread, and what it looks after."""

    def __init__(
        self,
        *,
        systems: dict[str, BatchSystem],
        events: SimpleQueue[Event],
        patience: Patience,
        clock: Clock,
    ) -> None:
        self._sites = {site: Asked(system) for site, system in systems.items()}
        self._events = events
        self._patience = patience
        self._clock = clock
        self._watched: dict[AllocationId, Watched] = {}
        self._batch_ids: dict[AllocationId, str] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self.passes = 0
        """How often everything was looked at."""

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def close(self) -> None:
        """Stop looking."""
        self._stop.set()
        self._wake.set()
        self._thread.join()

    def follow(self, allocation: Allocation, site: str, mailbox: Mailbox) -> None:
        """Look after an allocation from now on; again, if it is followed already, to learn its batch id."""
        with self._lock:
            if allocation.id not in self._watched:
                self._watched[allocation.id] = Watched(
                    allocation.id,
                    site,
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
            self._watched.pop(number, None)
            self._batch_ids.pop(number, None)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                pause = self._pass()
            except Exception:
                # The border of a thread: the poller must go on, and what nobody foresaw must be seen.
                logger.exception("looking after allocations failed in a way that nobody foresaw")
                pause = self._patience.journal_poll_max_s
            self._wake.wait(pause)
            self._wake.clear()

    def _pass(self) -> float:
        """Look at everything that is due; give the seconds until something is due again."""
        with self._lock:
            watched = list(self._watched.values())
        now = self._clock.steady()
        for one in watched:
            if now >= one.next_look and not one.closed:
                self._look(one, now)
        for site, asked in self._sites.items():
            if now >= asked.next_question and any(
                one.site == site and one.number in self._batch_ids for one in watched
            ):
                asked.next_question = now + self._patience.batch_poll_s
                self._ask(site, asked, watched)
        self.passes += 1
        due = [one.next_look for one in watched if not one.closed]
        latest = now + self._patience.journal_poll_max_s
        return max(0.01, min([*due, latest]) - self._clock.steady())

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

    def _ask(self, site: str, asked: Asked, watched: list[Watched]) -> None:
        """Ask a batch system once about all its batch jobs. If it does not answer, nothing is known about any."""
        with self._lock:
            ids = {one.number: self._batch_ids.get(one.number, "") for one in watched if one.site == site}
        try:
            said = asked.system.status({batch_id for batch_id in ids.values() if batch_id})
        except BatchError as error:
            if not asked.down:
                logger.warning("the batch system of %s says nothing: %s; will ask again", site, error)
            asked.down = True
            return
        asked.down = False
        at = self._clock.wall()
        for number, batch_id in ids.items():
            if not batch_id:
                continue
            status = said.get(batch_id) or BatchStatus(id=batch_id, state=BatchState.ABSENT, words="not listed")
            self._events.put(BatchReported(allocation=number, state=status.state, words=status.words, at=at))


def _read(one: Watched) -> list[Segment]:
    """Read what is new. What is torn is read again later; what is damaged for good is passed over."""
    try:
        return one.mailbox.read_segments(one.next_segment)
    except TornMessage:
        raise
    except MessageNotUnderstood as error:
        return [one.mailbox.journal.pass_over(one.next_segment, error)]
