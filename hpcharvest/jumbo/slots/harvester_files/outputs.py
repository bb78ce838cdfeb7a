"""Looks at outputs that a payload says are there: a piece of a file at a time, so that the node's loop goes on."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from hpcharvest.jumbo.slots.harvester_files.ledger import Claim
from hpcharvest.jumbo.slots.slot import Done, Failed, Outcome

PIECE: Final = 4_000_000
"""Bytes that are read at once."""
AT_ONCE: Final = 32_000_000
"""Bytes that are read, and"""
FILES_AT_ONCE: Final = 200
"""files that are looked at, before the loop has its turn again."""

MISSING: Final = "the payload says that it is finished, but its output is not there"
OUTSIDE: Final = "the payload says that it is finished, but its output is outside of its folders"
OTHER_SIZE: Final = "the payload says that it is finished, but its output has another size"
OTHER_CHECKSUM: Final = "the payload says that it is finished, but its output has another checksum"
UNREADABLE: Final = "the payload says that it is finished, but its output cannot be read"


@dataclass(slots=True, kw_only=True)
class _Open:
    """A file of which the checksum is being made."""

    claim: Claim
    path: str
    file: BinaryIO
    make: Callable[[bytes], None]
    value: Callable[[], str]
    wanted: str


class Inspector:
    """Makes outcomes of claims. `roots`: absolute folders in which outputs may lie; the first is where names begin."""

    def __init__(self, roots: Sequence[str]) -> None:
        self._here = roots[0]
        self._roots = [os.path.realpath(root) for root in roots if root]
        self._queue: deque[Claim] = deque()
        self._open: _Open | None = None
        self._inside: dict[str, bool] = {}

    @property
    def busy(self) -> bool:
        """Whether there is something left to be looked at."""
        return self._open is not None or bool(self._queue)

    @property
    def claims(self) -> Sequence[Claim]:
        """What is left to be looked at."""
        return [*([self._open.claim] if self._open else ()), *self._queue]

    def add(self, claims: Sequence[Claim]) -> None:
        """Take claims, to be looked at."""
        self._queue.extend(claims)

    def step(self) -> Sequence[Outcome]:
        """Look at some, in their order."""
        outcomes: list[Outcome] = []
        pieces, files = AT_ONCE // PIECE, FILES_AT_ONCE
        while self.busy and pieces > 0 and files > 0:
            if self._open is None:
                files -= 1
                outcomes += self._begin(self._queue.popleft())
            else:
                pieces -= 1
                outcomes += self._go_on(self._open)
        return outcomes

    def _begin(self, claim: Claim) -> Sequence[Outcome]:
        path = os.path.join(self._here, claim.path)  # noqa: PTH118  # texts, many of them
        try:
            about = os.lstat(path)
            if not stat.S_ISREG(about.st_mode) or not self._is_inside(os.path.dirname(path)):  # noqa: PTH120  # the same
                return _failed(claim, OUTSIDE)
            if claim.size is not None and claim.size != about.st_size:
                return _failed(claim, OTHER_SIZE)
            if not claim.checksum:
                return _done(claim, path)
            self._open = _opened(claim, path)
        except (OSError, ValueError) as error:
            return _lost(claim, error)
        return ()

    def _go_on(self, one: _Open) -> Sequence[Outcome]:
        try:
            piece = one.file.read(PIECE)
        except OSError as error:
            self._close(one)
            return _lost(one.claim, error)
        if piece:
            one.make(piece)
            return ()
        self._close(one)
        return _done(one.claim, one.path) if one.value() == one.wanted else _failed(one.claim, OTHER_CHECKSUM)

    def _close(self, one: _Open) -> None:
        one.file.close()
        self._open = None

    def _is_inside(self, folder: str) -> bool:
        if folder not in self._inside:
            real = os.path.realpath(folder)
            self._inside[folder] = any(real == root or real.startswith(f"{root}/") for root in self._roots)
        return self._inside[folder]


class _Adler:
    """An adler32 that grows."""

    def __init__(self) -> None:
        self._value = 1

    def update(self, piece: bytes) -> None:
        self._value = zlib.adler32(piece, self._value)

    def hexdigest(self) -> str:
        return f"{self._value:08x}"


def _opened(claim: Claim, path: str) -> _Open:
    kind, _, digits = claim.checksum.strip().lower().rpartition(":")
    by = hashlib.md5(usedforsecurity=False) if kind == "md" else _Adler()
    wanted = digits if kind == "md" else digits.removeprefix("0x").zfill(8)
    file = Path(path).open("rb", buffering=0)  # noqa: SIM115  # it is read over several turns of the loop
    return _Open(claim=claim, path=path, file=file, make=by.update, value=by.hexdigest, wanted=wanted)


def _done(claim: Claim, path: str) -> Sequence[Outcome]:
    first, *others = claim.ranges
    return [Done(leased=first, output=path, cpu_s=claim.cpu_s, wall_s=claim.wall_s, also=tuple(others))]


def _failed(claim: Claim, error: str) -> Sequence[Outcome]:
    return [Failed(leased=leased, error=error, wall_s=claim.wall_s) for leased in claim.ranges]


def _lost(claim: Claim, error: Exception) -> Sequence[Outcome]:
    """Give ranges back whose output cannot be read, for the storage's sake; one that is not there is the payload's."""
    if isinstance(error, ValueError) or (isinstance(error, OSError) and error.errno in {errno.ENOENT, errno.ENOTDIR}):
        return _failed(claim, MISSING)
    return [Failed(leased=leased, error=UNREADABLE, wall_s=claim.wall_s, ours=True) for leased in claim.ranges]
