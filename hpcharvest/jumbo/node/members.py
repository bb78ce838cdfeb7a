"""The bytes of an archive: a tar file in GNU's format, made member by member, and copied member by member."""

from __future__ import annotations

import json
import os
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

BLOCK: Final = 512
CHUNK: Final = 1 << 20
END: Final = bytes(2 * BLOCK)
"""What every tar file ends with."""
MANIFEST: Final = "manifest.json"
"""The last member: which ranges there are, with the sizes and checksums of their outputs."""
EMPTY: Final = 1
"""The adler32 of nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """An output in an archive."""

    name: str
    offset: int
    """Bytes before its header."""
    size: int
    """Of the output itself."""
    mtime: int
    """Wall seconds."""
    adler32: str
    """Of the output itself."""

    @property
    def data_at(self) -> int:
        """Bytes before the output itself."""
        return self.offset + len(header(self.name, self.size, self.mtime))

    @property
    def end(self) -> int:
        """Bytes up to the next member."""
        return self.data_at + padded(self.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A range whose output is in an archive."""

    index: int
    id: str
    cpu_s: float
    wall_s: float
    member: Member


def header(name: str, size: int, mtime: int) -> bytes:
    """Write what stands before a member."""
    info = tarfile.TarInfo(name)
    info.size, info.mtime = size, mtime
    return info.tobuf(tarfile.GNU_FORMAT)


def padded(size: int) -> int:
    """Round up to whole blocks."""
    return -(-size // BLOCK) * BLOCK


def told(adler32: int) -> str:
    """Write a checksum as storages do."""
    return f"{adler32:08x}"


def manifest(job: int, entries: Iterable[Entry]) -> bytes:
    """Write the last member, and the archive's end; the same for the same ranges."""
    rows: list[dict[str, Any]] = [
        {
            "eventRangeID": one.id,
            "name": one.member.name,
            "size": one.member.size,
            "adler32": one.member.adler32,
            "cpu_s": one.cpu_s,
            "wall_s": one.wall_s,
        }
        for one in entries
    ]
    text = json.dumps({"PandaID": job, "ranges": rows}, indent=1).encode("ascii")
    return header(MANIFEST, len(text), 0) + text + bytes(padded(len(text)) - len(text)) + END


def chunks(handle: int, offset: int, size: int) -> Iterator[bytes]:
    """Read a part of a file; fewer bytes if it ends before. OSError as it comes."""
    while size > 0:
        chunk = os.pread(handle, min(CHUNK, size), offset)
        if not chunk:
            return
        yield chunk
        offset, size = offset + len(chunk), size - len(chunk)


def is_whole(handle: int, member: Member) -> bool:
    """Tell whether a member is in a file as it should be. OSError as it comes."""
    value, size = EMPTY, 0
    for chunk in chunks(handle, member.data_at, member.size):
        value, size = zlib.adler32(chunk, value), size + len(chunk)
    return size == member.size and told(value) == member.adler32


def write_all(handle: int, data: bytes) -> None:
    """Write all of it. OSError as it comes."""
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


def copy(source: int, entries: Iterable[Entry], target: int, job: int) -> tuple[int, str]:
    """Write an archive of some of another one's members, durably; give its size and checksum. OSError as it comes."""
    kept, size, value = list(entries), 0, EMPTY
    for one in kept:
        member = one.member
        for piece in _pieces(source, member):
            write_all(target, piece)
            size, value = size + len(piece), zlib.adler32(piece, value)
    end = manifest(job, kept)
    write_all(target, end)
    os.fsync(target)
    return size + len(end), told(zlib.adler32(end, value))


def _pieces(source: int, member: Member) -> Iterator[bytes]:
    yield header(member.name, member.size, member.mtime)
    yield from chunks(source, member.data_at, member.size)
    yield bytes(padded(member.size) - member.size)
