"""An access point: the folder on the shared file system in which a payload finds and leaves panda-harvester's files.

Every call that the metadata server has to answer is counted, and a `Pace` says when the next may be made.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from hpcharvest.errors import MessageNotUnderstood, TornMessage, UnsafeName
from hpcharvest.jumbo.folder import check_names
from hpcharvest.messenger import harvester_files as names
from hpcharvest.messenger.files import OURS_ALONE, write_durably

DRAFT: Final = ".draft"
LARGEST: Final = 256_000_000
"""Bytes; what is larger is not read."""
HIDDEN: Final = (names.TAKEN + ".", ".odd.")
"""In the names of files of which nothing is wanted any more."""


class Pace:
    """Lets through one operation a second for all slots of a node, on average.

    After a quiet time there may be many at once: a payload's start takes ten, and a batch of ranges fifteen.
    """

    def __init__(self, *, per_s: float = 1.0, burst: float = 120.0) -> None:
        self._per_s = per_s
        self._burst = burst
        self._left = burst
        self._seen = 0.0

    def spend(self, operations: int, now: float) -> None:
        """Count operations that were made. `now`: steady seconds."""
        self._left = min(self._burst, self._left + max(0.0, now - self._seen) * self._per_s) - operations
        self._seen = max(now, self._seen)

    def ready_at(self) -> float:
        """Steady seconds when the next operation may be made."""
        return self._seen + max(0.0, 1.0 - self._left) / self._per_s


Identity = tuple[int, int, int]
"""Inode, time of the last change, and size: another file, or another state of it, has another one."""


class Found(NamedTuple):
    """A file that was read, and which one it was."""

    text: bytes
    identity: Identity


class AccessPoint:
    """One such folder. Methods raise OSError as it comes, but a file that is not there is none."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._operations = 0

    def spent(self) -> int:
        """Give how many operations were made since this was asked last."""
        spent, self._operations = self._operations, 0
        return spent

    def make(self) -> None:
        """Make the folder. What an earlier life left there is set aside and kept: somebody may want to see it."""
        self._operations += 1
        with contextlib.suppress(FileNotFoundError):
            Path(self.folder).rename(f"{self.folder}.stale-{os.urandom(4).hex()}")
        self._operations += 1
        Path(self.folder).mkdir(parents=True)

    def link(self, inputs: Mapping[str, str]) -> None:
        """Link input files in. UnsafeName: a name leads out, or is one of the protocol's."""
        check_names(inputs)
        taken = sorted(inputs.keys() & names.NAMES)
        if taken:
            raise UnsafeName(f"an input is named as a file of the protocol: {', '.join(taken)}")
        for name, target in inputs.items():
            self._operations += 1
            Path(self.folder, name).symlink_to(target)

    def look(self) -> frozenset[str]:
        """Give the names of what is there, but of what was taken in already."""
        self._operations += 1
        with os.scandir(self.folder) as entries:
            return frozenset(entry.name for entry in entries if not any(part in entry.name for part in HIDDEN))

    def put(self, name: str, text: bytes) -> None:
        """Write a file, so that whoever sees it sees all of it."""
        self._operations += 2
        draft = Path(self.folder, DRAFT)
        write_durably(draft, text, OURS_ALONE)
        draft.rename(Path(self.folder, name))

    def read(self, name: str) -> Found | None:
        """Read a file; None: there is none. TornMessage; MessageNotUnderstood: it is no file that one would read."""
        self._operations += 1
        path = f"{self.folder}/{name}"
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        with open(handle, "rb") as file:  # noqa: PTH123  # it is a descriptor, not a path
            about = os.fstat(handle)
            if not stat.S_ISREG(about.st_mode) or about.st_size > LARGEST:
                raise MessageNotUnderstood(f"{path}: no file, or one of more than {LARGEST} bytes")
            found = Found(file.read(), _identity(about))
            if _identity(os.fstat(handle)) != found.identity:
                raise TornMessage(f"{path}: somebody wrote in it while it was read")
            return found

    def identity(self, name: str) -> Identity | None:
        """Give what tells a file from others that have, or had, the same name; None: there is none."""
        self._operations += 1
        try:
            return _identity(os.lstat(f"{self.folder}/{name}"))
        except FileNotFoundError:
            return None

    def move(self, name: str, to: str) -> bool:
        """Rename a file; tell whether it was there."""
        self._operations += 1
        try:
            Path(self.folder, name).rename(Path(self.folder, to))
        except FileNotFoundError:
            return False
        return True

    def put_back(self, name: str, to: str) -> bool:
        """Rename a file, but never over another; tell whether the new name was free."""
        self._operations += 2
        try:
            Path(self.folder, to).hardlink_to(Path(self.folder, name))
        except OSError:  # also where the file system has no hard links
            return False
        Path(self.folder, name).unlink()
        return True

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        self._operations += 1
        Path(self.folder, name).unlink(missing_ok=True)


def _identity(about: os.stat_result) -> Identity:
    return about.st_ino, about.st_mtime_ns, about.st_size


def stamp(wall: float) -> str:
    """Give a time, in wall seconds, as it stands behind the names of files that were taken in: UTC."""
    return datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%d_%H.%M.%S.%f")
