"""Keeps a node's outcomes on the shared file system, in a thread of its own: a slow storage holds no slot.

Outputs lie on the node until they are durable, and are removed then. A storage that does not play is tried again.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import threading
from collections import deque
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Final

from hpcharvest.clock import Clock
from hpcharvest.errors import StorageUnavailable
from hpcharvest.jumbo.node import rubbish
from hpcharvest.jumbo.node.archive import Archive
from hpcharvest.jumbo.node.logs import FailedLogs
from hpcharvest.jumbo.node.outputs import Kept, Shut
from hpcharvest.jumbo.node.shelf import Shelf, Volume
from hpcharvest.jumbo.node.spool import Line, Spool, spool_path
from hpcharvest.jumbo.node.storing import Flop, Fresh, Storing
from hpcharvest.jumbo.slots.slot import Done, Leased
from hpcharvest.messenger.ranges import ARCHIVES, EventTask
from hpcharvest.model.ids import JobId

log = logging.getLogger(__name__)

FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 15.0
"""Between two tries on a storage that does not play."""
REST_S: Final = 4.0
"""How long names are left alone after an archive was closed or a log written."""
SHORTEST_AGE_S: Final = 5.0
"""So long an archive is open at least, and the longer the more jobs there are: it is made, renamed and its folder
synced, at the most made again and removed as well, and one operation on names a second is what a node may ask."""
MOST_WAITING_BYTES: Final = 2_000_000_000
MOST_WAITING: Final = 20_000
"""Of outputs that lie on the node: with more, nothing new is begun."""


class Keeper:
    """Outputs (`node.outputs`) of one node in one life, with a thread that writes."""

    def __init__(
        self, folder: Path, node: str, life: int, *, tasks: Sequence[EventTask], clock: Clock, flush_s: float = 0.2
    ) -> None:
        """Open the spool and start the thread. StorageUnavailable: it cannot be opened."""
        self._clock, self._flush_s = clock, flush_s
        self._tasks = {task.job: task for task in tasks}
        self._serial, self._label = 0, f"{node}-{life}-{os.urandom(3).hex()}"
        self._spool = Spool(spool_path(folder, node, life))
        archives = folder / ARCHIVES
        self._shelves = {
            task.job: Shelf(task, lambda name: Archive(archives, name), self._unique, SHORTEST_AGE_S * len(tasks))
            for task in tasks
        }
        self._storing = Storing(self._spool, self._shelves)
        self._logs = FailedLogs(node)
        self._commands: deque[Callable[[], None]] = deque()
        self._arrived: list[Fresh] = []
        self._out: deque[Kept | Shut] = deque()
        self._busy = self._quit = False
        self._bell = threading.Condition()
        self._ear, self._mouth = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        # Of the thread alone:
        self._fresh: list[Fresh] = []
        self._notes: list[Line] = []
        self._not_before = 0.0
        self._rest_until = 0.0
        self._pause_s = FIRST_PAUSE_S
        self._well = True
        self._sizes: dict[str, int] = {}
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)
        self._thread.start()

    @property
    def full(self) -> bool:
        """Whether so much waits that nothing new may be begun."""
        with self._bell:
            return len(self._sizes) > MOST_WAITING or sum(self._sizes.values()) > MOST_WAITING_BYTES

    @property
    def idle(self) -> bool:
        """Whether all that was asked for is done, as far as it can be now, and was taken."""
        with self._bell:
            waits = self._busy or self._commands or self._arrived or self._fresh or self._notes or self._out
            return not waits and self._closable() is None

    def fileno(self) -> int:
        """Give a descriptor that becomes readable when there is something to take."""
        return self._ear

    def next_event(self) -> float:
        """Give infinity: it rings."""
        return math.inf

    def add_done(self, job: JobId, done: Done) -> None:
        """Keep an output, and note that its range is done."""
        size = _size(done)
        with self._bell:
            self._sizes[done.output] = size
            self._arrived.append((job, done))
            self._bell.notify()

    def add_failed(self, job: JobId, leased: Leased, error: str) -> None:
        """Note that a range failed."""
        with self._bell:
            self._arrived.append((job, Flop(leased=leased, error=error)))
            self._bell.notify()

    def settle(self, job: JobId, indices: Collection[int], void: Collection[int]) -> None:
        """Learn that the head acknowledged these outcomes, and that of these some do not count."""
        heard, lost = tuple(indices), frozenset(void)
        self._command(lambda: self._settle(job, heard, lost))

    def seal(self, job: JobId) -> None:
        """Let the job's archives be closed as soon as all that is in them was acknowledged."""
        self._command(self._shelves[job].seal)

    def discard(self, path: str) -> None:
        """Remove a folder of the node."""
        self._command(lambda: rubbish.remove(path))

    def keep_log(self, job: JobId, leased: Leased, path: str) -> None:
        """Copy the end of a failed range's log to where people look."""
        self._logs.read(self._tasks[job], leased, path)
        self._command(lambda: None)

    def take(self, now: float) -> Sequence[Kept | Shut]:  # noqa: ARG002  # others go by it
        """Take what has become durable since, in order. RuntimeError: the thread broke down, and said why."""
        if not self._quit and not self._thread.is_alive():
            raise RuntimeError("nobody writes what this node does: its keeper broke down")
        with contextlib.suppress(BlockingIOError):
            os.read(self._ear, 4096)
        with self._bell:
            found = list(self._out)
            self._out.clear()
        return found

    def close(self, patience_s: float) -> None:
        """End the thread, after a last try to write what waits; wait no longer than this for it."""
        with self._bell:
            self._quit = True
            self._bell.notify()
        self._thread.join(patience_s)
        if self._thread.is_alive():
            log.error("the storage does not answer: what is not written yet is lost")
            return
        os.close(self._ear)
        os.close(self._mouth)

    def _unique(self) -> str:
        self._serial += 1
        return f"{self._label}-{self._serial}"

    def _command(self, command: Callable[[], None]) -> None:
        with self._bell:
            self._commands.append(command)
            self._bell.notify()

    def _settle(self, job: JobId, indices: tuple[int, ...], void: frozenset[int]) -> None:
        self._notes += self._shelves[job].settle(indices, void)

    def _run(self) -> None:
        while self._await_work():
            self._work()
        self._not_before = self._rest_until = 0.0
        self._work()
        while len(self._logs):
            self._try(self._logs.write_one)
        for shelf in self._shelves.values():
            shelf.close()
        self._spool.close()

    def _await_work(self) -> bool:
        """Wait until there is something to do, and it is time; False: it is the end."""
        with self._bell:
            self._busy = False
            while not self._quit:
                now = self._clock.steady()
                due = self._due()
                if due <= now:
                    self._busy = True
                    return True
                self._bell.wait(None if math.isinf(due) else due - now)
        return False

    def _due(self) -> float:
        """Steady seconds when there is something to do."""
        if self._commands:
            return -math.inf
        ages = (shelf.due() for shelf in self._shelves.values())
        moments = [max(due, self._not_before) for due in ages if due is not None]
        if self._arrived or self._fresh or self._notes:
            moments.append(self._not_before)
        if len(self._logs) or self._closable():
            moments.append(max(self._rest_until, self._not_before))
        return min(moments, default=math.inf)

    def _work(self) -> None:
        """Do what is due, once."""
        with self._bell:
            commands, self._commands = self._commands, deque()
            arrived, self._arrived = self._arrived, []
            self._fresh += arrived
        for command in commands:
            command()
        if commands:
            self._ring()
        now = self._clock.steady()
        if now >= self._not_before:
            if not self._try(self._store):
                return
            self._not_before = now + self._flush_s
        if now >= self._rest_until and self._well and not self._notes:
            self._tidy(now)

    def _store(self) -> None:
        now = self._clock.steady()
        if self._fresh or self._notes:
            kept = self._storing.store(self._fresh, self._notes, now)
            for _, one in self._fresh:
                self._remove(one)
            self._fresh, self._notes = [], []
            self._give(kept)
        for shelf in self._shelves.values():
            shelf.seal_if_due(now)

    def _tidy(self, now: float) -> None:
        """Close an archive, or write a log: what costs the file system more than bytes."""
        found = self._closable()
        if found:
            if self._try(lambda: self._give([shut] if (shut := self._storing.close(*found)) else [])):
                self._rest_until = now + REST_S
        elif len(self._logs):
            self._try(self._logs.write_one)
            self._rest_until = now + REST_S

    def _try(self, act: Callable[[], None]) -> bool:
        """Do something on the shared file system; if it does not play, nothing is tried there for a while."""
        try:
            act()
        except StorageUnavailable as error:
            log.warning("%s outcomes wait: %s; next try in %.1f s", len(self._fresh), error, self._pause_s)
            self._not_before = self._clock.steady() + self._pause_s
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
            self._well = False
        else:
            self._pause_s = FIRST_PAUSE_S
            self._well = True
        return self._well

    def _give(self, made: Sequence[Kept | Shut]) -> None:
        with self._bell:
            self._out += made
        self._ring()

    def _ring(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._mouth, b"!")

    def _remove(self, outcome: Done | Flop) -> None:
        """Remove an output that is durable elsewhere."""
        if isinstance(outcome, Done):
            with contextlib.suppress(OSError):
                Path(outcome.output).unlink()
            with self._bell:
                self._sizes.pop(outcome.output, None)

    def _closable(self) -> tuple[JobId, Volume] | None:
        found = ((job, shelf.closable()) for job, shelf in self._shelves.items())
        return next(((job, volume) for job, volume in found if volume), None)


def _size(done: Done) -> int:
    try:
        return os.stat(done.output).st_size  # noqa: PTH116  # on the hot path
    except OSError:
        return 0
