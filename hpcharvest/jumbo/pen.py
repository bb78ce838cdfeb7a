"""The runner's end of the journal: it takes the start, gathers records, and publishes them together.

It never says anything after somebody else spoke: then it is *fenced*, and has to stop its payloads and leave.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from hpcharvest.errors import MessageNotUnderstood, StorageUnavailable
from hpcharvest.messenger.journal import Journal
from hpcharvest.messenger.protocol import Key, PayloadEnded, Record, RunnerStarted, Segment, Writer
from hpcharvest.model.states import PayloadResult

log = logging.getLogger(__name__)

FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 15.0
"""Between two tries to publish on a storage that does not play."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What a journal says to a start of the batch job that wants to take it."""

    may_start: bool
    number: int
    """The next one to be won."""
    done: frozenset[Key]
    """Payloads that have an outcome."""
    records: tuple[Record, ...] = ()
    """All that was said."""


def standing(segments: Iterable[Segment], restart: int, life: int = 0) -> Standing:
    """Read off the segments, which are all there are, whether this start may go on from them: pure.

    It may not if the journal is closed, or if a start with the same count, or a later one, took it already. The next
    head of the same start may: whoever starts it has seen the last one end.
    """
    told = list(segments)
    records = [record for segment in told for record in segment.records]
    taken = max(((one.restart, one.life) for one in records if isinstance(one, RunnerStarted)), default=(-1, 0))
    closed = any(segment.closes for segment in told)
    done = frozenset((record.job, record.attempt) for record in records if isinstance(record, PayloadEnded))
    return Standing(
        may_start=not closed and taken < (restart, life), number=len(told), done=done, records=tuple(records)
    )


class Pen:
    """The journal as one start of the batch job writes it. Times are steady seconds."""

    def __init__(self, journal: Journal, *, restart: int, flush_s: float) -> None:
        self._journal = journal
        self._restart = restart
        self._flush_s = flush_s
        self._number = 0
        self._pending: list[Record] = []
        self._frozen: list[Record] = []
        self._pause_s = FIRST_PAUSE_S
        self.due: float | None = None
        """When to flush next; None: there is nothing to say."""
        self.fenced = False

    def take_start(self, started: RunnerStarted) -> Standing:
        """Win the start, or learn that this start may not run. Errors as in `Journal.read` and `Journal.publish`."""
        segments: list[Segment] = []
        while True:
            segments += self._journal.read_from(len(segments))
            found = standing(segments, self._restart, started.life)
            if not found.may_start:
                self.fenced = True
                return found
            if self._journal.publish(found.number, [started], Writer.RUNNER, self._restart):
                self._number = found.number + 1
                return found

    def add(self, record: Record, now: float) -> None:
        """Say something with the next flush."""
        self._pending.append(record)
        if self.due is None:
            self.due = now + self._flush_s

    def flush(self, now: float) -> None:
        """Publish what is pending, in one segment; sets `fenced` if somebody else spoke.

        If the storage does not play it is tried again later: the very same segment, as it may be there already.
        """
        self._frozen, self._pending = (self._frozen, self._pending) if self._frozen else (self._pending, [])
        try:
            won = self._journal.publish(self._number, self._frozen, Writer.RUNNER, self._restart)
        except StorageUnavailable as error:
            log.warning("%s records wait: %s; next try in %.1f s", len(self._frozen), error, self._pause_s)
            self.due = now + self._pause_s
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
            return
        self.fenced = not won
        if self.fenced:
            return
        self._number += 1
        self._frozen = []
        self._pause_s = FIRST_PAUSE_S
        self.due = now if self._pending else None

    def unsaid(self) -> int:
        """Count the payloads that ran here and whose outcome was not published."""
        records = [*self._frozen, *self._pending]
        return sum(
            isinstance(record, PayloadEnded) and record.outcome.result is not PayloadResult.NOT_RUN
            for record in records
        )

    def listen(self) -> None:
        """Look whether somebody else spoke. StorageUnavailable: nobody knows now."""
        if self._frozen:
            return  # what is there may be our own
        try:
            self.fenced = self._journal.read(self._number) is not None
        except MessageNotUnderstood as error:
            log.warning("somebody else spoke: %s", error)
            self.fenced = True
