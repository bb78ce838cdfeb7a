"""What a cluster consists of and what it permits: chosen when the daemon is started."""

from __future__ import annotations

from dataclasses import dataclass, field

DEFAULT_QUEUE = "batch"
DAY_S = 86_400.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """The shape and the limits of one cluster.

    `queues` maps each queue to its longest walltime in seconds; the first one is the default. `kill_grace_s` lies
    between SIGTERM and SIGKILL. Finished jobs are shown for `retention_s`, then forgotten with their files.
    """

    nodes: int = 1
    cores_per_node: int = 1
    queues: dict[str, float] = field(default_factory=lambda: {DEFAULT_QUEUE: DAY_S})
    kill_grace_s: float = 2.0
    max_jobs_per_user: int | None = None
    retention_s: float = 3600.0

    def __post_init__(self) -> None:
        """Refuse, with ValueError, a cluster on which nothing could run."""
        if self.nodes < 1 or self.cores_per_node < 1 or not self.queues:
            raise ValueError("a cluster needs at least one node, one core on it and one queue")

    @property
    def node_names(self) -> tuple[str, ...]:
        """The names of the virtual nodes, vn001 and so on."""
        return tuple(f"vn{number:03d}" for number in range(1, self.nodes + 1))
