"""Which share of an allocation's core time event ranges have on a real Slurm, scaled down."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any, Final

from hpcharvest.errors import HarvestError
from hpcharvest.messenger.mailbox import Mailbox
from hpcharvest.messenger.protocol import Record, RunnerStarted
from hpcharvest.messenger.ranges import ArchiveClosed
from hpcharvest.sandbox import slurm
from hpcharvest.sandbox.jobs import make_job
from hpcharvest.sandbox.world import BRISK, QUEUE, Recipe, World

NODES: Final = 4
CORES: Final = 4
RANGES_IN_ONE: Final = 120.0
"""Two hours of ranges of a minute: an allocation has time for so many in each slot."""
PATIENCE_S: Final = 180.0


def measure(folder: Path, seconds: int) -> dict[str, Any]:
    """Let an allocation of so many seconds do ranges of a 120th of that; HarvestError: there can be no Slurm.

    The ranges sleep: they are to show what the runner leaves to them, and not what this host's cores are worth. An
    allocation's time is what Slurm's accounting says of it, from its start to its end.
    """
    if reason := slurm.why_not():
        raise HarvestError(f"there can be no Slurm here: {reason}")
    (folder / "transformations").mkdir(parents=True)
    program = folder / "transformations" / "rest"
    program.write_text('#!/bin/sh\nsleep "$1"\n: > "$2"\n')
    program.chmod(0o755)
    with (
        slurm.cluster(NODES, cores=CORES, accounting=True) as cluster,
        World(folder, _recipe(cluster, program, seconds)) as world,
    ):
        file = world.put_input("events.dat", b"events\n")
        job = make_job(1, site=QUEUE, transformation="rest", job_pars="", inputs=[file], outputs=[])
        world.submit_events(job, int(4 * NODES * CORES * RANGES_IN_ONE))
        controller = world.controller()
        try:
            records = _of_first_allocation(world, seconds)
            elapsed_s = _elapsed_s(cluster, records)
        finally:
            controller.send_signal(signal.SIGTERM)
            controller.wait()
    busy_s = sum(one.wall_s for record in records if isinstance(record, ArchiveClosed) for one in record.ranges)
    return {"core_time_in_events_slurm": round(busy_s / (elapsed_s * NODES * CORES), 4), "slurm_elapsed_s": elapsed_s}


def _recipe(cluster: slurm.Slurm, program: Path, seconds: int) -> Recipe:
    return Recipe(
        batch={"dialect": "slurm", "environment": cluster.environment},
        nodes=NODES,
        cores_per_node=CORES,
        link_address="127.0.0.1",  # its nodes are all on this host
        launcher={"name": "srun", "options": ["--overlap"]},
        allocation={"max_allocations": 1, "margin_s": seconds / RANGES_IN_ONE},
        payload={
            "transformation_dir": str(program.parent),
            "event_ranges": {
                "arguments": [f"{seconds / RANGES_IN_ONE:g}", "{output}"],
                "expected_range_s": seconds / RANGES_IN_ONE,
                "archive_age_s": seconds / 24,
                "walltime_s": seconds,
            },
        },
        patience=BRISK,
    )


def _of_first_allocation(world: World, seconds: int) -> list[Record]:
    """Wait for the end of the first allocation, and give what its journal says."""
    mailbox = Mailbox(world.work / world.recipe.harvester_id / "allocations" / "1")
    deadline = time.monotonic() + seconds + PATIENCE_S
    while time.monotonic() < deadline:
        segments = mailbox.read_segments(0)
        if segments and segments[-1].closes:
            return [record for segment in segments for record in segment.records]
        time.sleep(1)
    raise HarvestError(f"the first allocation did not end in time; see {mailbox.folder}")


def _elapsed_s(cluster: slurm.Slurm, records: list[Record]) -> float:
    """Give how long Slurm had the allocation running."""
    (batch_id,) = {record.batch_id for record in records if isinstance(record, RunnerStarted)}
    ended = ("COMPLETED", "FAILED", "TIMEOUT", "CANCELLED")
    words: list[str] = []

    def told() -> bool:
        nonlocal words
        words = cluster.run("sacct", "-nXP", "-j", batch_id, "-o", "ElapsedRaw,State").strip().split("|")
        return len(words) == 2 and words[1].startswith(ended)

    cluster.wait(told, "the end of the batch job is accounted")
    return float(words[0])
