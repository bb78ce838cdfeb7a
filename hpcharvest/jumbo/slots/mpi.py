"""Payloads of the kind `mpi`: for each range a program on several nodes, started by the site's launcher.

It is a command whose process is the launcher, run from the head's node. Its folder, and so its output, are on the
shared file system, which the ranks have in common: some ten metadata operations for each range, which is on many nodes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import glob
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from hpcharvest.jumbo import command
from hpcharvest.jumbo.folder import STARTED
from hpcharvest.jumbo.slots.command import OUT, CommandSlot
from hpcharvest.jumbo.slots.place import Place
from hpcharvest.jumbo.slots.refused import RefusedSlot
from hpcharvest.jumbo.slots.slot import Failed, Leased, Outcome, Slot
from hpcharvest.messenger.ranges import EventTask

SHARED: Final = "mpi."
NOT_STARTED: Final = "the launcher failed and started no payload"


def shared(task: EventTask, folder: str) -> str:
    """Give the folder on the shared file system that goes with a slot's own on its node, whose path is no other's."""
    own = Path(folder)
    return f"{task.folder}/{SHARED}{own.parent.name}.{own.name}"


def all_shared(task: EventTask, start: str) -> Iterator[Path]:
    """Find such folders, by the start of the name that the slots' folder has on its node; none, if nobody can tell."""
    with contextlib.suppress(OSError):
        yield from Path(task.folder).glob(f"{SHARED}{glob.escape(start)}*")


def mpi_slot(task: EventTask, where: Place) -> Slot:
    """Make a slot on its place's nodes; one that fails every range, if there is no launcher."""
    if not where.launcher:
        return RefusedSlot("the site has no launcher to start programs of MPI with")
    return MpiSlot(task, where, where.nodes, where.launcher)


class MpiSlot(CommandSlot):
    """Does one range at a time, on these nodes, by this launcher (as in `protocol.Manifest`).

    A launcher that fails before it has started the payload is not the payload's doing: a file beside the output, which
    the first rank leaves before it becomes the payload, tells.
    """

    def __init__(self, task: EventTask, where: Place, nodes: Sequence[str], launcher: Sequence[str]) -> None:
        ranks = command.launched(launcher, nodes, per_node=task.ranks_per_node, cores=task.cores, gpus=task.gpus)
        argv = (*ranks, *command.witness(f"{{output}}{STARTED}"), *task.argv) if task.argv else ()
        folder = shared(task, where.folder)
        self._keep_log = where.keep_log
        self._not_started: set[int] = set()
        place = dataclasses.replace(where, folder=folder, keep_log=self._look_and_keep)
        super().__init__(dataclasses.replace(task, argv=argv), place)

    def serve(self, now: float) -> Sequence[Outcome]:
        """See whether the range's launcher ended."""
        return [self._excused(one) for one in super().serve(now)]

    def _look_and_keep(self, leased: Leased, path: str) -> None:
        """Look for the payload's sign before its folder is gone."""
        with contextlib.suppress(OSError):  # where that cannot be seen, it was started: it would not run twice by that
            if not any(one.name.endswith(STARTED) for one in (Path(path).parent / OUT).iterdir()):
                self._not_started.add(leased.index)
        self._keep_log(leased, path)

    def _excused(self, outcome: Outcome) -> Outcome:
        if outcome.leased.index not in self._not_started:
            return outcome
        self._not_started.discard(outcome.leased.index)
        return Failed(leased=outcome.leased, error=NOT_STARTED, wall_s=outcome.wall_s, ours=True)
