"""Writing on the shared file system: whole, durable, and with one kind of error."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from hpcharvest.errors import StorageUnavailable

OURS_ALONE = 0o600
"""The mode of files that may have in them what a job's owner tells its payload, and nobody else."""


@contextlib.contextmanager
def storage(doing: str) -> Iterator[None]:
    """Turn an OSError into StorageUnavailable, which says what was being done."""
    try:
        yield
    except OSError as error:
        raise StorageUnavailable(f"cannot {doing}: {error}") from error


def write_durably(path: Path, text: bytes, mode: int = 0o644) -> None:
    """Write a file that nobody reads yet, and wait until the storage has it. OSError as it comes."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        view = memoryview(text)
        while view:
            view = view[os.write(handle, view) :]
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(folder: Path) -> None:
    """Wait until the storage has the names in a folder. OSError as it comes."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
