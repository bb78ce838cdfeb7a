"""How long it takes until every slot of a few real nodes is busy: real head, real processes, real payloads."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import psutil

from hpcharvest.cli.bench.rush.head import JOB, Loop, names
from hpcharvest.errors import HarvestError
from hpcharvest.messenger.mailbox import Mailbox
from hpcharvest.messenger.protocol import NODES_VARIABLE, VIRTUAL_NODES_VARIABLE, Manifest
from hpcharvest.messenger.ranges import EventTask, Feed, PayloadKind
from hpcharvest.model.event_range import EventRange
from hpcharvest.model.ids import AllocationId, Attempt

NODES: Final = 8
SLOTS: Final = 2
"""On each node; all share this host."""
PAYLOAD: Final = ("sleep", "600")
LIMIT_S: Final = 120.0
LOOK_S: Final = 0.05


def measure(folder: Path) -> dict[str, Any]:
    """Start head and nodes; give the seconds until all payloads run. HarvestError: they never do."""
    task = _prepare(folder)
    began = time.monotonic()
    head = Loop(folder, task, names(NODES), SLOTS)
    nodes = [_start(folder, name) for name in names(NODES)]
    try:
        next_look = began
        while (now := time.monotonic()) < began + LIMIT_S:
            head.turn(until=next_look)
            if now >= next_look:
                next_look = now + LOOK_S
                if _payloads(nodes) >= NODES * SLOTS:
                    return {"startup_s_8_nodes": round(now - began, 2)}
        raise HarvestError(f"after {LIMIT_S:g} s only {_payloads(nodes)} of {NODES * SLOTS} slots are busy")
    finally:
        _end(nodes)


def _prepare(folder: Path) -> EventTask:
    task = EventTask(
        job=JOB, attempt=Attempt(1), kind=PayloadKind.COMMAND, argv=PAYLOAD, folder=str(folder / "run"), inputs={}
    )
    mailbox = Mailbox(folder)
    mailbox.write_manifest(
        Manifest(allocation=AllocationId(1), tag="bench", cores_per_node=SLOTS, tasks=(), event_tasks=(task,))
    )
    ranges = tuple(
        EventRange(id=f"1-1-1-{number}-1", start=number, last=number, lfn="EVNT.1") for number in range(1, 101)
    )
    mailbox.feed(Feed(job=JOB, number=0, first=0, ranges=ranges))
    return task


def _start(folder: Path, name: str) -> subprocess.Popen[bytes]:
    settings = [f"{NODES_VARIABLE}={','.join(names(NODES))}", f"{VIRTUAL_NODES_VARIABLE}=1"]
    words = [sys.executable, "-m", "hpcharvest.jumbo.node", str(folder), name, "0"]
    with (folder / f"{name}.txt").open("wb") as log:
        return subprocess.Popen(["env", *settings, *words], stdout=log, stderr=log)


def _payloads(nodes: list[subprocess.Popen[bytes]]) -> int:
    return sum(one.name() == PAYLOAD[0] for one in _children(nodes))


def _children(nodes: list[subprocess.Popen[bytes]]) -> list[psutil.Process]:
    found: list[psutil.Process] = []
    for node in nodes:
        try:
            found += psutil.Process(node.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            continue
    return found


def _end(nodes: list[subprocess.Popen[bytes]]) -> None:
    children = _children(nodes)
    for node in nodes:
        node.kill()
        node.wait()
    for one in children:
        try:
            one.kill()
        except psutil.NoSuchProcess:
            continue
