"""When and how the process of a worker ends: by itself, as it says that it will, because we stop it, or as it hangs."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hpcharvest.jumbo import pilot
from hpcharvest.jumbo.access.point import AccessPoint, Identity
from hpcharvest.jumbo.folder import STDERR, STDOUT
from hpcharvest.jumbo.slot import NOT_ITS_DOING
from hpcharvest.jumbo.slots import words
from hpcharvest.jumbo.slots.child import Child
from hpcharvest.messenger import harvester_files as names
from hpcharvest.messenger.ranges import EventTask

log = logging.getLogger(__name__)

PATIENCE_S: Final = 60.0
"""How long to try to read what an ended payload said, if the storage does not play."""
HUNG: Final = "the payload's heartbeat stopped"
WANTED: Final = "the payload said that it was at its end, and did not end"


@dataclass(frozen=True, slots=True)
class Problem:
    """Why there is no process. `ours`: it is no fault of the payload's."""

    words: str
    ours: bool


class Life:
    """A worker's process. Times in steady seconds."""

    def __init__(self, task: EventTask, environment: Mapping[str, str], mark: str, grace_s: float) -> None:
        self._task = task
        self._environment = environment
        self._mark = mark
        self._grace_s = grace_s
        self._child: Child | None = None
        self._beat: Identity | None = None
        self._beat_at = 0.0
        self._next_beat = 0.0
        self._ended_at = math.inf
        self._patience_ends = math.inf
        self.leaving = False
        """Whether it said that it is at its end."""
        self.halted = ""
        """Why it is being ended."""
        self.blamed = True
        """Whether its end is its own doing."""
        self.code: int | None = None

    def start(self, folder: str, now: float) -> Problem | None:
        """Start it in a folder; a Problem says why it cannot be."""
        task = self._task
        if not task.argv:
            return Problem("the payload cannot be started: its command is empty", ours=False)
        try:
            self._child = self._started(folder)
        except OSError as error:
            ours = task.contained or error.errno in NOT_ITS_DOING
            return Problem(f"the payload cannot be started: {error.strerror}", ours=ours)
        except ValueError as error:
            return Problem(f"the payload cannot be started: {error}", ours=False)
        log.info("job %s: a worker was started as process %s", task.job, self._child.pid)
        self._beat_at = now
        return None

    def ended(self, now: float) -> bool:
        """Tell whether it has ended; if so, its code is known. Kills it, if it was asked to end and did not."""
        if self._child is not None and self.code is None:
            end = self._child.end(now)
            if end is not None:
                self.code, self._ended_at, self._patience_ends = end.code, now, math.inf
                log.info("job %s: the payload %s", self._task.job, words.ended(end.code))
        return self.code is not None

    def out_of_patience(self, now: float) -> bool:
        """Tell whether it ended so long ago that its last words need not be waited for."""
        return now >= self._ended_at + PATIENCE_S

    def next_event(self) -> float:
        """Steady seconds when it is to be pressed, or killed; infinity: never."""
        kill_at = math.inf if self._child is None or self.code is not None else self._child.next_event
        return min(self._patience_ends, kill_at)

    def heed(self, point: AccessPoint, seen: frozenset[str], now: float) -> bool:
        """Look for signs of its end, and of its life; tell whether there are new ones."""
        if self._task.heartbeat_s and names.HEARTBEAT in seen and now >= self._next_beat and self.code is None:
            self._listen(point, now)
        if self.leaving or not (names.FINISHED in seen or any(name in seen for name in names.KILLS)):
            return False
        log.info("job %s: its worker says that it is at its end", self._task.job)
        self.leaving = True
        if not self.halted and self.code is None:
            self._patience_ends = now + self._grace_s
        return True

    def halt(self, reason: str, now: float, *, blame: bool) -> None:
        """Ask it to end; after a grace it is killed. The first reason counts."""
        if self.halted or self._child is None or self.code is not None:
            return
        self.halted, self.blamed, self._patience_ends = reason, blame, math.inf
        self._child.stop(now, self._grace_s)

    def press(self, now: float) -> None:
        """Ask it to end, if it said that it would and did not."""
        if now >= self._patience_ends:
            self.halt(WANTED, now, blame=False)

    def last_words(self) -> str:
        """Say why it ended."""
        return self.halted or f"the payload {words.ended(self.code or 0)}"

    def _started(self, folder: str) -> Child:
        with Path(folder, STDOUT).open("ab") as stdout, Path(folder, STDERR).open("ab") as stderr:
            return Child(
                self._task.argv,
                mark=self._mark,
                environment=pilot.environment(self._environment, self._task.env, folder, Path(self._task.folder).name),
                folder=folder,
                stdout=stdout.fileno(),
                stderr=stderr.fileno(),
            )

    def _listen(self, point: AccessPoint, now: float) -> None:
        self._next_beat = now + self._task.heartbeat_s / 4
        found = point.identity(names.HEARTBEAT)
        if found != self._beat:
            self._beat, self._beat_at = found, now
        elif now > self._beat_at + self._task.heartbeat_s:
            self.halt(HUNG, now, blame=True)
