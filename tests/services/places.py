"""Batch systems for the one suite that every provider must pass: how to start each, speak to it and disturb it.

A *place* is a batch system of two nodes that the tests may do to as they like. The table `PLACES` has one row for each
provider; `faces` are the command lines of batch systems that cannot be had, before the embedded one.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from hpcharvest.model.shape import NodeShape, Shape
from hpcharvest.model.states import BatchState
from hpcharvest.providers.batch import BatchSystem
from hpcharvest.providers.cobalt import CobaltDialect
from hpcharvest.providers.dialect import BatchRequest, BatchStatus, Dialect
from hpcharvest.providers.local import LocalDialect
from hpcharvest.providers.lsf import LsfDialect
from hpcharvest.providers.pbs import VARIANTS, PbsDialect
from hpcharvest.providers.script import render
from hpcharvest.providers.slurm import SlurmDialect
from hpcharvest.sandbox import slurm
from hpcharvest.sandbox.batch import faces
from hpcharvest.sandbox.batch.cluster import Cluster
from hpcharvest.sandbox.batch.settings import Settings
from tests import worlds

_numbers = itertools.count(1)


@dataclass(frozen=True, kw_only=True)
class Place:
    """A batch system of two nodes, how to speak to it, and how to disturb it."""

    system: BatchSystem
    folder: Path
    away: Callable[[], None]
    """Take its daemon away, as a crash does; batch jobs go on."""
    back: Callable[[], None]
    """Bring it back."""
    preempt: Callable[[str], None]
    """Take a running batch job, which may not be requeued, from its nodes."""
    lose_node: Callable[[str], None]
    """Lose a node of a running batch job, which may not be requeued."""
    recover: Callable[[], None]
    """Bring all lost nodes back."""
    partition: str = ""
    """Where batch jobs can be preempted."""
    hasten: Callable[[str], None] = lambda _: None
    """Let the walltime of a running batch job be over soon, where that can be; else it must be waited for."""
    shortest_walltime_s: int = 1
    """The shortest walltime that it keeps to."""
    too_large: str = "99"
    """What its refusal of 99 nodes has in it; empty: it queues them for ever."""
    preempted: BatchState = BatchState.PREEMPTED
    """What it can tell of a batch job that was preempted."""
    lost_node: BatchState = BatchState.NODE_FAILED
    """What it can tell of a batch job that lost a node."""
    folders: dict[str, Path] = field(default_factory=dict)
    """The folder of each batch job that was submitted, by id."""

    def request(self, code: str, *, nodes: int = 1, walltime_s: int = 60, **more: Any) -> BatchRequest:
        """Make a request whose runner is a line of shell, run as the real one is; its $0 is its folder."""
        number = next(_numbers)
        folder = self.folder / f"allocation {number}"
        folder.mkdir()
        shape = Shape(nodes=nodes, walltime_s=max(walltime_s, self.shortest_walltime_s), partition=self.partition)
        request = BatchRequest(tag=f"tag-{number}", shape=shape, folder=folder, **more)
        request.script.write_text(render(self.system.dialect, request, ["sh", "-c", code, str(folder)]))
        return request

    def submit(self, request: BatchRequest) -> str:
        """Submit a request; give the batch id."""
        batch_id = self.system.submit(request)
        self.folders[batch_id] = request.folder
        return batch_id

    def run(self, code: str, **more: Any) -> str:
        """Submit a line of shell; give the batch id."""
        return self.submit(self.request(code, **more))

    def status(self, batch_id: str) -> BatchStatus | None:
        """Give what the batch system says of one job, in the queue or after it; None: nothing."""
        return self.system.status({batch_id: self.folders.get(batch_id)}).get(batch_id)

    def until(self, batch_id: str, *states: BatchState, timeout_s: float = 180.0) -> BatchStatus:
        """Wait until the batch job is in one of these states."""
        found: list[BatchStatus | None] = []

        def holds() -> bool:
            found[:] = [self.status(batch_id)]
            return found[0] is not None and found[0].state in states

        worlds.eventually(holds, lambda: f"{states}, but {found}", timeout_s)
        assert found[0] is not None
        return found[0]

    def end(self, *ids: str) -> None:
        """Cancel batch jobs and wait until their nodes are free."""
        self.system.cancel(ids)
        for batch_id in ids:
            self.until(batch_id, BatchState.CANCELLED)


def _embedded(
    cluster: Cluster, dialect: Dialect, folder: Path, environment: dict[str, str] | None = None, **more: Any
) -> Place:
    """Give a place on the embedded batch system, spoken to in some dialect; its ids begin with the job's number."""

    def number(batch_id: str) -> int:
        return int(batch_id.partition(".")[0])

    def lose_node(batch_id: str) -> None:
        (job,) = cluster.status([number(batch_id)])
        cluster.node_down(job["nodes"][-1])

    def hasten(batch_id: str) -> None:
        cluster.kill_daemon()
        record = cluster.spool / "jobs" / f"{number(batch_id)}.json"
        record.write_text(json.dumps(json.loads(record.read_text()) | {"walltime_s": 0.1}))
        cluster.start()

    def recover() -> None:
        for name in cluster.settings.node_names:
            cluster.node_up(name)

    return Place(
        system=BatchSystem(dialect, timeout_s=60, per_minute=6000, environment=environment),
        folder=folder,
        away=cluster.kill_daemon,
        back=cluster.start,
        preempt=lambda batch_id: cluster.preempt(number(batch_id), "cancel"),
        lose_node=lose_node,
        recover=recover,
        hasten=hasten,
        **more,
    )


@contextmanager
def _local(folder: Path) -> Iterator[Place]:
    with _cluster(folder) as cluster:
        yield _embedded(cluster, LocalDialect(cluster.command), folder)


def _faced(face: str, dialect: Callable[[], Dialect], **more: Any) -> Callable[[Path], AbstractContextManager[Place]]:
    """Give a place whose batch system is behind the command line of another."""

    @contextmanager
    def made(folder: Path) -> Iterator[Place]:
        with _cluster(folder) as cluster:
            programs = faces.install(face, cluster.spool, folder / "bin")
            path = f"{programs}{os.pathsep}{os.environ['PATH']}"
            yield _embedded(cluster, dialect(), folder, {"PATH": path}, **more)

    return made


@contextmanager
def _slurm(folder: Path) -> Iterator[Place]:
    """Give a real Slurm, whose important partition preempts the other; it counts walltimes in minutes."""
    with slurm.cluster(2, accounting=True) as made:
        yield Place(
            system=BatchSystem(SlurmDialect(), timeout_s=60, per_minute=6000, environment=made.environment),
            folder=folder,
            away=lambda: made.stop("slurmctld"),
            back=made.start_controller,
            preempt=lambda batch_id: _displace(made, batch_id, folder),
            lose_node=lambda batch_id: made.kill(f"slurmd {made.nodes_of(batch_id)[-1]}"),
            recover=made.start_missing_nodes,
            partition="preempt",
            shortest_walltime_s=60,
            too_large="",
        )


def _displace(made: slurm.Slurm, batch_id: str, folder: Path) -> None:
    """Let a more important batch job want the nodes of this one."""
    script = folder / "important.sh"
    script.write_text("#!/bin/sh\nsleep 1\n")
    nodes = made.nodes_of(batch_id)
    made.run(
        "sbatch",
        "--partition=regular",
        f"--nodelist={','.join(nodes)}",
        f"--nodes={len(nodes)}",
        "--output=/dev/null",
        str(script),
    )


def _cluster(folder: Path) -> Cluster:
    return Cluster(folder / "spool", Settings(nodes=2, cores_per_node=2, kill_grace_s=0.3))


def _pbs(variant: str) -> Dialect:
    return PbsDialect(VARIANTS[variant], NodeShape(cores=2))


PLACES: Final[dict[str, Callable[[Path], AbstractContextManager[Place]]]] = {
    "local": _local,
    "slurm": _slurm,
    # Cobalt knows whole minutes only, and has no words for preemption without requeue and for a lost node.
    "cobalt": _faced(
        "cobalt",
        CobaltDialect,
        shortest_walltime_s=60,
        too_large="node count out of realistic range",
        preempted=BatchState.CANCELLED,
        lost_node=BatchState.FAILED,
    ),
    "lsf": _faced("lsf", LsfDialect, shortest_walltime_s=60, too_large="Too many processors requested"),
    "pbs": _faced("pbs", lambda: _pbs("pbs"), too_large=""),
    "torque": _faced("torque", lambda: _pbs("torque"), too_large="feasible nodes"),
}
"""Makes each provider's place in a folder; it is gone at the end of the context."""

SERVICES: Final = {"slurm": "slurm"}
"""What a place needs that may not be there, by the names in `tests/conftest.py`."""
PARAMS: Final = [
    pytest.param(name, marks=pytest.mark.needs(SERVICES[name]) if name in SERVICES else ()) for name in PLACES
]
"""The names of all places, for fixtures."""
