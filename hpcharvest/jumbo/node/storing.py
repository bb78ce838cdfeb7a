"""How outcomes become durable: outputs into archives, archives synced, then lines into the spool; or nothing at all.

What could not be stored is stored from the start the next time: outputs stay on the node until then.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from hpcharvest.errors import OutputMissing, UnsafeName
from hpcharvest.jumbo.links.messages import Row
from hpcharvest.jumbo.node.members import Entry
from hpcharvest.jumbo.node.outputs import Kept, Shut
from hpcharvest.jumbo.node.shelf import Shelf, Volume
from hpcharvest.jumbo.node.spool import ClosedLine, DoneLine, FailedLine, Line, Spool
from hpcharvest.jumbo.slots.place import output_name
from hpcharvest.jumbo.slots.slot import Done, Leased
from hpcharvest.model.ids import JobId

log = logging.getLogger(__name__)

NOT_THERE: Final = "its output was not there when it was to be archived"


@dataclass(frozen=True, slots=True, kw_only=True)
class Flop:
    """A range that failed, to be noted."""

    leased: Leased
    error: str


Fresh = tuple[JobId, Done | Flop]
"""An outcome that is not durable yet."""


class Storing:
    """All that a node writes about its ranges. Every method may raise StorageUnavailable; then it may be repeated."""

    def __init__(self, spool: Spool, shelves: Mapping[JobId, Shelf]) -> None:
        self._spool, self._shelves = spool, shelves
        self._dirty: list[Volume] = []
        self._spool_dirty = False

    def note(self, lines: Sequence[Line]) -> None:
        """Write lines that say nothing of outputs."""
        self._clean()
        self._spool_dirty = True
        self._spool.append(lines)
        self._spool_dirty = False

    def store(self, fresh: Sequence[Fresh], notes: Sequence[Line], now: float) -> list[Kept]:
        """Make outcomes durable, all or none, with other lines; give what may be told."""
        self._clean()
        lines: list[Line] = list(notes)
        entries: list[tuple[Volume, Entry]] = []
        for job, outcome in fresh:
            if isinstance(outcome, Done):
                lines.append(self._append(job, outcome, entries, now))
            else:
                lines.append(_failed(job, outcome.leased, outcome.error))
        for volume in self._dirty:
            volume.archive.sync()
        self._spool_dirty = True
        self._spool.append(lines)
        self._spool_dirty = False
        self._dirty.clear()
        for volume, entry in entries:
            volume.entries.append(entry)
            volume.unheard[entry.index] = entry
        return _kept(lines)

    def close(self, job: JobId, volume: Volume) -> Shut | None:
        """Close an archive of which the head has heard all; None: nothing in it counts, and it is gone."""
        self._clean()
        counted = volume.counted
        if counted:
            self._dirty.append(volume)
            size, adler32 = volume.archive.finish(job, counted, shorter=len(counted) < len(volume.entries))
            self._dirty.clear()
            name = volume.archive.name
            self.note([ClosedLine(job=job, archive=name, size=size, adler32=adler32)])
            volume.archive.publish()
        else:
            volume.archive.drop()
        self._shelves[job].remove(volume)
        if not counted:
            return None
        rows: tuple[Row, ...] = tuple([one.index, one.id, one.cpu_s, one.wall_s] for one in counted)
        return Shut(job=job, name=name, size=size, adler32=adler32, ranges=rows)

    def _clean(self) -> None:
        """Undo what the last try left behind."""
        while self._dirty:
            self._dirty[-1].archive.roll_back()
            self._dirty.pop()
        if self._spool_dirty:
            self._spool.roll_back()
            self._spool_dirty = False

    def _append(self, job: JobId, done: Done, entries: list[tuple[Volume, Entry]], now: float) -> Line:
        """Put an output into the open archive; one that is not there is a range that failed."""
        shelf, leased = self._shelves[job], done.leased
        try:
            name = output_name(shelf.task, leased.range)
            volume = shelf.volume(leased.range.id, now)
            if volume not in self._dirty:
                self._dirty.append(volume)
            member = volume.archive.append(done.output, name)
        except (OutputMissing, UnsafeName) as error:
            log.error("range %s: %s", leased.range.id, error)  # noqa: TRY400  # the message says it all
            return _failed(job, leased, NOT_THERE)
        entry = Entry(index=leased.index, id=leased.range.id, cpu_s=done.cpu_s, wall_s=done.wall_s, member=member)
        entries.append((volume, entry))
        return DoneLine(
            job=job,
            index=leased.index,
            id=leased.range.id,
            archive=volume.archive.name,
            member=member,
            cpu_s=done.cpu_s,
            wall_s=done.wall_s,
            cores=shelf.task.cores,
        )


def _failed(job: JobId, leased: Leased, error: str) -> FailedLine:
    return FailedLine(job=job, index=leased.index, id=leased.range.id, error=error)


def _kept(lines: Sequence[Line]) -> list[Kept]:
    """Gather what may be told, by job."""
    done: dict[JobId, list[Row]] = {}
    failed: dict[JobId, list[Row]] = {}
    for one in lines:
        if isinstance(one, DoneLine):
            done.setdefault(one.job, []).append([one.index, one.cpu_s, one.wall_s])
        elif isinstance(one, FailedLine):
            failed.setdefault(one.job, []).append([one.index, one.error])
    jobs = sorted(done.keys() | failed.keys())
    return [Kept(job=job, done=tuple(done.get(job, ())), failed=tuple(failed.get(job, ()))) for job in jobs]
