"""How large a job is on nodes of a given shape. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from hpcharvest.model.job import JobSpec
from hpcharvest.model.shape import NodeShape


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """What one job occupies while its payload runs: cores, memory and GPUs on each of `nodes`, for `walltime_s`."""

    nodes: int
    cores: int
    memory_mb: int
    walltime_s: int
    gpus: int = 0

    @property
    def core_seconds(self) -> int:
        """Cores times seconds, at the most."""
        return self.nodes * self.cores * self.walltime_s


def footprint(spec: JobSpec, node: NodeShape, *, default_walltime_s: int, gpus: int = 0) -> Footprint:
    """Fit a job to nodes: by cores, and by memory where both sides name it.

    PanDA's coreCount and minRamCount are totals of the job. A job larger than a node takes whole nodes. `gpus`: what
    its queue says that it needs on each node, since PanDA does not say.
    """
    by_memory = ceil(spec.memory_mb / node.memory_mb) if node.memory_mb and spec.memory_mb else 1
    nodes = max(ceil(max(spec.core_count, 1) / node.cores), by_memory)
    cores = node.cores if nodes > 1 else max(spec.core_count, 1)
    return Footprint(
        nodes=nodes,
        cores=cores,
        memory_mb=ceil(spec.memory_mb / nodes) if node.memory_mb else 0,
        walltime_s=spec.max_walltime_s or default_walltime_s,
        gpus=gpus,
    )
