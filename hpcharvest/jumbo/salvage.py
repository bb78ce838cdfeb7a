"""What a dead node left: closed archives are made of what was durable in its open ones, as its spool tells.

A salvaged archive is a new file under a name of its own, so that a node that was only thought dead cannot write over
it. All may be repeated, and gives the same.
"""

from __future__ import annotations

import logging
import os
import zlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from hpcharvest.clock import Clock, SystemClock
from hpcharvest.jumbo.node import members, spool
from hpcharvest.jumbo.node.members import Entry
from hpcharvest.jumbo.node.spool import ClosedLine, DoneLine, FailedLine, HeardLine, Line, VoidLine
from hpcharvest.messenger.files import storage, sync_folder
from hpcharvest.messenger.protocol import Record
from hpcharvest.messenger.ranges import ARCHIVES, PART, ArchiveClosed, RangeDone, RangeFailed, RangesFailed
from hpcharvest.model.ids import JobId

log = logging.getLogger(__name__)

SALVAGED: Final = "-salvaged"
"""Before the ending of a salvaged archive's name."""


@dataclass(slots=True)
class _Book:
    """One archive, as a spool tells of it."""

    job: JobId
    name: str
    done: dict[int, DoneLine] = field(default_factory=dict)
    """By offset: what was written twice was undone in between."""
    void: set[int] = field(default_factory=set)
    closed: ClosedLine | None = None

    def counted(self) -> list[DoneLine]:
        return [line for offset, line in sorted(self.done.items()) if offset not in self.void]


@dataclass(slots=True)
class _Estate:
    """What one node left: its archives, and its failures of which nobody is known to have heard."""

    node: str
    books: dict[str, _Book] = field(default_factory=dict)
    failed: dict[tuple[JobId, int], FailedLine] = field(default_factory=dict)


def salvage(
    folder: Path,
    node: str | None,
    told: Collection[str],
    *,
    life: int | None = None,
    told_ranges: Collection[str] = (),
    clock: Clock | None = None,
) -> tuple[Record, ...]:
    """Close what dead nodes left open in an allocation's folder, and give what is to be said about it.

    `node`, and which `life` of it (None: all). `told`: names of archives that are in the journal; `told_ranges`: ids of
    ranges that have an outcome there. A member that is damaged is left out. StorageUnavailable: try again later.
    """
    at = (clock or SystemClock()).wall()
    estates = [_estate(path) for path in spool.spools(folder, node, life)]
    taken = set(told_ranges)
    for estate in estates:
        for name, book in estate.books.items():
            if name in told or _salvaged(name) in told:
                taken.update(line.id for line in book.counted())
    records: list[Record] = []
    for estate in estates:
        for name, book in estate.books.items():
            if name not in told and _salvaged(name) not in told:
                records += _close(folder / ARCHIVES, book, taken, at)
    return (*records, *_failures(estates, taken, at))


def _estate(path: Path) -> _Estate:
    owner = path.name.removesuffix(spool.SUFFIX).rpartition(".")[0]
    estate = _Estate(node=owner)
    for line in spool.read(path):
        _enter(estate, line)
    return estate


def _enter(estate: _Estate, line: Line) -> None:
    match line:
        case DoneLine():
            _book(estate, line.job, line.archive).done[line.member.offset] = line
            estate.failed.pop((line.job, line.index), None)
        case VoidLine():
            _book(estate, line.job, line.archive).void.update(line.offsets)
        case ClosedLine():
            _book(estate, line.job, line.archive).closed = line
        case FailedLine():
            estate.failed[line.job, line.index] = line
        case HeardLine():
            for index in line.failed:
                estate.failed.pop((line.job, index), None)


def _book(estate: _Estate, job: JobId, name: str) -> _Book:
    return estate.books.setdefault(name, _Book(job, name))


def _close(archives: Path, book: _Book, taken: set[str], at: float) -> list[Record]:
    """Give the record of one archive, made if it has to be; its ranges are taken then."""
    lines = book.counted()
    made = _as_it_is(archives, book)
    name = book.name
    if made is None:
        lines, made = _made(archives, book, [line for line in lines if line.id not in taken])
        name = _salvaged(name)
    fresh = list({line.id: line for line in lines if line.id not in taken}.values())
    if not fresh:
        return []
    taken.update(line.id for line in fresh)
    size, adler32 = made
    ranges = tuple(RangeDone(id=one.id, cpu_s=one.cpu_s, wall_s=one.wall_s, cores=one.cores) for one in fresh)
    return [ArchiveClosed(at=at, job=book.job, name=name, size=size, adler32=adler32, ranges=ranges)]


def _as_it_is(archives: Path, book: _Book) -> tuple[int, str] | None:
    """Give size and checksum of an archive that the node itself had closed; None: it had not, or it is damaged."""
    if book.closed is None:
        return None
    path = archives / book.name
    with storage(f"read {path}"):
        try:
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            size, value = 0, members.EMPTY
            for chunk in members.chunks(handle, 0, book.closed.size + 1):
                size, value = size + len(chunk), zlib.adler32(chunk, value)
        finally:
            os.close(handle)
    found = size, members.told(value)
    return found if found == (book.closed.size, book.closed.adler32) else None


def _made(archives: Path, book: _Book, lines: list[DoneLine]) -> tuple[list[DoneLine], tuple[int, str]]:
    """Make an archive of the members that are whole; give their lines, its size and its checksum."""
    nothing: tuple[list[DoneLine], tuple[int, str]] = ([], (0, ""))
    with storage(f"salvage {book.name} in {archives}"):
        source = _opened(archives / f"{book.name}{PART}", archives / book.name)
        if source is None:
            log.error("%s: its file is gone, and with it %s ranges", book.name, len(lines))
            return nothing
        try:
            whole = [line for line in lines if members.is_whole(source, line.member)]
            if len(whole) < len(lines):
                log.error("%s: %s of %s outputs are damaged", book.name, len(lines) - len(whole), len(lines))
            return (whole, _written(archives, book, source, whole)) if whole else nothing
        finally:
            os.close(source)


def _opened(*paths: Path) -> int | None:
    """Open the first that is there: one that was given its name may not be what its node said, but has its members."""
    for path in paths:
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
    return None


def _written(archives: Path, book: _Book, source: int, lines: Iterable[DoneLine]) -> tuple[int, str]:
    target = archives / _salvaged(book.name)
    draft = target.with_name(f".{target.name}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        made = members.copy(source, [_entry(line) for line in lines], handle, book.job)
    finally:
        os.close(handle)
    draft.replace(target)
    sync_folder(archives)
    return made


def _entry(line: DoneLine) -> Entry:
    return Entry(index=line.index, id=line.id, cpu_s=line.cpu_s, wall_s=line.wall_s, member=line.member)


def _salvaged(name: str) -> str:
    return f"{name.removesuffix('.tar')}{SALVAGED}.tar"


def _failures(estates: Iterable[_Estate], taken: set[str], at: float) -> list[Record]:
    """Give the failures of which the head had not heard, of ranges that nobody has done."""
    by_job: dict[JobId, dict[str, RangeFailed]] = {}
    for estate in estates:
        for line in estate.failed.values():
            if line.id not in taken:
                one = RangeFailed(id=line.id, error=line.error, node=estate.node)
                by_job.setdefault(line.job, {}).setdefault(line.id, one)
    return [RangesFailed(at=at, job=job, ranges=tuple(found.values())) for job, found in sorted(by_job.items())]
