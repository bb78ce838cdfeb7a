"""What every mover does, whatever lies behind the URL."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """A file that arrived whole: `size` in bytes and `adler32` (8 hex digits) as read at its destination."""

    size: int
    adler32: str


class Mover(Protocol):
    """Moves single files between this machine and a storage. May be called from several threads at once.

    Both ways are safe to repeat: a file that is there already and identical counts as moved. A destination never shows
    half a file. Errors are TransferErrors, transient or not.
    """

    def fetch(self, url: str, destination: Path, *, size: int | None, adler32: str | None) -> Moved:
        """Bring the file at `url` here, and check it against what was promised of it."""

    def store(self, source: Path, url: str) -> Moved:
        """Bring the local file `source` to `url`, and confirm it there."""
