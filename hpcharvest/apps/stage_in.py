"""The first stage of every DAG: the job's inputs and its container image come here, and are what was promised."""

from __future__ import annotations

from hpcharvest.apps.ticket import Ticket
from hpcharvest.apps.transfer.registry import mover


def stage_in(ticket: Ticket) -> None:
    """Bring every input of the job into its folder, and its image to where the engine finds it. May be repeated.

    Raises a TransferError that names job and file, ImageRefused or ImageUnavailable; transient or not.
    """
    if ticket.image is not None:
        ticket.image.ready()
    folder = ticket.folders.inputs(ticket.job)
    for file in ticket.spec.inputs:
        url = ticket.storage.source(file)
        mover(url).fetch(url, folder / file.lfn, size=file.size, adler32=file.adler32)
