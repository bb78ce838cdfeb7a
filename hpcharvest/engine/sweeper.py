"""The sweeper: folders of jobs that are over, removed many at a time and out of everybody's way."""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Sequence
from pathlib import Path

from hpcharvest.clock import Clock
from hpcharvest.engine.effects import Hands, Kind

logger = logging.getLogger(__name__)

SWEEP = "sweep"
MANY = 100
"""So many folders are worth a process."""
AT_ONCE = 1000
"""So many folders go onto one command line."""
PAUSE_S = 5.0
"""Seconds that fewer wait for more."""


class Sweeper:
    """Gathers folders, and lets `rm` remove them all at once: here, one by one, it cost a seventh of all our time.

    What is not removed, because we were killed or the file system would not, is left to the retention.
    """

    def __init__(self, hands: Hands, clock: Clock) -> None:
        self._hands = hands
        self._clock = clock
        self._folders: list[Path] = []
        self._since = 0.0

    def take(self, *folders: Path) -> None:
        """Note folders that nobody needs any more; they need not exist."""
        if not self._folders:
            self._since = self._clock.steady()
        self._folders += folders

    def sweep(self) -> None:
        """Remove what was gathered, if it is worth it."""
        worth = len(self._folders) >= MANY or (self._folders and self._clock.steady() >= self._since + PAUSE_S)
        if worth and not self._hands.holds(SWEEP):
            folders, self._folders = self._folders, []
            self._hands.carry_out(Kind.SWEEP, SWEEP, lambda: remove(folders))

    def finish(self) -> None:
        """Remove what was gathered, here and now."""
        folders, self._folders = self._folders, []
        remove(folders)


def remove(folders: Sequence[Path]) -> None:
    """Remove folders with all that is in them; those that are not there are no error."""
    for some in (folders[start : start + AT_ONCE] for start in range(0, len(folders), AT_ONCE)):
        done = subprocess.run(["rm", "-rf", "--", *some], capture_output=True, check=False, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            logger.warning("some folders were not removed: %s", done.stderr.decode(errors="replace").strip()[:500])
