"""Moab's command line, as much as is asked of it before Torque: showbf.

Unverified: the columns of `showbf -p NAME --blocking` are those that were read on Titan. A task is a core.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from hpcharvest.sandbox.batch import client
from hpcharvest.sandbox.batch.faces.leisure import free_nodes
from hpcharvest.sandbox.batch.faces.voice import or_away, say

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def showbf(spool: Path, arguments: Sequence[str]) -> int:
    """Print for how long how many nodes are free now: for ever, or, while others wait, none at all."""
    words = list(arguments)
    partition = words[words.index("-p") + 1] if "-p" in words[:-1] else "base"
    free = free_nodes(spool, client.ask(spool, {"op": "info"}))
    row = "{:<12} {:>8}  {:>8}  {:>12}  {:>12}  {:>14}"
    say(row.format("Partition", "Tasks", "Nodes", "Duration", "StartOffset", "StartDate"))
    say(row.format(*("-" * width for width in (9, 5, 5, 12, 12, 14))))
    if free:
        tasks, now = sum(node["free"] for node in free), time.strftime("%H:%M:%S_%m/%d")
        say(row.format(partition, tasks, len(free), "INFINITY", "00:00:00", now))
    return 0


COMMANDS = {"showbf": or_away(showbf, "ERROR:  cannot connect to server: connection refused")}
