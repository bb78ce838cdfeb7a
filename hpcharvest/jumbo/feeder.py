"""Reads the feed of one job, file by file, as it appears: seldom, as each look is one at the shared file system."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Final

from hpcharvest.errors import MessageNotUnderstood, StorageUnavailable, TornMessage
from hpcharvest.messenger.ranges import Feed
from hpcharvest.model.ids import JobId

log = logging.getLogger(__name__)

ReadFeed = Callable[[JobId, int], Feed | None]
"""Reads a file of the feed; None: it is not there (yet). Errors as of `Mailbox.read_feed`."""

SHORTEST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 5.0
FILES_A_LOOK: Final = 4
"""Files that are there are read one after another, but not so many that the head's loop stands still."""
TORN_LOOKS: Final = 10
"""A file that is no whole text at so many looks never will be."""


class Feeder:
    """Where the reading of one job's feed has come to. `take` takes in what was read; it may not understand it."""

    def __init__(self, job: JobId, read: ReadFeed, take: Callable[[Feed], None]) -> None:
        self._job = job
        self._read = read
        self._take = take
        self._number = 0
        self._pause_s = SHORTEST_PAUSE_S
        self._torn = 0
        self.due = -math.inf
        """Steady seconds: when to look next."""
        self.last = False
        """Whether nothing will follow."""
        self.bad = 0
        """Files that were passed over, as they are none of this feed."""

    def hurry(self) -> None:
        """Look often again: something should come."""
        self._pause_s = SHORTEST_PAUSE_S

    def look(self, now: float) -> bool:
        """Read what has appeared, and tell whether there was anything."""
        found = 0
        while found < FILES_A_LOOK and not self.last and self._next():
            found += 1
        self._pause_s = SHORTEST_PAUSE_S if found else min(1.5 * self._pause_s, LONGEST_PAUSE_S)
        self.due = math.inf if self.last else now + self._pause_s
        return found > 0

    def _next(self) -> bool:
        """Read the next file; False: it is not there, or cannot be read yet."""
        try:
            feed = self._read(self._job, self._number)
            if feed is None:
                return False
            self._take_in(feed)
        except StorageUnavailable as error:
            log.warning("job %s: its feed cannot be read: %s", self._job, error)
            return False
        except MessageNotUnderstood as error:
            if isinstance(error, TornMessage) and self._torn < TORN_LOOKS:
                self._torn += 1
                return False
            log.error("job %s: file %s of its feed is passed over: %s", self._job, self._number, error)  # noqa: TRY400  # the message says it all
            self.bad += 1
        else:
            self.last = feed.last
        self._torn = 0
        self._number += 1
        return True

    def _take_in(self, feed: Feed) -> None:
        if (feed.job, feed.number) != (self._job, self._number):
            raise MessageNotUnderstood(f"it says that it is {feed.job}.{feed.number}")
        self._take(feed)
