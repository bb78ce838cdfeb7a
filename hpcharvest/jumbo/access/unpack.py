"""Takes the outputs of single ranges out of an archive that a payload made, as each range counts for itself."""

from __future__ import annotations

import os
import tarfile
import zipfile
import zlib
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Final

from hpcharvest.jumbo.slots.slot import Leased

PIECE: Final = 4_000_000
"""Bytes that are copied at once."""
ERRORS: Final = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)
"""By which an archive that is none, or is broken, encrypted or packed by unknown means, shows."""
Member = tuple[str, IO[bytes]]


def unpack(path: str, folder: str, ranges: Sequence[Leased]) -> Generator[tuple[()], None, dict[str, str]]:
    """Copy the outputs of these ranges into a folder, and remove the archive; give their paths by the range's id.

    The member of a range is named by its id, or ends with a dot and that; of several the first counts. OSError as it
    comes, one of `ERRORS`, or ValueError: the archive is broken. Yields after each piece.
    """
    wanted, outputs = {leased.range.id: leased.index for leased in ranges}, dict[str, str]()
    Path(folder).mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        for name, source in _members(path, stack):
            range_id = os.path.basename(name).rpartition(".")[2]  # noqa: PTH119  # a name in an archive
            if range_id not in wanted or range_id in outputs:
                continue
            target = f"{folder}/{wanted[range_id]}.{os.urandom(4).hex()}"
            with source, Path(target).open("xb") as file:
                while piece := source.read(PIECE):
                    file.write(piece)
                    yield ()
            outputs[range_id] = target
    Path(path).unlink()
    return outputs


def _members(path: str, stack: ExitStack) -> Iterator[Member]:
    """Give the files in an archive, one after the other, each open."""
    if zipfile.is_zipfile(path):
        archive = stack.enter_context(zipfile.ZipFile(path))
        for info in archive.infolist():
            if not info.is_dir():
                yield info.filename, archive.open(info)
        return
    tar = stack.enter_context(tarfile.open(path))  # noqa: SIM115  # the stack closes it
    for member in tar:
        source = tar.extractfile(member) if member.isreg() else None
        if source is not None:
            yield member.name, source
