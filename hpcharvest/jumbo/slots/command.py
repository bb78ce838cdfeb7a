"""Payloads of the kind `command`: a process for each range, its words made of a template, never by a shell.

A range is done if its process ended with 0, left its output as a regular file, and nobody was stopping it.
"""

from __future__ import annotations

import logging
import math
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hpcharvest.errors import UnsafeName
from hpcharvest.jumbo.slot import NOT_ITS_DOING
from hpcharvest.jumbo.slots import place, words
from hpcharvest.jumbo.slots.child import Child, End
from hpcharvest.jumbo.slots.pause import AT_ONCE_S, Pause
from hpcharvest.jumbo.slots.place import Place
from hpcharvest.jumbo.slots.slot import Done, Failed, Leased, Outcome
from hpcharvest.messenger.ranges import EventTask

log = logging.getLogger(__name__)

LOG: Final = "log.txt"
"""What the payload said, on stdout and stderr, in the range's folder."""
OUT: Final = "out"
"""The folder in it where the payload leaves its output."""
KILLED: Final = (-9, 137)
"""How a process ends that was killed, and how a shell tells that of its child."""
OUT_OF_MEMORY: Final = "out of memory: the kernel killed the payload"


@dataclass(slots=True, kw_only=True)
class _Run:
    leased: Leased
    child: Child
    folder: str
    output: str
    since: float
    oom_kills: int
    why: str = ""
    """Why it is stopped."""


class CommandSlot:
    """Does one range at a time."""

    def __init__(self, task: EventTask, where: Place) -> None:
        self._task = task
        self._place = where
        self._run: _Run | None = None
        self._ready: list[Outcome] = []
        self._pause = Pause()
        self._finishing = False
        self._serial = 0
        self._now = 0.0

    @property
    def room(self) -> int:
        """1 if it has nothing to do, and did not fail just now."""
        busy = self._run or self._ready or self._finishing
        return 0 if busy or not self._pause.over(self._now) else 1

    @property
    def held(self) -> Sequence[Leased]:
        """The range that it does."""
        return [self._run.leased] if self._run else []

    @property
    def over(self) -> bool:
        """Whether it takes no more, and nothing runs."""
        return self._finishing and self._run is None and not self._ready

    def give(self, leased: Leased, now: float) -> None:
        """Start the range's process; if that does not work, its outcome says so."""
        self._now = now
        self._serial += 1
        folder = f"{self._place.folder}/{self._serial}"
        try:
            output = f"{folder}/{OUT}/{place.output_name(self._task, leased.range)}"
            said = _prepare(folder)
        except UnsafeName as error:
            self._fail(leased, words.comparable(str(error), leased.range.id), now)
        except OSError as error:
            self._fail(leased, f"its folder cannot be made: {error.strerror}", now, ours=True)
        else:
            try:
                self._start(leased, folder, output, said, now)
            except (OSError, ValueError) as error:
                self._place.discard(folder)
                ours = isinstance(error, OSError) and (self._task.contained or error.errno in NOT_ITS_DOING)
                self._fail(leased, cannot_start(error), now, ours=ours)
            finally:
                os.close(said)

    def filenos(self) -> Sequence[int]:
        """Give none: the end of a child rings."""
        return ()

    def next_event(self) -> float:
        """Steady seconds when something is due."""
        if self._ready:
            return -math.inf
        if self._run:
            return self._run.child.next_event
        return math.inf if self._finishing or self._pause.over(self._now) else self._pause.until

    def serve(self, now: float) -> Sequence[Outcome]:
        """See whether the range's process ended."""
        self._now = now
        run = self._run
        if run and (end := run.child.end(now)):
            self._run = None
            self._place.bury(run.child.mark)
            self._ready.append(self._judged(run, end, now))
        ready, self._ready = self._ready, []
        return ready

    def finish(self, now: float) -> None:
        """Take no more."""
        self._now = now
        self._finishing = True

    def stop(self, ranges: Sequence[Leased], reason: str, now: float) -> None:
        """Stop the range, if it is among these."""
        if self._run and any(one.index == self._run.leased.index for one in ranges):
            self._run.why = self._run.why or reason
            self._run.child.stop(now, self._place.grace_s)

    def _start(self, leased: Leased, folder: str, output: str, said: int, now: float) -> None:
        known = place.values(self._task, leased.range, output)
        argv = [place.filled(word, known) for word in self._task.argv]
        if not argv:
            raise ValueError("its command is empty")
        oom_kills = self._place.oom_kills()
        child = Child(
            argv,
            mark=self._place.next_mark(),
            environment=self._place.environment,
            folder=folder,
            stdout=said,
            stderr=said,
        )
        self._run = _Run(leased=leased, child=child, folder=folder, output=output, since=now, oom_kills=oom_kills)

    def _judged(self, run: _Run, end: End, now: float) -> Outcome:
        wall_s = now - run.since
        if run.child.stopped:
            self._place.discard(run.folder)
            return Failed(leased=run.leased, error=run.why, wall_s=wall_s, ours=True)
        error, ours = self._fault(run, end)
        if error:
            if wall_s < AT_ONCE_S or ours:
                self._pause.failed(now)
            self._place.keep_log(run.leased, f"{run.folder}/{LOG}")
            self._place.discard(run.folder)
            return Failed(leased=run.leased, error=error, wall_s=wall_s, ours=ours)
        self._pause.succeeded()
        output = f"{run.folder}.done"
        try:
            os.rename(run.output, output)  # noqa: PTH104  # on the hot path
        except OSError as problem:
            why = f"its output cannot be taken: {problem.strerror}"
            return Failed(leased=run.leased, error=why, wall_s=wall_s, ours=True)
        finally:
            self._place.discard(run.folder)
        return Done(leased=run.leased, output=output, cpu_s=end.cpu_s, wall_s=wall_s)

    def _fault(self, run: _Run, end: End) -> tuple[str, bool]:
        """Say what was wrong, and whether it is ours; empty: nothing."""
        if end.code in KILLED and self._place.oom_kills() > run.oom_kills:
            return OUT_OF_MEMORY, False
        if end.code:
            said = words.comparable(last_words(f"{run.folder}/{LOG}"), run.leased.range.id)
            if self._task.engine_failure and end.code == self._task.engine_failure:
                return f"its container could not be started: {said}", True
            return f"the payload {words.ended(end.code)}{': ' if said else ''}{said}", False
        if not is_regular(run.output):
            return "the payload ended well, but did not leave its output", False
        return "", False

    def _fail(self, leased: Leased, error: str, now: float, *, ours: bool = False) -> None:
        self._pause.failed(now)
        self._ready.append(Failed(leased=leased, error=error, wall_s=0.0, ours=ours))


def _prepare(folder: str) -> int:
    """Make a range's folder; give a descriptor for what its payload says."""
    Path(folder, OUT).mkdir(parents=True)
    return os.open(f"{folder}/{LOG}", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o644)


def cannot_start(error: OSError | ValueError) -> str:
    """Say why there is no process, in words that are the same on another node."""
    why = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
    return f"the payload cannot be started: {words.comparable(why)}"


def is_regular(path: str) -> bool:
    """Tell whether there is a regular file, and no link to one."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False


def last_words(path: str) -> str:
    """Give the last line of a log."""
    try:
        with Path(path).open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 4096))
            return words.last_line(file.read(4096))
    except OSError as error:
        return f"(its log cannot be read: {error.strerror})"
