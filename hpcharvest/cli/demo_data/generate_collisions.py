"""Generates proton-proton collisions with Pythia 8 on all ranks of an MPI job.

Every rank generates its share of the events with a seed of its own and writes them to a part file beside the output
(the ranks share the job's directory). Rank 0 then joins the parts into one HepMC3 file whose events are numbered from
0 and carry the cross-section of all ranks together, and writes a job report in JSON. Both files appear complete or not
at all. If one rank fails, it says why on stderr, the whole job is aborted, and its exit status is not zero.

    mpiexec -n 4 python generate_collisions.py --inputCard=top_pairs.cmnd \
        --outputHepMCFile=top_pairs.hepmc3.gz --maxEvents=40 --randomSeed=1
"""

import argparse
import json
import math
import os
import socket
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyhepmc
from mpi4py import MPI

from hpcharvest.cli.demo_data.pythia_events import PB_PER_MB, GenerationError, collisions, start_pythia

MAX_RANKS = 4096
MAX_SEED = 900_000_000 // MAX_RANKS - 1  # Pythia takes seeds up to 900 million; each job has MAX_RANKS of them


@dataclass(frozen=True, kw_only=True)
class RankReport:
    """What one rank did. Cross-sections in pb, wall time in seconds; `tried` counts Pythia's phase-space points."""

    rank: int
    host: str
    seed: int
    events: int
    tried: int
    crossSectionPb: float  # noqa: N815 - the spelling of the job report
    crossSectionErrorPb: float  # noqa: N815 - the same
    wallTimeS: float  # noqa: N815 - the same


def main(argv: Sequence[str]) -> None:
    """Run this rank's part of the job. A failure aborts all ranks with exit status 1."""
    options = parse_arguments(argv)
    comm = MPI.COMM_WORLD
    try:
        generate(comm, options)
    except Exception as error:  # noqa: BLE001 - border of the program: the other ranks would wait for ever
        if not isinstance(error, (GenerationError, OSError)):
            traceback.print_exc()
        sys.stderr.write(f"generate_collisions: rank {comm.rank} on {host_name()} failed: {error}\n")
        sys.stderr.flush()
        comm.Abort(1)


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line; exits with status 2 and the usage if it makes no sense."""
    parser = argparse.ArgumentParser(description="Generate proton-proton collisions with Pythia 8 over MPI.")
    parser.add_argument("--inputCard", type=Path, required=True, help="Pythia settings to read")
    parser.add_argument("--outputHepMCFile", type=Path, required=True, help="HepMC3 ASCII file to write (.gz: packed)")
    parser.add_argument("--maxEvents", type=int, required=True, help="events of all ranks together")
    parser.add_argument("--randomSeed", type=int, required=True, help=f"1 to {MAX_SEED}; one per job")
    parser.add_argument("--jobReport", type=Path, default=Path("jobReport.json"), help="report to write")
    parser.add_argument("--startLog", type=Path, help="file that gets a line for every time that the job starts")
    options = parser.parse_args(argv)
    if options.maxEvents < 1:
        parser.error("--maxEvents must be at least 1")
    if not 1 <= options.randomSeed <= MAX_SEED:
        parser.error(f"--randomSeed must be from 1 to {MAX_SEED}")
    return options


def generate(comm: MPI.Comm, options: argparse.Namespace) -> None:
    """Generate this rank's share; on rank 0 also join the parts and report."""
    started = time.monotonic()
    if comm.size > MAX_RANKS:
        raise GenerationError(f"{comm.size} ranks; seeds are set aside for at most {MAX_RANKS}")
    if comm.rank == 0 and options.startLog:
        note_start(options.startLog)
    output: Path = options.outputHepMCFile
    parts = [output.with_name(f"{output.name}.part{rank:04d}") for rank in range(comm.size)]
    report = write_part(parts[comm.rank], comm=comm, options=options)
    reports = comm.gather(report, root=0)
    if reports is not None:  # on rank 0
        cross_section = combine(reports)
        merge(
            [part for part, done in zip(parts, reports, strict=True) if done.events],
            output=output,
            cross_section=cross_section,
            accepted=sum(done.events for done in reports),
            tried=sum(done.tried for done in reports),
        )
        write_report(options, reports=reports, cross_section=cross_section, wall_time=time.monotonic() - started)


def note_start(path: Path) -> None:
    """Append one line; what is short goes in whole, whoever else appends."""
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{time.time():.3f} {host_name()} {os.getpid()}\n")


def write_part(path: Path, *, comm: MPI.Comm, options: argparse.Namespace) -> RankReport:
    """Generate this rank's events into a file of its own; a rank without events writes none."""
    started = time.monotonic()
    numbers = share(options.maxEvents, ranks=comm.size, rank=comm.rank)
    seed = options.randomSeed * MAX_RANKS + comm.rank
    tried, sigma, error = 0, 0.0, 0.0
    if numbers:
        pythia = start_pythia(options.inputCard, seed=seed)
        with pyhepmc.open(path, "w") as file:
            for event in collisions(pythia, numbers):
                file.write(event)
        info = pythia.infoPython()
        tried, sigma, error = info.nTried(), info.sigmaGen() * PB_PER_MB, info.sigmaErr() * PB_PER_MB
    return RankReport(
        rank=comm.rank,
        host=host_name(),
        seed=seed,
        events=len(numbers),
        tried=tried,
        crossSectionPb=sigma,
        crossSectionErrorPb=error,
        wallTimeS=round(time.monotonic() - started, 3),
    )


def share(events: int, *, ranks: int, rank: int) -> range:
    """Return the event numbers that a rank makes; those of all ranks are exactly 0 to `events` - 1."""
    return range(events * rank // ranks, events * (rank + 1) // ranks)


def combine(reports: Sequence[RankReport]) -> tuple[float, float]:
    """Average the ranks' cross-sections, weighted by the points tried; returns the value and its error in pb."""
    tried = sum(report.tried for report in reports)
    value = sum(report.crossSectionPb * report.tried for report in reports) / tried
    error = math.hypot(*(report.crossSectionErrorPb * report.tried for report in reports)) / tried
    return value, error


def merge(
    parts: Sequence[Path], *, output: Path, cross_section: tuple[float, float], accepted: int, tried: int
) -> None:
    """Join the parts in the order given into one HepMC3 file, put it in its place, and remove the parts.

    Raises GenerationError if the parts do not hold `accepted` events with consecutive numbers.
    """
    temporary = output.with_name(f"tmp-{output.name}")
    run, written = None, 0
    with pyhepmc.open(temporary, "w") as file:
        for part in parts:
            with pyhepmc.open(part) as events:
                for event in events:
                    if event.event_number != written:
                        raise GenerationError(f"{part} has event {event.event_number} where {written} belongs")
                    run = event.run_info = run or event.run_info
                    event.cross_section = pyhepmc.GenCrossSection()
                    event.cross_section.set_cross_section(*cross_section, accepted, tried)
                    file.write(event)
                    written += 1
    if written != accepted:
        raise GenerationError(f"{written} of {accepted} events are in the part files beside {output}")
    temporary.replace(output)
    for part in parts:
        part.unlink()


def write_report(
    options: argparse.Namespace,
    *,
    reports: Sequence[RankReport],
    cross_section: tuple[float, float],
    wall_time: float,
) -> None:
    """Write the job report; times in seconds, cross-sections in pb."""
    events = sum(report.events for report in reports)
    content = {
        "nEvents": events,
        "crossSectionPb": cross_section[0],
        "crossSectionErrorPb": cross_section[1],
        "wallTimeS": round(wall_time, 3),
        "randomSeed": options.randomSeed,
        "inputCard": options.inputCard.name,
        "files": {"output": [{"subFiles": [{"name": options.outputHepMCFile.name, "nentries": events}]}]},
        "hosts": sorted({report.host for report in reports}),
        "ranks": [asdict(report) for report in reports],
    }
    path: Path = options.jobReport
    temporary = path.with_name(f"tmp-{path.name}")
    temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    temporary.replace(path)


def host_name() -> str:
    """Return the node's name as the launcher knows it, else as the system does."""
    return os.environ.get("PMI_HOSTNAME") or os.environ.get("SLURMD_NODENAME") or socket.gethostname()


if __name__ == "__main__":
    main(sys.argv[1:])
