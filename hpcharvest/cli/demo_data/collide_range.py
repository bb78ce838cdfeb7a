"""Generates the proton-proton collisions of one event range with Pythia 8.

As a program, for payloads of the kind `command`, it makes one range and ends; as `collide`, for those of the kind
`callable`, it is called with one range after the other and starts Pythia for the first one only. Both make the same
collisions of the same range: its seed alone says which. The output is a HepMC3 file that appears complete or not at
all; its events have the numbers of the range, and carry the cross-section as it is known by then.

    python collide_range.py --card top_pairs.cmnd --start 11 --last 15 --seed 5 --output top_pairs.11.hepmc3
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pyhepmc

from hpcharvest.cli.demo_data.pythia_events import PB_PER_MB, GenerationError, collisions, start_pythia

SEEDS = 900_000_000
START_SEED = 1
"""Pythia draws random numbers while it starts; each range then begins with its own."""


def main(argv: Sequence[str]) -> int:
    """Make one range; give the exit status."""
    options = parse_arguments(argv)
    try:
        generate(
            card=options.card,
            numbers=range(options.start, options.last + 1),
            seed=options.seed,
            output=options.output,
            note=options.start_log,
        )
    except (GenerationError, OSError) as error:
        sys.stderr.write(f"collide_range: events {options.start} to {options.last} failed: {error}\n")
        return 1
    return 0


def collide(given: Mapping[str, Any]) -> str:
    """Make one range, as the runner gives it: what may stand in braces elsewhere, by name. Gives the output's path.

    Raises GenerationError for a card that Pythia refuses, and OSError if the output cannot be written.
    """
    output = Path(str(given["output"]))
    numbers = range(int(given["startEvent"]), int(given["lastEvent"]) + 1)
    generate(card=Path(str(given["PFN"])), numbers=numbers, seed=int(given["seed"]), output=output)
    return str(output)


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line; exits with status 2 and the usage if it makes no sense."""
    parser = argparse.ArgumentParser(description="Generate the proton-proton collisions of one event range.")
    parser.add_argument("--card", type=Path, required=True, help="Pythia settings to read")
    parser.add_argument("--start", type=int, required=True, help="number of the first event")
    parser.add_argument("--last", type=int, required=True, help="number of the last event")
    parser.add_argument("--seed", type=int, required=True, help="0 to 899999999; one per range")
    parser.add_argument("--output", type=Path, required=True, help="HepMC3 ASCII file to write (.gz: packed)")
    parser.add_argument("--start-log", type=Path, help="file that gets a line for every range that is begun")
    options = parser.parse_args(argv)
    if not 0 <= options.start <= options.last:
        parser.error("--start must not be negative, and --last not below it")
    if not 0 <= options.seed < SEEDS:
        parser.error(f"--seed must be from 0 to {SEEDS - 1}")
    return options


def generate(*, card: Path, numbers: range, seed: int, output: Path, note: Path | None = None) -> None:
    """Make the collisions of these numbers from this seed. Raises GenerationError if they cannot be made."""
    if note is not None:
        with note.open("a", encoding="utf-8") as file:  # what is short goes in whole, whoever else appends
            file.write(f"{output.name}\n")
    pythia = started(card)
    pythia.rndm.init(seed + 1)  # Pythia takes 1 to 900 million; 0 would be the time of day
    events = list(collisions(pythia, numbers))
    info = pythia.infoPython()
    temporary = output.with_name(f"tmp-{output.name}")
    with pyhepmc.open(temporary, "w") as file:
        for event in events:
            event.cross_section = pyhepmc.GenCrossSection()
            sigma, error = info.sigmaGen() * PB_PER_MB, info.sigmaErr() * PB_PER_MB
            event.cross_section.set_cross_section(sigma, error, info.nAccepted(), info.nTried())
            file.write(event)
    temporary.replace(output)


@cache
def started(card: Path) -> Any:
    """Give a generator that is ready to run, the same one for the same card."""
    return start_pythia(card, seed=START_SEED)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
