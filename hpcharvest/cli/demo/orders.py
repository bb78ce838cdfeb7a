"""What a demonstration asks for: its world, and its jobs with their steering cards."""

from __future__ import annotations

import sys
from importlib.resources import files
from itertools import cycle
from pathlib import Path
from typing import Any

from hpcharvest.cli.demo.audit import Order
from hpcharvest.cli.demo.range_audit import EventOrder
from hpcharvest.sandbox.jobs import InputFile, make_job
from hpcharvest.sandbox.world import QUEUE, Recipe, World

DATA = Path(str(files("hpcharvest.cli.demo_data")))
PROGRAM = "generate_collisions.py"
CARDS = ("drell_yan_mumu", "top_pairs", "hard_qcd_dijets")
CORES = 4
CORES_PER_NODE = 2
NODES = 4
FIRST_JOB = 6_000_000_001
MAX_JOBS = 2000
MAX_EVENTS = 100_000
LONGEST_S = 7000
"""Seconds: the world's batch jobs may ask for a little more."""
RANGE_PROGRAM = "collide_range.py"
RANGE_CARD = "drell_yan_mumu"
SUFFIX = ".hepmc3"
RANGES = 60
FEWEST_RANGES = 20
"""With fewer, all might be done before a node can be lost in the middle of them."""
EVENTS_PER_RANGE = 5
FIRST_JUMBO = 7_000_000_001


def recipe(folder: Path) -> Recipe:
    """Give the world of the demonstration, but for how ranks are started, which is the batch system's to say.

    Each payload is told to note its start below `starts` in the folder, so that we can count how often it began.
    """
    note = str(starts(folder)).replace("{", "{{").replace("}", "}}")
    return Recipe(
        nodes=NODES,
        cores_per_node=CORES_PER_NODE,
        harvester_id="demo",
        server_options=("--redeliver-after", "15"),
        panda={"fetch_interval_s": 1.0},
        allocation={"max_jobs": 2},
        payload={
            "transformation_dir": str(DATA),
            "interpreter": [sys.executable],
            "mpi": True,
            "arguments": [f"--startLog={note}/{{panda_id}}"],
            "event_ranges": event_ranges(note),
        },
    )


def event_ranges(note: str) -> dict[str, Any]:
    """Give the section of the queue that says how a range is done: one core, one process for each.

    An allocation is small and short, and ranges are taken to be long, so that there are several; it has one node, so
    that the loss of a node ends one of them. Archives are closed soon. `note`: the folder of notes, for a template.
    """
    arguments = ["--card", "{PFN}", "--start", "{startEvent}", "--last", "{lastEvent}", "--seed", "{seed}"]
    return {
        "kind": "command",
        "arguments": [*arguments, "--output", "{output}", "--start-log", f"{note}/{{PandaID}}"],
        "output": f"{{LFN}}.{{eventRangeID}}{SUFFIX}",
        "expected_range_s": 6.0,
        "archive_mb": 4,
        "archive_age_s": 4.0,
        "nodes": 1,
        "walltime_s": 60,
        "objstore_id": 1,
    }


def starts(folder: Path) -> Path:
    """Give the folder in which each job has a file with one line for every start of its payload."""
    return folder / "starts"


def submit(world: World, *, jobs: int, events: int) -> tuple[Order, ...]:
    """Lay the steering cards into the storage, give the jobs to the server, and tell what was ordered.

    The cards take turns; every job has a random seed of its own, from 1, so that a demonstration can be repeated.
    """
    starts(world.folder).mkdir()
    cards = {name: world.put_input(f"{name}.cmnd", (DATA / f"{name}.cmnd").read_bytes()) for name in CARDS}
    orders = tuple(
        Order(
            job=job,
            process=name.replace("_", " "),
            output=f"{name}.{job}.hepmc3.gz",
            log=f"{name}.{job}.log.tgz",
            events=events,
        )
        for job, name in zip(range(FIRST_JOB, FIRST_JOB + jobs), cycle(CARDS), strict=False)
    )
    world.submit(
        _definition(order, card, seed)
        for seed, (order, card) in enumerate(zip(orders, cycle(cards.values()), strict=False), start=1)
    )
    return orders


def submit_jumbo(world: World, ranges: int) -> EventOrder:
    """Lay its steering card into the storage, and give the server one jumbo job of so many ranges of its collisions."""
    card = world.put_input(f"{RANGE_CARD}.ranges.cmnd", (DATA / f"{RANGE_CARD}.cmnd").read_bytes())
    log = f"{RANGE_CARD}.ranges.log.tgz"
    job = make_job(
        FIRST_JUMBO,
        site=QUEUE,
        transformation=RANGE_PROGRAM,
        job_pars="",
        inputs=[card],
        outputs=[f"{RANGE_CARD}.ranges{SUFFIX}"],
        log=log,
        core_count=1,
        max_walltime=600,
    )
    world.submit_events(job, ranges, events_per_range=EVENTS_PER_RANGE, jumbo=True)
    return EventOrder(
        job=FIRST_JUMBO,
        process=RANGE_CARD.replace("_", " "),
        ranges=ranges,
        events_per_range=EVENTS_PER_RANGE,
        log=f"{log}.{FIRST_JUMBO}",
    )


def _definition(order: Order, card: InputFile, seed: int) -> dict[str, Any]:
    return make_job(
        order.job,
        site=QUEUE,
        transformation=PROGRAM,
        job_pars=f"--inputCard={card.lfn} --outputHepMCFile={order.output} "
        f"--maxEvents={order.events} --randomSeed={seed} ",
        inputs=[card],
        outputs=[order.output],
        log=order.log,
        core_count=CORES,
        max_walltime=min(600 + order.events, LONGEST_S),
    )
