"""Archives and spools on virtual time, on a shared file system that takes its time."""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Final

from hpcharvest.cli.bench.virtual.loop import Loop
from hpcharvest.jumbo.node.outputs import Kept, Shut
from hpcharvest.jumbo.slots.slot import Done, Leased
from hpcharvest.messenger.protocol import Record
from hpcharvest.messenger.ranges import ArchiveClosed, EventTask, RangeDone
from hpcharvest.model.ids import JobId

FLUSH_S: Final = 1.0
"""Until an output is durable."""
CLOSE_S: Final = 2.0
"""To close an archive."""


@dataclass(slots=True)
class _Open:
    """An archive that is written."""

    name: str
    since: float
    rows: dict[int, list[object]] = field(default_factory=dict)
    unheard: set[int] = field(default_factory=set)
    sealed: bool = False
    shut_at: float = math.inf


class Storage:
    """A node's archives and spool, on a shared file system that takes its time: `Outputs`, for one job.

    What is in `spool` outlives the node.
    """

    def __init__(self, task: EventTask, node: str, life: int, ids: Callable[[int], str], loop: Loop) -> None:
        self._task, self._ids, self._loop = task, ids, loop
        self._prefix = f"{node}.{life}"
        self._serial = itertools.count()
        self._waiting: deque[tuple[float, list[object], str]] = deque()
        self._open: _Open | None = None
        self._closing: list[_Open] = []
        self.spool: dict[str, list[str]] = {}
        """Archives, and the ids of the ranges whose outputs are in them for certain."""
        self.full = False

    @property
    def idle(self) -> bool:
        """Whether nothing waits to become durable, or to be closed and free to be."""
        return not self._waiting and not any(not one.unheard for one in self._closing)

    def fileno(self) -> int:
        """There is none."""
        return -1

    def next_event(self) -> float:
        """When something becomes durable, or old."""
        waiting = self._waiting[0][0] if self._waiting else math.inf
        aged = self._open.since + self._task.archive_age_s if self._open else math.inf
        return min(waiting, aged, *(one.shut_at for one in self._closing), math.inf)

    def add_done(self, job: JobId, done: Done) -> None:  # noqa: ARG002  # as all outputs
        """Keep an output."""
        row: list[object] = [done.leased.index, done.cpu_s, done.wall_s]
        self._waiting.append((self._loop.now + FLUSH_S, row, ""))

    def add_failed(self, job: JobId, leased: Leased, error: str) -> None:  # noqa: ARG002  # as all outputs
        """Note a failure."""
        self._waiting.append((self._loop.now + FLUSH_S, [leased.index], error))

    def settle(self, job: JobId, indices: Collection[int], void: Collection[int]) -> None:  # noqa: ARG002  # the same
        """Learn what was acknowledged."""
        for one in (*self._closing, *([self._open] if self._open else [])):
            one.unheard.difference_update(indices)
            for index in void:
                if one.rows.pop(index, None) is not None:
                    self.spool[one.name].remove(self._ids(index))
            self._close_when_heard(one)

    def seal(self, job: JobId) -> None:  # noqa: ARG002  # as all outputs
        """Close what is open."""
        if self._open is not None:
            self._closing.append(self._open)
            self._open.sealed = True
            self._close_when_heard(self._open)
            self._open = None

    def _close_when_heard(self, one: _Open) -> None:
        if one.sealed and not one.unheard and math.isinf(one.shut_at):
            one.shut_at = self._loop.now + CLOSE_S

    def take(self, now: float) -> Sequence[Kept | Shut]:
        """Take what is durable and closed."""
        if self._open is not None and now >= self._open.since + self._task.archive_age_s:
            self.seal(self._task.job)
        done, failed = [], []
        while self._waiting and self._waiting[0][0] <= now:
            _, row, error = self._waiting.popleft()
            if error:
                failed.append([*row, error])
            else:
                done.append(row)
                self._keep(row, now)
        found: list[Kept | Shut] = []
        if done or failed:
            found.append(Kept(job=self._task.job, done=tuple(done), failed=tuple(failed)))
        for one in [one for one in self._closing if one.shut_at <= now]:
            self._closing.remove(one)
            if one.rows:
                found.append(self._shut(one))
        return found

    def _keep(self, row: list[object], now: float) -> None:
        if self._open is None:
            self._open = _Open(f"{self._prefix}.{next(self._serial)}.tar", now)
            self.spool[self._open.name] = []
        index = int(str(row[0]))
        self._open.rows[index] = row
        self._open.unheard.add(index)
        self.spool[self._open.name].append(self._ids(index))

    def _shut(self, one: _Open) -> Shut:
        rows = tuple([index, self._ids(index), *row[1:]] for index, row in one.rows.items())
        return Shut(job=self._task.job, name=one.name, size=len(rows), adler32="00000001", ranges=rows)


def saved(job: JobId, spool: dict[str, list[str]], at: float) -> list[Record]:
    """Give what a salvage finds in a node's spool."""
    return [
        ArchiveClosed(
            at=at,
            job=job,
            name=f"saved.{name}",
            size=len(ids),
            adler32="00000001",
            ranges=tuple(RangeDone(id=one) for one in ids),
        )
        for name, ids in spool.items()
        if ids
    ]
