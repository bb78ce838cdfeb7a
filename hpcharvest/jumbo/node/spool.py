"""What became of a node's ranges: one JSON object a line, only ever appended, durable before it is told.

    nodes/<node>.<life>.jsonl

A line that was cut short by a crash is passed over, as it was never told to anybody.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hpcharvest.errors import MessageNotUnderstood, StorageUnavailable
from hpcharvest.jumbo.node.members import Member, write_all
from hpcharvest.messenger import codec
from hpcharvest.messenger.files import storage
from hpcharvest.messenger.ranges import NODES
from hpcharvest.model.ids import JobId

log = logging.getLogger(__name__)

SUFFIX: Final = ".jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class DoneLine:
    """A range's output is in an archive that is open."""

    job: JobId
    index: int
    id: str
    archive: str
    member: Member
    cpu_s: float
    wall_s: float
    cores: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedLine:
    """A range failed as often as it is tried on one node."""

    job: JobId
    index: int
    id: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VoidLine:
    """The members at these offsets do not count."""

    job: JobId
    archive: str
    offsets: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeardLine:
    """The head knows that these ranges failed."""

    job: JobId
    failed: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedLine:
    """An archive is whole, and is given its name next."""

    job: JobId
    archive: str
    size: int
    adler32: str


Line = DoneLine | FailedLine | VoidLine | HeardLine | ClosedLine
_KINDS: Final[dict[str, type[Line]]] = {
    "done": DoneLine,
    "failed": FailedLine,
    "void": VoidLine,
    "heard": HeardLine,
    "closed": ClosedLine,
}
_NAMES: Final = {kind: name for name, kind in _KINDS.items()}


def spool_path(folder: Path, node: str, life: int) -> Path:
    """Give the path of a spool in an allocation's folder."""
    return folder / NODES / f"{node}.{life}{SUFFIX}"


class Spool:
    """A node's own file. Every method may raise StorageUnavailable, after which `roll_back` is due."""

    def __init__(self, path: Path) -> None:
        """Open it, or make it."""
        self._path = path
        with storage(f"open {path}"):
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            self._durable = os.lseek(self._handle, 0, os.SEEK_END)
            if self._durable and os.pread(self._handle, 1, self._durable - 1) != b"\n":
                write_all(self._handle, b"\n")  # what was cut short stays a line of its own

    def append(self, lines: Iterable[Line]) -> None:
        """Write lines, durably."""
        text = b"".join(codec.to_text(one, kind=_NAMES[type(one)]) + b"\n" for one in lines)
        if not text:
            return
        with storage(f"write {self._path}"):
            write_all(self._handle, text)
            os.fsync(self._handle)
            self._durable = os.lseek(self._handle, 0, os.SEEK_CUR)

    def roll_back(self) -> None:
        """Take out again what is not durable."""
        with storage(f"shorten {self._path}"):
            os.ftruncate(self._handle, self._durable)
            os.lseek(self._handle, self._durable, os.SEEK_SET)

    def close(self) -> None:
        """Let go of it."""
        os.close(self._handle)


def read(path: Path) -> Iterator[Line]:
    """Read a spool; what is no line of one is passed over. StorageUnavailable: it cannot be read."""
    with storage(f"read {path}"):
        text = path.read_bytes()
    for number, line in enumerate(text.split(b"\n"), start=1):
        if line:
            try:
                yield _line(codec.parse(line, f"{path}:{number}"), f"{path}:{number}")
            except MessageNotUnderstood as error:
                log.warning("passed over: %s", error)


def _line(value: Any, where: str) -> Line:
    kind = value.get("kind") if type(value) is dict else None
    if type(kind) is not str or kind not in _KINDS:
        raise MessageNotUnderstood(f"{where}: kind is {kind!r:.80}, but one of {', '.join(_KINDS)} is wanted")
    return codec.decode(_KINDS[kind], value, where)


def spools(folder: Path, node: str | None = None, life: int | None = None) -> list[Path]:
    """Find the spools in an allocation's folder, of all nodes, of one, or of one life of it."""
    try:
        names = sorted(path.name for path in (folder / NODES).iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StorageUnavailable(f"cannot look for spools in {folder}: {error}") from error
    return [folder / NODES / name for name in names if _is_of(name, node, life)]


def _is_of(name: str, node: str | None, life: int | None) -> bool:
    owner, _, lived = name.removesuffix(SUFFIX).rpartition(".")
    if not name.endswith(SUFFIX) or not lived.isdecimal():
        return False
    return node in {None, owner} and life in {None, int(lived)}
