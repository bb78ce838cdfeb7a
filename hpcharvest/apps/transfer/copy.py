"""The mover for `file://` URLs: copies on mounted file systems, with the checksum taken on the way."""

from __future__ import annotations

import errno
import os
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

from hpcharvest.apps.transfer.mover import Moved
from hpcharvest.errors import ChecksumMismatch, SourceMissing, StorageUnavailable, TransferError

CHUNK = 1 << 20
"""Bytes read at a time: large enough for parallel file systems, small enough for a login node."""
FIRST = 1 << 14
"""Bytes of the first read: a small file needs no larger buffer, and nobody has to ask for its size."""

_GONE = {errno.ENOENT, errno.ENOTDIR}
_FORBIDDEN = {errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL}


class CopyMover:
    """Copies files, and reads back what it stored."""

    def fetch(self, url: str, destination: Path, *, size: int | None, adler32: str | None) -> Moved:
        """Copy the file at `url` to `destination`, and check what was copied."""
        source = path_of(url)
        moved = _copy(source, destination, durable=False)
        try:
            _check(url, moved, size, adler32)
        except ChecksumMismatch:
            destination.unlink(missing_ok=True)
            raise
        return moved

    def store(self, source: Path, url: str) -> Moved:
        """Copy `source` to `url` and read it back there."""
        destination = path_of(url)
        with suppress(FileNotFoundError):
            there = summed(destination)
            here = summed(source)
            if there == here:
                return there
            raise ChecksumMismatch(f"{url} exists already with another content ({there.adler32}, ours {here.adler32})")
        moved = _copy(source, destination, durable=True)
        back = summed(destination)
        if back != moved:
            raise StorageUnavailable(f"{url} reads back as {back.size} bytes {back.adler32}, not as {moved}")
        return back


def path_of(url: str) -> Path:
    """Give the path that a `file://` URL means. Raises TransferError for anything else."""
    parts = urlsplit(url)
    if parts.scheme != "file" or parts.netloc not in {"", "localhost"}:
        raise TransferError(f"{url} is not a file on this machine")
    return Path(unquote(parts.path))


def _check(url: str, moved: Moved, size: int | None, adler32: str | None) -> None:
    if size is not None and moved.size != size:
        raise ChecksumMismatch(f"{url} has {moved.size} bytes, {size} were promised")
    if adler32 is not None and moved.adler32 != adler32.lower().rjust(8, "0"):
        raise ChecksumMismatch(f"{url} has adler32 {moved.adler32}, {adler32} was promised")


def _copy(source: Path, destination: Path, *, durable: bool) -> Moved:
    """Copy under a temporary name, then rename; give what was read from the source."""
    folder, name = os.path.split(destination)
    partial = f"{folder}/.{name}.partial"
    try:
        reader = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise _told(error, source) from error
    try:
        moved = _pour(reader, partial, durable=durable)
        os.rename(partial, destination)  # noqa: PTH104 - paths as words: making objects of them cost more than renaming
        if durable:
            _sync(folder)
    except OSError as error:
        raise _told(error, destination, writing=True) from error
    finally:
        os.close(reader)
    return moved


def _sync(folder: str) -> None:
    """Let a new name in a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _pour(reader: int, destination: str, *, durable: bool) -> Moved:
    writer = _create(destination)
    try:
        size, checksum = 0, 1
        for piece in _pieces(reader):
            checksum = zlib.adler32(piece, checksum)
            size += len(piece)
            view = memoryview(piece)
            while view:
                view = view[os.write(writer, view) :]
        if durable:
            os.fsync(writer)
    finally:
        os.close(writer)
    return Moved(size=size, adler32=f"{checksum:08x}")


def _pieces(reader: int) -> Iterator[bytes]:
    """Read a file to its end."""
    at_once = FIRST
    while piece := os.read(reader, at_once):
        yield piece
        at_once = CHUNK


def _create(path: str) -> int:
    """Open `path` for writing, its folder made if need be; never through a link that lies there."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o644)
    except FileNotFoundError:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, flags, 0o644)


def summed(path: Path) -> Moved:
    """Read a file for its size and checksum. Raises FileNotFoundError if there is none, or a TransferError."""
    try:
        reader = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _told(error, path) from error
    try:
        size, checksum = 0, 1
        for piece in _pieces(reader):
            checksum = zlib.adler32(piece, checksum)
            size += len(piece)
    except OSError as error:
        raise _told(error, path) from error
    finally:
        os.close(reader)
    return Moved(size=size, adler32=f"{checksum:08x}")


def _told(error: OSError, path: Path, *, writing: bool = False) -> TransferError:
    """Say in our words what the operating system said."""
    words = f"{path}: {os.strerror(error.errno or 0)}"
    if error.errno in _GONE and not writing:
        return SourceMissing(words)
    if error.errno in _FORBIDDEN:
        return TransferError(words)
    return StorageUnavailable(words)
