"""What the environment of a login tells: scratch folders, the network, launchers, variables for the batch system."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import get_args
from urllib.parse import urlsplit, urlunsplit

from hpcharvest.config.site import LauncherName
from hpcharvest.providers.survey.findings import Seen
from hpcharvest.providers.survey.surroundings import Surroundings

SCRATCH = re.compile(r"[A-Z]*SCRATCH(_?[A-Z0-9]+)*|LUSTRE\w*|WORK|WORK_?DIR|MEMBERWORK|FLASH")
"""Variables by which centres name the fast file systems that nodes share."""

_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
_DEFAULT_ROUTE = re.compile(r"^\S+\t00000000\t[0-9A-F]{8}\t", re.MULTILINE)
_NAMES = ("NERSC_HOST", "LMOD_SYSTEM_NAME", "SLURM_CLUSTER_NAME", "FACILITY_SYSTEM")
"""Variables by which centres name the machine."""

LAUNCHERS: Mapping[str, tuple[str, ...]] = {
    "slurm": ("srun", "flux", "mpiexec"),
    "pbs": ("mpiexec", "aprun", "flux"),
    "torque": ("aprun", "mpiexec"),
    "cobalt": ("aprun", "mpiexec"),
    "lsf": ("jsrun", "flux", "mpiexec"),
}
"""Which launcher goes with a batch system, the usual one first."""

VARIABLES: Mapping[str, tuple[str, ...]] = {
    "slurm": ("SLURM_CONF",),
    "pbs": ("PBS_CONF_FILE", "PBS_SERVER"),
    "torque": ("PBS_DEFAULT",),
    "cobalt": ("COBALT_CONFIG_FILES",),
    "lsf": ("LSF_ENVDIR",),
}
"""Variables without which a batch system's commands would speak to another one, or to none."""


def name(around: Surroundings) -> str:
    """Give the machine's name: the centre's own, else this host's."""
    return next((around.environ[one] for one in _NAMES if around.environ.get(one)), around.host or "here")


def scratch(around: Surroundings) -> Iterator[str]:
    """Tell of folders that may be good for work_dir."""
    for variable, value in sorted(around.environ.items()):
        if not SCRATCH.fullmatch(variable) or not value.startswith("/"):
            continue
        state = "is a folder that we may write to" if around.writable(Path(value)) else "is none that we may write to"
        yield f"scratch: ${variable} = {value} {state}"


def network(around: Surroundings) -> Iterator[str]:
    """Tell whether this machine has a way out. Nothing is sent; the nodes may have another way, or none."""
    proxies = [one for one in (*_PROXIES, *map(str.upper, _PROXIES)) if around.environ.get(one)]
    for variable in proxies:
        yield f"network: {variable} = {_bare(around.environ[variable])}"
    if not around.routes:
        yield "network: the routes of this machine could not be read"
    elif _DEFAULT_ROUTE.search(around.routes):
        yield "network: this machine has a default route; whether the nodes have one was not tried"
    elif not proxies:
        yield "network: this machine has no default route and names no proxy: it seems to be cut off"
    else:
        yield "network: this machine has no default route: it goes out by the proxy only"


def _bare(url: str) -> str:
    """Leave out who logs in, and with which password."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(not a URL)"
    return (
        urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if parts.netloc else url.rpartition("@")[2]
    )


def launcher(around: Surroundings, dialect: str) -> Seen:
    """Choose the launcher, among those in PATH that we know how to use."""
    known = get_args(LauncherName)
    usual = LAUNCHERS.get(dialect, ())
    there = [one for one in usual if one in known and around.which(one)]
    if not there:
        where = f"none of {', '.join(usual)} is in PATH: no MPI payload until a launcher is named"
        return Seen(key="launcher.name", value="none", where=where)
    places = ", ".join(f"{around.which(one)}" for one in there)
    return Seen(key="launcher.name", value=there[0], where=f"in PATH: {places}")


def variables(around: Surroundings, dialect: str) -> Iterator[Seen]:
    """Keep the variables that lead to this batch system."""
    found = {one: around.environ[one] for one in VARIABLES.get(dialect, ()) if around.environ.get(one)}
    if found:
        yield Seen(key="batch.environment", value=found, where="set in the environment of this survey")
