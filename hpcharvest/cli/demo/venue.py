"""Where a demonstration runs: on the embedded batch system, or on a real Slurm that it starts."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from hpcharvest.cli.demo.campaign import DemoFailed
from hpcharvest.cli.demo.orders import CORES_PER_NODE, NODES, recipe
from hpcharvest.sandbox import slurm
from hpcharvest.sandbox.world import Recipe


@contextmanager
def _embedded(folder: Path) -> Iterator[Recipe]:
    """Give virtual nodes; mpiexec starts all ranks here, under the nodes' names."""
    mpiexec = str(Path(sys.executable).with_name("mpiexec"))
    argv = [mpiexec, "-launcher", "fork", "-hosts", "{hosts}", "-ppn", "{ranks_per_node}", "-n", "{ranks}"]
    yield replace(recipe(folder), launcher={"argv": argv})


@contextmanager
def _slurm(folder: Path) -> Iterator[Recipe]:
    """Give the nodes of a real Slurm, each a slurmd on this host; srun starts the ranks."""
    if reason := slurm.why_not():
        raise DemoFailed(f"a demonstration on Slurm cannot be: {reason}; without --batch slurm none is needed")
    with slurm.cluster(NODES, cores=CORES_PER_NODE) as cluster:
        yield replace(
            recipe(folder),
            batch={"dialect": "slurm", "environment": cluster.environment},
            link_address="127.0.0.1",
            # PMI-2 is what MPICH and srun have in common. The batch step holds a core of the first node: share it.
            launcher={"name": "srun", "options": ["--mpi=pmi2", "--overlap"]},
        )


VENUES: Final[dict[str, Callable[[Path], AbstractContextManager[Recipe]]]] = {"local": _embedded, "slurm": _slurm}
"""By the name of the batch system: makes a folder's world possible, and tells its recipe. Raises DemoFailed."""
