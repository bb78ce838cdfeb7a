"""How many event ranges go through one head, and in how much memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from hpcharvest.cli.bench.rush.head import JOB
from hpcharvest.errors import HarvestError
from hpcharvest.messenger.mailbox import Mailbox
from hpcharvest.messenger.protocol import Manifest
from hpcharvest.messenger.ranges import EventTask, Feed, PayloadKind
from hpcharvest.model.event_range import EventRange
from hpcharvest.model.ids import AllocationId, Attempt

NODES: Final = 8
A_FILE: Final = 20_000
"""Ranges in one file of the feed."""
AN_INPUT: Final = 1_000
"""Ranges of one input file."""
LIMIT_S: Final = 600.0
PROGRAM: Final = "hpcharvest.cli.bench.rush"


def measure(folder: Path, ranges: int, batch: int) -> dict[str, Any]:
    """Rush through so many ranges, in batches; HarvestError if that does not end well."""
    _prepare(folder, ranges)
    words = [sys.executable, "-m", PROGRAM]
    head = subprocess.Popen([*words, "head", str(folder), str(NODES), str(ranges)], stdout=subprocess.PIPE, text=True)
    nodes = subprocess.Popen([*words, "nodes", str(folder), str(NODES), str(batch)])
    try:
        told, _ = head.communicate(timeout=LIMIT_S)
        nodes.wait(LIMIT_S)
    finally:
        for process in (head, nodes):
            process.kill()
            process.wait()
    if head.returncode or nodes.returncode:
        raise HarvestError(f"the head ended with {head.returncode}, the nodes with {nodes.returncode}")
    figures = json.loads(told)
    return {
        "ranges_per_s": round(ranges / figures["seconds"]),
        "head_cpu_us_per_range": round(figures["cpu_s"] / ranges * 1e6, 2),
        "peak_rss_mb": round(figures["peak_rss_mb"], 1),
    }


def _prepare(folder: Path, ranges: int) -> None:
    task = EventTask(job=JOB, attempt=Attempt(1), kind=PayloadKind.COMMAND, argv=("true",), folder=str(folder))
    manifest = Manifest(allocation=AllocationId(1), tag="bench", cores_per_node=1, tasks=(), event_tasks=(task,))
    mailbox = Mailbox(folder)
    mailbox.write_manifest(manifest)
    for number, first in enumerate(range(0, ranges, A_FILE)):
        stop = min(ranges, first + A_FILE)
        mailbox.feed(
            Feed(
                job=JOB,
                number=number,
                first=first,
                ranges=tuple(_range(index) for index in range(first, stop)),
                last=stop == ranges,
            )
        )


def _range(index: int) -> EventRange:
    name = f"10919503-3298217817-{8731829857 + index // AN_INPUT}-{index % AN_INPUT + 1}-49"
    event = index % AN_INPUT + 1
    return EventRange(
        id=name, start=event, last=event, lfn=f"EVNT.{index // AN_INPUT:07d}.pool.root", guid="0" * 36, scope="mc23"
    )
