"""The accident of a demonstration: a node is lost while it does event ranges, and with it its whole allocation."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from hpcharvest.apps.folders import Folders
from hpcharvest.errors import HarvestError
from hpcharvest.messenger.mailbox import Mailbox
from hpcharvest.messenger.protocol import PayloadEnded
from hpcharvest.messenger.ranges import ARCHIVES, NODES, PART
from hpcharvest.model.allocation import Allocation
from hpcharvest.model.ids import AllocationId
from hpcharvest.sandbox.world import World

AWAY_S = 3.0
"""Seconds that the node stays away."""


class NodeLoss:
    """Takes a node away, once, from an allocation that is in the middle of event ranges; and gives it back."""

    def __init__(self, world: World) -> None:
        self._cluster = world.cluster
        self._folders = folders(world)
        self._lost = ""
        self._back_at = 0.0
        self._killed: tuple[AllocationId, ...] = ()

    @property
    def killed(self) -> tuple[AllocationId, ...]:
        """The numbers of the allocations that were killed."""
        return self._killed

    def look(self, running: Iterable[Allocation], now: float) -> str:
        """Do what is due, and say what was done; empty: nothing. `now`: steady seconds."""
        if self._lost and now >= self._back_at:
            node, self._lost = self._lost, ""
            self._cluster.node_up(node)
            return f"the node {node} is back"
        if self._killed:
            return ""
        for one in running:
            if one.nodes and in_the_middle(self._folders.allocation(one.id)):
                self._lost, self._back_at, self._killed = one.nodes[0], now + AWAY_S, (one.id,)
                self._cluster.node_down(self._lost)
                return f"the node {self._lost} was lost, and with it allocation {one.id}, in the middle of event ranges"
        return ""

    def close(self) -> None:
        """Give the node back."""
        if self._lost:
            self._cluster.node_up(self._lost)
            self._lost = ""


def folders(world: World) -> Folders:
    """Give the places of a world's work folder."""
    return Folders(world.work / world.recipe.harvester_id)


def in_the_middle(folder: Path) -> bool:
    """Whether an allocation has nothing but event ranges left, has told of some of them, and has an archive open."""
    mailbox = Mailbox(folder)
    try:
        manifest = mailbox.read_manifest()
        records = [record for segment in mailbox.read_segments(0) for record in segment.records]
    except HarvestError:
        return False  # it is not there yet
    ended = {(one.job, one.attempt) for one in records if isinstance(one, PayloadEnded)}
    if not manifest.event_tasks or not {task.key for task in manifest.tasks} <= ended:
        return False
    told = any(one.stat().st_size for one in (folder / NODES).glob("*.jsonl"))
    return told and any(one.stat().st_size for one in (folder / ARCHIVES).glob(f"*{PART}"))


def serving(world: World, numbers: Iterable[AllocationId]) -> int:
    """Count the allocations in which event ranges were done: those whose nodes have told of any."""
    places = (folders(world).allocation(number) / NODES for number in numbers)
    return sum(1 for place in places if any(one.stat().st_size for one in place.glob("*.jsonl")))
