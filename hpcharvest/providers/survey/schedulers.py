"""Which batch systems a machine has: told by the programs in PATH, and by what `qstat --version` says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hpcharvest.errors import BatchUnreachable, ConfigurationError
from hpcharvest.providers.survey.surroundings import Surroundings


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduler:
    """A batch system that was found."""

    dialect: str
    where: str
    """By which we know."""


def find(around: Surroundings) -> tuple[Scheduler, ...]:
    """Give the batch systems, the one to be preferred first. Raises ConfigurationError if there is none.

    Slurm is before PBS, for it comes with programs that only look like those of PBS.
    """
    found = (*_slurm(around), *_of_qsub(around), *_lsf(around))
    if not found:
        raise ConfigurationError(
            "no batch system is found on this machine: neither sbatch (Slurm) nor bsub (LSF) is in PATH, nor a qsub of "
            "which `qstat --version` (PBS, Torque) or nodelist and cqwait beside it (Cobalt) tell whose it is; log in "
            "where batch jobs are submitted, load the batch system's module, or begin with a file of "
            "site_configs/generic"
        )
    return found


def _slurm(around: Surroundings) -> Iterator[Scheduler]:
    place = around.which("sbatch")
    if place:
        words = _version(around, "sbatch", "--version")
        told = f": {words}" if words.startswith("slurm") else ""  # without its configuration it says other things
        yield Scheduler(dialect="slurm", where=f"{place} is there{told}")


def _of_qsub(around: Surroundings) -> Iterator[Scheduler]:
    """Several batch systems have a qsub, and Slurm has one that imitates it."""
    place = around.which("qsub")
    if not place:
        return
    words = _version(around, "qstat", "--version")
    if "pbs_version" in words:
        yield Scheduler(dialect="pbs", where=f"{place} is there: qstat --version: {words}")
    elif around.which("nodelist") and around.which("cqwait"):
        yield Scheduler(dialect="cobalt", where=f"{place} is there, with Cobalt's nodelist and cqwait")
    elif words.startswith(("Version:", "version:")) and "Commit" in words:
        yield Scheduler(dialect="torque", where=f"{place} is there: qstat --version: {words}")


def _lsf(around: Surroundings) -> Iterator[Scheduler]:
    place = around.which("bsub")
    if place:
        yield Scheduler(dialect="lsf", where=f"{place} is there")


def _version(around: Surroundings, *argv: str) -> str:
    """Ask for a version; some programs tell it on stderr, or with an exit code."""
    try:
        spoken = around.ask(argv)
    except BatchUnreachable as error:
        return str(error)
    return " ".join(f"{spoken.out} {spoken.err}".split())[:200]
