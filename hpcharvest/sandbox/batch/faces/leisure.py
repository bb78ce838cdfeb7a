"""Whether nodes that are free may be had now: in the embedded batch system nobody overtakes who waits for nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hpcharvest.sandbox.batch import client
from hpcharvest.sandbox.batch.placement import PRIORITY, RESOURCES

if TYPE_CHECKING:
    from pathlib import Path


def free_nodes(spool: Path, info: dict[str, Any]) -> list[dict[str, Any]]:
    """Give the nodes, as `info` tells of them, on which a batch job that is submitted now would start at once."""
    jobs = client.ask(spool, {"op": "status", "ids": None})
    if any(job["state"] == "PENDING" and job["reason"] in {RESOURCES, PRIORITY} for job in jobs):
        return []
    return [node for node in info["nodes"] if node["state"] == "up" and node["free"]]
