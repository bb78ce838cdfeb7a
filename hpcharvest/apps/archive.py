"""The stages of a bundle's DAG: its archive is looked at, goes to its destination, and is confirmed there."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path

from hpcharvest.apps.ticket import Ticket
from hpcharvest.apps.transfer.copy import summed
from hpcharvest.apps.transfer.mover import Moved
from hpcharvest.apps.transfer.registry import mover
from hpcharvest.errors import ChecksumMismatch, OutputMissing, SourceMissing, StorageUnavailable, TransferError
from hpcharvest.model.event_range import Bundle
from hpcharvest.model.job import OutputFile


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveTicket:
    """An archive on its way. `ticket`: that of its job; `source`: where its allocation left it."""

    ticket: Ticket
    bundle: Bundle
    source: Path

    @property
    def file(self) -> OutputFile:
        """The archive as an output of its job: with the scope, and at the place, of the outputs that it stands for."""
        outputs = [one for one in self.ticket.spec.outputs if not one.log]
        scopes = [one.scope for one in outputs] + [one.scope for one in self.ticket.spec.inputs]
        endpoint = outputs[0].endpoint if outputs else ""
        return OutputFile(lfn=self.bundle.archive, scope=scopes[0] if scopes else "", endpoint=endpoint)


def archived(archive: ArchiveTicket, staged: None) -> Moved:
    """Read an archive, and see that it is what its runner closed: what is spoilt must not reach its destination.

    Raises OutputMissing or ChecksumMismatch: it is lost; StorageUnavailable: perhaps not.
    """
    del staged
    bundle, source = archive.bundle, archive.source
    try:
        regular = stat.S_ISREG(source.lstat().st_mode)
        found = summed(source) if regular else None
    except FileNotFoundError as error:
        raise _missing(archive) from error
    except OSError as error:
        raise StorageUnavailable(f"job {bundle.job}: {source}: {error.strerror}") from error
    if found is None:
        raise OutputMissing(f"job {bundle.job}: the archive {source} is no regular file")
    if (found.size, found.adler32) != (bundle.size, bundle.adler32):
        raise ChecksumMismatch(
            f"job {bundle.job}: the archive {source} has {found.size} bytes {found.adler32}, not {bundle.size} bytes "
            f"{bundle.adler32} as it was closed"
        )
    return found


def store_archive(archive: ArchiveTicket, found: Moved) -> str:
    """Bring an archive to where it belongs, and give its URL there. May be repeated. Raises a TransferError."""
    url = archive.ticket.storage.destination(archive.file)
    try:
        moved = mover(url).store(archive.source, url)
    except SourceMissing as error:
        raise _missing(archive) from error
    if moved != found:
        raise StorageUnavailable(f"job {archive.bundle.job}: {url} has {moved}, but {found} was sent there")
    return url


def _missing(archive: ArchiveTicket) -> TransferError:
    """Say that an archive is lost; but not while everything is missing, as where a file system is not mounted."""
    words = f"job {archive.bundle.job}: the archive {archive.source} is not there"
    if archive.ticket.folders.allocations.is_dir():
        return OutputMissing(f"{words} any more")
    return StorageUnavailable(f"{words}, nor is {archive.ticket.folders.allocations}")
