"""Checks that a file of collisions is whole and that every event conserves energy and momentum."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyhepmc

from hpcharvest.errors import JobError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

FINAL_STATE = 1  # HepMC3's status code of a particle that neither decays nor interacts any further
LAST_LINE = b"HepMC::Asciiv3-END_EVENT_LISTING"


class CollisionsInvalid(JobError):
    """A file of collisions is cut short, or an event in it breaks a conservation law."""


@dataclass(frozen=True, kw_only=True)
class CollisionSummary:
    """What a file of collisions holds; the cross-section is that of its last event, in pb."""

    events: int
    max_imbalance_gev: float
    cross_section_pb: float


def check_collisions(path: Path, *, first: int = 0, tolerance_gev: float = 0.01) -> CollisionSummary:
    """Read a HepMC3 ASCII file and check that it is whole, its events numbered from `first`, and each one balanced.

    An event is balanced if in each component the four-momenta of its final state add up to those of the beams within
    the tolerance in GeV; what Pythia makes of 13.6 TeV is balanced to 1e-4 GeV.
    Raises CollisionsInvalid if anything is amiss, and OSError if the file cannot be read at all.
    """
    _require_whole(path)
    expected, worst, cross_section = first, 0.0, None
    with pyhepmc.open(path) as file:
        for event in file:
            if event.event_number != expected:
                raise CollisionsInvalid(f"{path}: event {event.event_number} stands where {expected} belongs")
            imbalance = _imbalance_gev(event)
            if not imbalance <= tolerance_gev:  # also true for nan
                raise CollisionsInvalid(f"{path}: event {expected} is out of balance by {imbalance:.3g} GeV")
            worst = max(worst, imbalance)
            cross_section = event.cross_section
            expected += 1
    if cross_section is None:
        raise CollisionsInvalid(f"{path}: no event with a cross-section; was the file written to its end?")
    return CollisionSummary(events=expected - first, max_imbalance_gev=worst, cross_section_pb=cross_section.xsec())


def _require_whole(path: Path) -> None:
    """Raise CollisionsInvalid unless the file unpacks and ends as HepMC3 says; its reader stops silently instead."""
    last = b""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for line in file:
                last = line.strip() or last
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise CollisionsInvalid(f"{path}: cannot be unpacked to its end: {error}") from error
    if last != LAST_LINE:
        raise CollisionsInvalid(f"{path}: cut short, it does not end with {LAST_LINE.decode()}")


def _imbalance_gev(event: pyhepmc.GenEvent) -> float:
    """Return the largest component of the final state's four-momentum less the beams', in GeV."""
    final = _total(particle for particle in event.particles if particle.status == FINAL_STATE)
    beams = _total(event.beams)
    return max(abs(after - before) for after, before in zip(final, beams, strict=True))


def _total(particles: Iterable[pyhepmc.GenParticle]) -> tuple[float, float, float, float]:
    """Add up four-momenta: x, y, z and energy in GeV."""
    px = py = pz = energy = 0.0
    for particle in particles:
        momentum = particle.momentum
        px, py, pz = px + momentum.px, py + momentum.py, pz + momentum.pz
        energy += momentum.e
    return px, py, pz, energy
