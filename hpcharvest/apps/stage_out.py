"""The last stage of every DAG: outputs and log go to their destination, and are confirmed there."""

from __future__ import annotations

import stat
from pathlib import Path

from hpcharvest.apps.ticket import Ran, Ticket
from hpcharvest.apps.transfer.registry import mover
from hpcharvest.errors import OutputMissing
from hpcharvest.model.job import OutputFile, StoredFile
from hpcharvest.model.states import PayloadResult


def stage_out(ticket: Ticket, ran: Ran) -> tuple[StoredFile, ...]:
    """Bring the outputs of a good payload, or just the log of a failed one, to where they belong. May be repeated.

    The outputs of an event-service job went there already, in archives, with its ranges.

    Raises a TransferError, transient or not, that names job and file.
    """
    good = ran.outcome.result is PayloadResult.DONE and not ticket.spec.event_service
    folder = ticket.folders.attempt(ticket.job, ran.attempt)
    wanted = [file for file in ticket.spec.outputs if good or (file.log and (folder / file.lfn).exists())]
    return tuple(_store(ticket, folder, file) for file in wanted)


def _store(ticket: Ticket, folder: Path, file: OutputFile) -> StoredFile:
    source = folder / file.lfn
    try:
        regular = stat.S_ISREG(source.lstat().st_mode)
    except FileNotFoundError as error:
        raise OutputMissing(f"job {ticket.job}: {file.lfn} is not there any more") from error
    if not regular:
        raise OutputMissing(f"job {ticket.job}: {file.lfn} is no regular file")
    url = ticket.storage.destination(file)
    moved = mover(url).store(source, url)
    return StoredFile(
        lfn=file.lfn, size=moved.size, adler32=moved.adler32, guid=file.guid, url=url, endpoint=file.endpoint
    )
