"""Checks archives of event ranges' outputs: checksums, manifest, and the collisions in every member.

As a program it takes a PanDA sandbox's account of its event ranges and the folder in which the archives are:

    curl -s http://127.0.0.1:18443/sandbox/events > events.json
    python check_archives.py --events events.json --folder outputs/sandbox

It tells every problem and ends with status 1 if there is one, else with one line.
"""

from __future__ import annotations

import argparse
import json
import sys
import tarfile
import tempfile
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

from hpcharvest.cli.demo_data.check_collisions import check_collisions
from hpcharvest.errors import JobError

MANIFEST = "manifest.json"
_CHUNK = 1 << 20


class Slice(NamedTuple):
    """The numbers of the first and the last event of a range."""

    start: int
    last: int

    @property
    def events(self) -> int:
        """How many it has."""
        return self.last - self.start + 1


class Listed(NamedTuple):
    """A line of a manifest."""

    id: str
    name: str
    size: int
    adler32: str


@dataclass(frozen=True, kw_only=True)
class ArchiveSummary:
    """What an archive holds: how often each range is in it, all its collisions, and all that is wrong with it."""

    size: int
    adler32: str
    ranges: Counter[str] = field(default_factory=Counter)
    events: int = 0
    problems: tuple[str, ...] = ()


def check_archive(path: Path, slices: Mapping[str, Slice]) -> ArchiveSummary:
    """Read an archive from end to end; `slices`: what was to be in each range, by its identifier.

    Raises OSError if it cannot be read at all; everything else that is amiss is among the problems.
    """
    with path.open("rb") as file:
        size, adler32 = checksum(file)
    try:
        with tarfile.open(path) as archive, tempfile.TemporaryDirectory() as place:
            return _Check(archive, slices, Path(place)).summary(size, adler32)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        return ArchiveSummary(size=size, adler32=adler32, problems=(f"it is no whole archive: {error}",))


def checksum(file: IO[bytes]) -> tuple[int, str]:
    """Read to the end; give the bytes and their adler32 as eight hexadecimal digits."""
    size, value = 0, 1
    while chunk := file.read(_CHUNK):
        size, value = size + len(chunk), zlib.adler32(chunk, value)
    return size, f"{value:08x}"


class _Check:
    """One archive under examination; members are unpacked into a folder, one at a time."""

    def __init__(self, archive: tarfile.TarFile, slices: Mapping[str, Slice], place: Path) -> None:
        self._archive = archive
        self._slices = slices
        self._place = place
        self._problems: list[str] = []
        self._events = 0

    def summary(self, size: int, adler32: str) -> ArchiveSummary:
        """Examine all of it."""
        names = [one.name for one in self._archive.getmembers()]
        listed = self._manifest(names)
        counts = Counter(names)
        counts[MANIFEST] -= 1
        counts.subtract(one.name for one in listed)
        for name, count in sorted(counts.items()):
            if count:
                self._problems.append(
                    f"{name} is {'in it' if count > 0 else 'in its manifest'} {abs(count)} times more"
                )
        for one in listed:
            if one.name in names:
                self._member(one)
        return ArchiveSummary(
            size=size,
            adler32=adler32,
            ranges=Counter(one.id for one in listed),
            events=self._events,
            problems=tuple(self._problems),
        )

    def _manifest(self, names: Sequence[str]) -> list[Listed]:
        if MANIFEST not in names:
            self._problems.append(f"it has no {MANIFEST}")
            return []
        try:
            told = json.loads(self._open(MANIFEST).read())
            return [
                Listed(one["eventRangeID"], one["name"], int(one["size"]), str(one["adler32"]))
                for one in told["ranges"]
            ]
        except (ValueError, KeyError, TypeError) as error:
            self._problems.append(f"its {MANIFEST} cannot be read: {error!r}")
            return []

    def _open(self, name: str) -> IO[bytes]:
        file = self._archive.extractfile(name)
        if file is None:
            raise tarfile.ReadError(f"{name} is no plain file")
        return file

    def _member(self, one: Listed) -> None:
        with self._open(one.name) as file:
            content = file.read()
        if (len(content), f"{zlib.adler32(content):08x}") != (one.size, one.adler32):
            self._problems.append(f"{one.name} is not what its manifest says")
        wanted = self._slices.get(one.id)
        if wanted is None:
            self._problems.append(f"{one.name} is of the range {one.id}, which nobody knows")
            return
        unpacked = self._place / f"member{Path(one.name).suffix}"
        unpacked.write_bytes(content)
        try:
            seen = check_collisions(unpacked, first=wanted.start)
        except (JobError, OSError) as error:
            self._problems.append(f"{one.name}: {str(error).removeprefix(f'{unpacked}: ')}")
            return
        self._events += seen.events
        if seen.events != wanted.events:
            self._problems.append(f"{one.name} has {seen.events} events, its range has {wanted.events}")


def main(argv: Sequence[str]) -> int:
    """Check all archives that a sandbox's account names; give the exit status."""
    parser = argparse.ArgumentParser(description="Check archives of event ranges' outputs.")
    parser.add_argument("--events", type=Path, required=True, help="the answer of GET /sandbox/events")
    parser.add_argument("--folder", type=Path, required=True, help="where the archives are")
    options = parser.parse_args(argv)
    told = json.loads(options.events.read_text(encoding="utf-8"))
    slices = slices_of(told["ranges"])
    problems: list[str] = []
    seen: Counter[str] = Counter()
    events = 0
    for one in told["zips"]:
        summary = check_archive(options.folder / one["lfn"], slices)
        problems += [f"{one['lfn']}: {what}" for what in summary.problems]
        if (summary.size, summary.adler32) != (one["size"], one["adler32"]):
            problems.append(f"{one['lfn']} is not what the server was told")
        seen.update(summary.ranges)
        events += summary.events
    problems += [f"the range {name} is in {count} archives" for name, count in sorted(seen.items()) if count > 1]
    for what in problems:
        sys.stdout.write(f"{what}\n")
    if not problems:
        sys.stdout.write(f"{len(told['zips'])} archives, {len(seen)} ranges, {events} collisions: all is well\n")
    return 1 if problems else 0


def slices_of(ranges: Sequence[Mapping[str, Any]]) -> dict[str, Slice]:
    """Give what is in each range of an account, under every name that it was reported finished under."""
    return {report["name"]: Slice(int(one["start"]), int(one["last"])) for one in ranges for report in one["finished"]}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
