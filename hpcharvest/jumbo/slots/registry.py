"""Which kind of payload is served by what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from hpcharvest.jumbo.slots.callable import callable_slot
from hpcharvest.jumbo.slots.command import CommandSlot
from hpcharvest.jumbo.slots.files import FilesSlot
from hpcharvest.jumbo.slots.mpi import mpi_slot
from hpcharvest.jumbo.slots.place import Place
from hpcharvest.jumbo.slots.refused import RefusedSlot
from hpcharvest.jumbo.slots.service import ServiceSlot
from hpcharvest.jumbo.slots.slot import Slot
from hpcharvest.messenger.ranges import EventTask, PayloadKind

SLOTS: Final[Mapping[PayloadKind, Callable[[EventTask, Place], Slot]]] = {
    PayloadKind.COMMAND: CommandSlot,
    PayloadKind.CALLABLE: callable_slot,
    PayloadKind.SERVICE: ServiceSlot,
    PayloadKind.FILES: FilesSlot,
    PayloadKind.MPI: mpi_slot,
}


def make(task: EventTask, where: Place) -> Slot:
    """Make a slot for a job's payload; one that fails every range, if there is none of its kind."""
    if task.kind not in SLOTS:
        return RefusedSlot(f"no slot takes payloads of the kind {task.kind}")
    return SLOTS[task.kind](task, where)
