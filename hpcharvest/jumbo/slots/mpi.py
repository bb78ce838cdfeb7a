"""Payloads of the kind `mpi`: for each range a program on several nodes, started by the site's launcher.

It is a command whose process is the launcher, run from the head's node. Its folder, and so its output, are on the
shared file system, which the ranks have in common: some ten metadata operations for each range, which is on many nodes.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from hpcharvest.jumbo import command
from hpcharvest.jumbo.folder import STARTED
from hpcharvest.jumbo.slots.command import OUT, CommandSlot
from hpcharvest.jumbo.slots.place import Place
from hpcharvest.jumbo.slots.slot import Failed, Leased, Outcome
from hpcharvest.messenger.ranges import EventTask

NOT_STARTED: Final = "the launcher failed and started no payload"


class MpiSlot(CommandSlot):
    """Does one range at a time, on these nodes, by this launcher (as in `protocol.Manifest`).

    A launcher that fails before it has started the payload is not the payload's doing: a file beside the output, which
    the first rank leaves before it becomes the payload, tells.
    """

    def __init__(self, task: EventTask, where: Place, nodes: Sequence[str], launcher: Sequence[str]) -> None:
        ranks = command.launched(launcher, nodes, per_node=task.ranks_per_node, cores=task.cores, gpus=task.gpus)
        argv = (*ranks, *command.witness(f"{{output}}{STARTED}"), *task.argv) if task.argv else ()
        folder = f"{task.folder}/mpi.{nodes[0]}.{Path(where.folder).name}"
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
