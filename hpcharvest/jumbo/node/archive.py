"""An archive of outputs while it is written: `<name>.part` on the shared file system, renamed when it is whole.

It is only appended to, and durable up to the last `sync`. What went wrong since is undone by `roll_back`.
"""

from __future__ import annotations

import os
import re
import stat
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from hpcharvest.errors import OutputMissing
from hpcharvest.jumbo.node import members
from hpcharvest.jumbo.node.members import Entry, Member
from hpcharvest.messenger.files import storage, sync_folder
from hpcharvest.messenger.ranges import PART

LONGEST_ID: Final = 80
"""Characters of a range's id in the name of an archive: names have 255 bytes at the most, and a node's is in it too."""
_UNFIT: Final = re.compile(r"[^A-Za-z0-9._-]")
SHORTER: Final = ".new"
"""Behind the name of an archive that is written again without what does not count."""


def archive_name(first_range: str, unique: str) -> str:
    """Name an archive after the first range in it, as far as an id is fit for the name of a file."""
    return f"EventService_premerge_{_UNFIT.sub('_', first_range)[:LONGEST_ID]}.{unique}.tar"


class Archive:
    """One archive, open. Every method may raise StorageUnavailable, after which `roll_back` is due."""

    def __init__(self, folder: Path, name: str) -> None:
        """Make it."""
        self.name = name
        self._path = folder / name
        self._part = folder / f"{name}{PART}"
        with storage(f"make {self._part}"):
            self._handle = os.open(self._part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        self._written = self._durable = (0, members.EMPTY)
        self._finished: tuple[int, str] | None = None
        self._shorter: Path | None = None
        """Where it was written again."""

    @property
    def size(self) -> int:
        """Bytes that are in it."""
        return self._written[0]

    def append(self, output: str, name: str) -> Member:
        """Put an output in. OutputMissing: it is not there, or not what it was a moment ago."""
        try:
            source = os.open(output, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise OutputMissing(f"its output cannot be read: {error.strerror}") from error
        before = self._written
        try:
            return self._append(source, name)
        except OutputMissing:
            self._cut(before)
            raise
        finally:
            os.close(source)

    def sync(self) -> None:
        """Wait until the storage has all that is in it."""
        if self._written != self._durable:  # else there is nothing to wait for
            with storage(f"write {self._part}"):
                os.fsync(self._handle)
            self._durable = self._written

    def roll_back(self) -> None:
        """Be again what it was when it was durable."""
        self._cut(self._durable)

    def finish(self, job: int, entries: Sequence[Entry], *, shorter: bool) -> tuple[int, str]:
        """Write its end, durably, and once; give size and checksum. `shorter`: `entries` are not all that is in it."""
        if self._finished is None:
            self._finished = self._write_again(job, entries) if shorter else self._write_end(job, entries)
        return self._finished

    def publish(self) -> None:
        """Give it its name. May be repeated."""
        with storage(f"rename {self._part}"):
            try:
                (self._shorter or self._part).replace(self._path)
            except FileNotFoundError:
                self._path.stat()  # it has its name already, if an earlier answer of the file server was lost
            sync_folder(self._path.parent)
            if self._shorter:
                self._part.unlink(missing_ok=True)
        self.close()

    def drop(self) -> None:
        """Remove it: nothing in it counts."""
        with storage(f"remove {self._part}"):
            self._part.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Let go of it."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _write_end(self, job: int, entries: Sequence[Entry]) -> tuple[int, str]:
        with storage(f"write {self._part}"):
            self._write(members.manifest(job, entries))
        self.sync()
        return self._written[0], members.told(self._written[1])

    def _append(self, source: int, name: str) -> Member:
        about = os.fstat(source)
        if not stat.S_ISREG(about.st_mode):
            raise OutputMissing("its output is no file")
        offset, value, size = self.size, members.EMPTY, 0
        mtime = max(0, int(about.st_mtime))
        with storage(f"write {self._part}"):
            self._write(members.header(name, about.st_size, mtime))
        while size < about.st_size:
            try:
                chunk = os.pread(source, min(members.CHUNK, about.st_size - size), size)
            except OSError as error:
                raise OutputMissing(f"its output cannot be read: {error.strerror}") from error
            if not chunk:
                raise OutputMissing("its output became shorter while it was read")
            value, size = zlib.adler32(chunk, value), size + len(chunk)
            with storage(f"write {self._part}"):
                self._write(chunk)
        with storage(f"write {self._part}"):
            self._write(bytes(members.padded(size) - size))
        return Member(name=name, offset=offset, size=size, mtime=mtime, adler32=members.told(value))

    def _cut(self, state: tuple[int, int]) -> None:
        self._written = state
        with storage(f"shorten {self._part}"):
            os.ftruncate(self._handle, state[0])
            os.lseek(self._handle, state[0], os.SEEK_SET)

    def _write(self, data: bytes) -> None:
        members.write_all(self._handle, data)
        size, value = self._written
        self._written = size + len(data), zlib.adler32(data, value)

    def _write_again(self, job: int, entries: Sequence[Entry]) -> tuple[int, str]:
        shorter = self._path.with_name(f"{self.name}{SHORTER}")
        with storage(f"write {shorter}"):
            target = os.open(shorter, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
            try:
                made = members.copy(self._handle, entries, target, job)
            finally:
                os.close(target)
        self._shorter = shorter
        return made
