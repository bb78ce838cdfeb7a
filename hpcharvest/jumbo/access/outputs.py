"""Looks at outputs that a payload says are there: a piece of a file at a time, so that the node's loop goes on."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import zlib
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Final

from hpcharvest.jumbo.access import unpack
from hpcharvest.jumbo.access.ledger import Claim
from hpcharvest.jumbo.slots.slot import Done, Failed, Outcome

PIECE: Final = 4_000_000
"""Bytes that are read at once."""
STEPS: Final = 8
"""Pieces that are read, and"""
CLAIMS: Final = 200
"""claims that are finished, before the loop has its turn again."""

_SAID: Final = "the payload says that it is finished, but its output"
MISSING: Final = f"{_SAID} is not there"
OUTSIDE: Final = f"{_SAID} is no file in its folders"
OTHER_SIZE: Final = f"{_SAID} has another size"
OTHER_CHECKSUM: Final = f"{_SAID} has another checksum"
UNREADABLE: Final = f"{_SAID} cannot be read"
NOT_PACKED: Final = f"{_SAID} is not in the archive"

Steps = Generator[Sequence[Outcome], None, None]
"""Nothing for each piece of work, and in the end the outcomes."""


class Inspector:
    """Makes outcomes of claims. `roots`: absolute folders in which outputs may lie; the first is where names begin.

    `spare`: a folder of the node's own into which archives are unpacked; empty: beside the archive.
    """

    def __init__(self, roots: Sequence[str], spare: str = "") -> None:
        self._here = roots[0]
        self._roots = [os.path.realpath(root) for root in roots if root]
        self._spare = spare
        self._inside: dict[str, bool] = {}
        self._queue: deque[Claim] = deque()
        self._steps: Steps | None = None

    @property
    def busy(self) -> bool:
        """Whether there is something left to be looked at."""
        return bool(self._queue)

    @property
    def claims(self) -> Sequence[Claim]:
        """What is left to be looked at."""
        return list(self._queue)

    def add(self, claims: Sequence[Claim]) -> None:
        """Take claims, to be looked at."""
        self._queue.extend(claims)

    def step(self) -> Sequence[Outcome]:
        """Look at some, in their order. All outcomes of a claim come at once."""
        outcomes: list[Outcome] = []
        steps, claims = STEPS, CLAIMS
        while self._queue and steps > 0 and claims > 0:
            self._steps = self._steps or self._inspect(self._queue[0])
            told = next(self._steps)
            if told:
                outcomes += told
                self._queue.popleft()
                self._steps, claims = None, claims - 1
            else:
                steps -= 1
        return outcomes

    def _inspect(self, claim: Claim) -> Steps:
        path = os.path.join(self._here, claim.path)  # noqa: PTH118  # texts, many of them
        try:
            wrong = self._seen_from_outside(claim, path)
            if not wrong and claim.checksum and not (yield from _agrees(claim.checksum, path)):
                wrong = OTHER_CHECKSUM
            if wrong:
                yield _failed(claim, wrong)
            elif claim.packed:
                outputs = yield from unpack.unpack(path, self._spare or f"{path}.unpacked", claim.ranges)
                yield _unpacked(claim, outputs)
            else:
                yield [Done(leased=claim.ranges[0], output=path, cpu_s=claim.cpu_s, wall_s=claim.wall_s)]
        except (OSError, ValueError, *unpack.ERRORS) as error:
            yield _lost(claim, error)

    def _seen_from_outside(self, claim: Claim, path: str) -> str:
        """Say what is wrong with a file that one need not open to see it; empty: nothing."""
        about = os.lstat(path)
        if not stat.S_ISREG(about.st_mode) or not self._is_inside(os.path.dirname(path)):  # noqa: PTH120  # texts
            return OUTSIDE
        return "" if claim.size in {None, about.st_size} else OTHER_SIZE

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


def _agrees(checksum: str, path: str) -> Generator[Sequence[Outcome], None, bool]:
    """Tell whether a file has this checksum."""
    kind, _, digits = checksum.strip().lower().rpartition(":")
    by = hashlib.md5(usedforsecurity=False) if kind == "md" else _Adler()
    wanted = digits if kind == "md" else digits.removeprefix("0x").zfill(8)
    with Path(path).open("rb", buffering=0) as file:
        while piece := file.read(PIECE):
            by.update(piece)
            yield ()
    return by.hexdigest() == wanted


def _unpacked(claim: Claim, outputs: Mapping[str, str]) -> Sequence[Outcome]:
    return [
        Done(leased=leased, output=outputs[leased.range.id], cpu_s=claim.cpu_s, wall_s=claim.wall_s)
        if leased.range.id in outputs
        else Failed(leased=leased, error=NOT_PACKED, wall_s=claim.wall_s)
        for leased in claim.ranges
    ]


def _failed(claim: Claim, error: str) -> Sequence[Outcome]:
    return [Failed(leased=leased, error=error, wall_s=claim.wall_s) for leased in claim.ranges]


def _lost(claim: Claim, error: Exception) -> Sequence[Outcome]:
    """Give ranges back whose output cannot be read, for the storage's sake; one that is not there is the payload's."""
    if isinstance(error, OSError) and error.errno not in {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG}:
        return [Failed(leased=leased, error=UNREADABLE, wall_s=claim.wall_s, ours=True) for leased in claim.ranges]
    return _failed(claim, MISSING if isinstance(error, OSError | ValueError) else UNREADABLE)
