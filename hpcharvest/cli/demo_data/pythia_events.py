"""Collisions from Pythia 8 as HepMC3 events: what the payloads of the demonstration have in common."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyhepmc
import pythia8mc

QUIET = (  # no tables; Print:quiet would also hide why a card is refused
    *(f"Init:{table} = off" for table in ("showProcesses", "showMultipartonInteractions", "showChangedSettings")),
    *(f"Init:{table} = off" for table in ("showChangedParticleData", "showChangedResonanceData")),
    *(f"Next:{table} = 0" for table in ("numberCount", "numberShowInfo", "numberShowProcess", "numberShowEvent")),
)
PB_PER_MB = 1e9


class GenerationError(Exception):
    """The events asked for cannot be made; the message says why."""


def start_pythia(card: Path, *, seed: int) -> Any:
    """Return a generator that is ready to run. Raises GenerationError for a card that Pythia refuses."""
    if not card.is_file():
        raise GenerationError(f"the steering card {card} does not exist")
    pythia = pythia8mc.Pythia("", False)
    for setting in QUIET:
        pythia.readString(setting)
    if not pythia.readFile(str(card)):
        raise GenerationError(f"Pythia does not understand the steering card {card}; its messages name the line")
    pythia.readString("Random:setSeed = on")
    pythia.readString(f"Random:seed = {seed}")
    if not pythia.init():
        raise GenerationError(f"Pythia cannot start with the steering card {card}; its messages say why")
    return pythia


def collisions(pythia: Any, numbers: range) -> Iterator[pyhepmc.GenEvent]:
    """Generate one event per number. Raises GenerationError after as many failures as the card allows."""
    run = pyhepmc.GenRunInfo()
    run.tools = [("Pythia", f"{pythia.parm('Pythia:versionNumber'):.3f}", "event generator")]
    run.weight_names = ["Default"]
    errors_left = pythia.mode("Main:timesAllowErrors")
    for number in numbers:
        while not pythia.next():
            if errors_left == 0:
                raise GenerationError(f"Pythia gave up at event {number}: more errors than Main:timesAllowErrors")
            errors_left -= 1
        yield to_hepmc(pythia, number=number, run=run)


def to_hepmc(pythia: Any, *, number: int, run: pyhepmc.GenRunInfo) -> pyhepmc.GenEvent:
    """Turn Pythia's current event into a HepMC3 graph (GeV and mm).

    Particles with the same mothers come from one vertex. Line 0 of Pythia's record is the system as a whole and lines
    1 and 2 are the beams (Pythia manual, "The Event Record").
    """
    lines = [pythia.event[index] for index in range(pythia.event.size())]
    particles = [to_particle(line) for line in lines]
    vertices: dict[int, pyhepmc.GenVertex] = {}  # by the line of a mother: where it ends
    for line, particle in zip(lines[3:], particles[3:], strict=True):
        mothers = list(line.motherList())
        vertex = next((vertices[mother] for mother in mothers if mother in vertices), None)
        if vertex is None:
            vertex = pyhepmc.GenVertex((line.xProd(), line.yProd(), line.zProd(), line.tProd()))
        for mother in mothers:
            if mother not in vertices:
                vertex.add_particle_in(particles[mother])
                vertices[mother] = vertex
        vertex.add_particle_out(particle)
    info = pythia.infoPython()
    event = pyhepmc.GenEvent(run, pyhepmc.Units.GEV, pyhepmc.Units.MM)
    event.add_tree(particles[1:3])
    event.event_number = number
    event.weights = [info.weight()]
    event.attributes["signal_process_id"] = info.code()
    event.attributes["event_scale"] = info.QRen()
    return event


def to_particle(line: Any) -> pyhepmc.GenParticle:
    """Turn one line of Pythia's record into a HepMC3 particle, with the mass that was generated for it."""
    momentum = (line.px(), line.py(), line.pz(), line.e())
    particle = pyhepmc.GenParticle(momentum, line.id(), line.statusHepMC())
    particle.generated_mass = line.m()
    return particle
