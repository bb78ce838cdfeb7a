"""The first stage of every DAG: the job's inputs and its container image come here, and are what was promised."""

from __future__ import annotations

from pathlib import Path

from hpcharvest.apps.ticket import Ticket
from hpcharvest.apps.transfer.registry import mover
from hpcharvest.messenger.files import storage, write_durably
from hpcharvest.model.job import ListFile


def stage_in(ticket: Ticket) -> None:
    """Bring every input of the job into its folder, and its image to where the engine finds it. May be repeated.

    Lists that are part of the job itself are written there too.

    Raises a TransferError that names job and file, ImageRefused or ImageUnavailable; transient or not.
    """
    if ticket.image is not None:
        ticket.image.ready()
    folder = ticket.folders.inputs(ticket.job)
    for file in ticket.spec.inputs:
        url = ticket.source(file)
        mover(url).fetch(url, folder / file.lfn, size=file.size, adler32=file.adler32)
    for one in ticket.spec.lists:
        _write(folder, one)


def _write(folder: Path, one: ListFile) -> None:
    draft = folder / f".{one.lfn}.partial"
    with storage(f"write {folder / one.lfn}"):
        folder.mkdir(parents=True, exist_ok=True)
        write_durably(draft, "".join(f"{name}\n" for name in one.names).encode())
        draft.replace(folder / one.lfn)
