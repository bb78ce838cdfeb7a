"""Which pending job starts on which nodes: strictly first in, first out, whole nodes only. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hpcharvest.sandbox.batch.job import State

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hpcharvest.sandbox.batch.job import Job

RESOURCES = "Resources"  # is next, and waits for nodes
PRIORITY = "Priority"  # waits behind that one
NODES_DOWN = "NodesDown"  # wants more nodes than are up; lets others pass


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """One virtual node."""

    name: str
    up: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """A job and the nodes that it gets."""

    job_id: int
    nodes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """What starts now, in order, and why the other pending jobs wait (reason by job id)."""

    starts: tuple[Start, ...]
    waiting: dict[int, str]


def free_nodes(jobs: Iterable[Job], nodes: Sequence[Node]) -> list[str]:
    """Give the names of the nodes that are up and belong to no running job, in the order of `nodes`."""
    busy = {name for job in jobs if job.state is State.RUNNING for name in job.nodes}
    return [node.name for node in nodes if node.up and node.name not in busy]


def place(jobs: Iterable[Job], nodes: Sequence[Node]) -> Placement:
    """Decide which pending jobs start, by priority and then by id.

    The first job that has to wait for busy nodes holds back all behind it: there is no backfill. A job that would
    not fit even on the empty cluster as it is up now holds back nobody.
    """
    jobs = tuple(jobs)
    free = free_nodes(jobs, nodes)
    up = sum(node.up for node in nodes)
    starts: list[Start] = []
    waiting: dict[int, str] = {}
    blocked = False
    pending = (job for job in jobs if job.state is State.PENDING)
    for job in sorted(pending, key=lambda job: (-job.priority, job.id)):
        if job.nodes_wanted > up:
            waiting[job.id] = NODES_DOWN
        elif blocked:
            waiting[job.id] = PRIORITY
        elif job.nodes_wanted > len(free):
            waiting[job.id] = RESOURCES
            blocked = True
        else:
            starts.append(Start(job_id=job.id, nodes=tuple(free[: job.nodes_wanted])))
            del free[: job.nodes_wanted]
    return Placement(starts=tuple(starts), waiting=waiting)
