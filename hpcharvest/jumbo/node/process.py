"""A node's process: its parts put together, and its loop."""

from __future__ import annotations

import contextlib
import glob
import logging
import socket
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from hpcharvest.clock import Clock
from hpcharvest.errors import ConfigurationError, UnsafeName
from hpcharvest.jumbo import drain, gpus
from hpcharvest.jumbo.bell import Bell
from hpcharvest.jumbo.links.link import NodeLink
from hpcharvest.jumbo.node import memory, rubbish
from hpcharvest.jumbo.node.agent import Agent
from hpcharvest.jumbo.node.keeper import Keeper
from hpcharvest.jumbo.node.monitor import Monitor
from hpcharvest.jumbo.slots import mpi, place, registry
from hpcharvest.jumbo.slots.place import Place
from hpcharvest.jumbo.slots.refused import RefusedSlot
from hpcharvest.jumbo.slots.slot import Slot
from hpcharvest.jumbo.slots.sweep import Sweep
from hpcharvest.jumbo.surroundings import Surroundings
from hpcharvest.messenger.protocol import Manifest
from hpcharvest.messenger.ranges import EventTask, PayloadKind

log = logging.getLogger(__name__)

NAMES: Final = ("SLURMD_NODENAME", "PBS_NODENAME")
RANKS: Final = ("SLURM_PROCID", "PMIX_RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "PALS_RANKID", "ALPS_APP_PE")
"""Where launchers tell a process on which node it is, and which of all it is."""
FLUSHES: Final = 5
"""A node makes outcomes durable so much less often than the head publishes: there are many nodes."""
WARNED_S: Final = 20.0
"""What is left, beside the grace, after a signal to leave, if nobody knows better."""
LAST_WORDS_S: Final = 30.0
"""How long the storage may take for what is written last."""


def own_name(names: Sequence[str], environment: Mapping[str, str], host: str) -> str:
    """Choose which of the nodes this is. ConfigurationError: none of them, as far as anybody can tell."""
    if len(names) == 1:
        return names[0]
    told = [environment[name] for name in NAMES if environment.get(name)]
    for known in (*told, host):
        for name in names:
            if name == known or name.partition(".")[0] == known.partition(".")[0]:
                return name
    rank = next((environment[name] for name in RANKS if environment.get(name, "").isdecimal()), "")
    if rank and int(rank) < len(names):
        return names[int(rank)]
    raise ConfigurationError(f"this host is {host}, and none of {','.join(names)}: look at the site's launcher")


class Process:
    """One life of one node's process."""

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        where: Surroundings,
        node: str,
        life: int,
        *,
        link: NodeLink,
        environment: Mapping[str, str],
        clock: Clock,
    ) -> None:
        """Put it together. StorageUnavailable: the node's spool cannot be opened."""
        self._manifest, self._where, self._environment, self._clock = manifest, where, environment, clock
        self._link, self._node = link, node
        self._scratch: dict[Path, Path] = {}
        self._label = f"hpcharvest-{manifest.tag}-{node}."
        self._slots = 0
        self._tidied: list[EventTask] = []
        self._sweep = Sweep(manifest.tag, where.restart, node, life)
        self._monitor = Monitor(self._sweep, manifest.heartbeat_s)
        tasks = manifest.event_tasks
        self._keeper = Keeper(folder, node, life, tasks=tasks, clock=clock, flush_s=FLUSHES * manifest.flush_s)
        self._agent = Agent(
            node=node,
            life=life,
            tasks=tasks,
            link=link,
            make_slot=self._make_slot,
            outputs=self._keeper,
            heartbeat_s=manifest.heartbeat_s,
            grace_s=manifest.kill_grace_s,
            leave_at=self._leave_at(),
            facts=self._monitor.facts,
        )

    def run(self) -> None:
        """Do ranges until all is told, or there is no time."""
        with contextlib.ExitStack() as stack:
            bell = stack.enter_context(Bell())  # the first, as signals must not end what tidies up
            stack.callback(self._remove_scratch)
            stack.callback(self._link.close)
            stack.callback(self._keeper.close, LAST_WORDS_S)
            stack.callback(self._sweep.end_all)
            stack.callback(self._monitor.close)
            self._monitor.start()
            warned = False
            while True:
                self._agent.tick(self._clock.steady())
                if self._agent.over:
                    return
                bell.listen(self._agent.filenos())
                bell.wait(min(self._agent.next_event() - self._clock.steady(), self._manifest.heartbeat_s))
                if bell.asked_to_leave and not warned:
                    warned = True
                    reason = f"the process was told to leave by {bell.asked_to_leave.name}"
                    self._agent.leave(reason, self._left_s(), self._clock.steady())

    def _leave_at(self) -> float:
        deadline, now = self._where.deadline, self._clock.steady()
        return drain.leave_at(now, None if deadline is None else deadline - self._clock.wall(), self._manifest.margin_s)

    def _left_s(self) -> float:
        left_s = self._manifest.kill_grace_s + WARNED_S
        deadline = self._where.deadline
        return left_s if deadline is None else max(0.0, min(left_s, deadline - self._clock.wall()))

    def _make_slot(self, task: EventTask, bits: int, nodes: Sequence[str]) -> Slot:
        try:
            folder = self._folder(task)
            self._tidy(task)
        except (OSError, UnsafeName) as error:
            log.error("job %s: there is no scratch for it: %s", task.job, error)  # noqa: TRY400  # that is all
            return RefusedSlot("there is no scratch for it on this node", ours=True)
        self._slots += 1
        bound = gpus.bound(self._manifest, bits, self._environment, here=len(nodes) < 2)
        where = Place(
            folder=str(folder / f"{self._slots}"),
            environment={**self._environment, **task.env, **bound},
            next_mark=self._sweep.next_mark,
            bury=self._sweep.bury,
            discard=self._keeper.discard,
            keep_log=partial(self._keeper.keep_log, task.job),
            oom_kills=memory.oom_kills,
            grace_s=self._manifest.kill_grace_s,
            nodes=nodes or (self._node,),
            launcher=self._manifest.launcher,
        )
        return registry.make(task, where)

    def _folder(self, task: EventTask) -> Path:
        """Give the folder of this process on the node, for scratch; what an earlier life left there is removed."""
        parent = place.scratch(task.scratch, self._environment)
        if parent not in self._scratch:
            parent.mkdir(parents=True, exist_ok=True)
            for left in parent.glob(f"{glob.escape(self._label)}*"):
                self._keeper.discard(str(left))
            # Nobody else may write, or wait, where outputs lie: so its name is random, and it is ours alone.
            self._scratch[parent] = Path(tempfile.mkdtemp(prefix=self._label, dir=parent))
        return self._scratch[parent]

    def _tidy(self, task: EventTask) -> None:
        """Remove what an earlier life left on the shared file system for programs of MPI."""
        if task.kind is PayloadKind.MPI and task not in self._tidied:
            self._tidied.append(task)
            for left in mpi.all_shared(task, self._label):
                self._keeper.discard(str(left))

    def _remove_scratch(self) -> None:
        for path in self._scratch.values():
            for shared in [one for task in self._tidied for one in mpi.all_shared(task, f"{path.name}.")]:
                rubbish.remove(shared)
            rubbish.remove(path)


def host_name() -> str:
    """Give this host's own name."""
    return socket.gethostname()
