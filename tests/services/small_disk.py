"""A disk that is full, for one process: a small file system of its own, over one folder."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

MOUNT = 'mount -t tmpfs -o size="$2" none "$1" && shift 2 && exec "$@"'


def on_small_disk(folder: Path, size: str) -> list[str]:
    """Give the words that let a program see a small disk of its own in `folder`."""
    private = "-m" if os.geteuid() == 0 else "-Urm"
    return ["unshare", private, "sh", "-c", MOUNT, "sh", str(folder), size]


def as_seen_by(pid: int, folder: Path) -> Path:
    """Give the path under which we can reach what a process sees in `folder`."""
    return Path(f"/proc/{pid}/root{folder}")


def fill(folder: Path) -> Path:
    """Take all the room there is, and give the file that does."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    return filler
