"""Checks of the software that payloads need: the site's prologue, unpacked software, CVMFS.

They look from this host, and nodes may see another world: what nodes alone may have is a warning, not a failure.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from hpcharvest.cli.checks.finding import Finding, failure, ok, warning
from hpcharvest.cli.checks.partners import sites
from hpcharvest.config.schema import Configuration, Site

CVMFS = Path("/cvmfs")
"""Where CVMFS is mounted, everywhere."""
LOOK_S = 60.0
"""Seconds that a look may take: at the first one autofs mounts a repository, or waits for a network that is away."""


def prologue(configuration: Configuration) -> Iterator[Finding]:
    """Have bash read each site's prologue without running it: an error in it would end every batch job at its start."""
    for here in sites(configuration):
        file = here.software.prologue
        if file is None:
            yield ok(f"site {here.name}: no prologue")
        elif not file.is_file():
            yield failure(f"site {here.name}: the prologue {file} is no file", "put it beside the site file")
        else:
            yield _read_by_bash(here, file)


def paths(configuration: Configuration) -> Iterator[Finding]:
    """Look for what payloads need on the file systems."""
    for here in sites(configuration):
        gone = [path for path in here.software.required_paths if not os.access(path, os.R_OK)]
        gone_too = [path for path in here.software.payload_path if not path.is_dir()]
        for path in gone:
            advice = "mount or unpack it, or correct required_paths in [software]"
            yield failure(f"site {here.name}: {path} is not there, or cannot be read", advice)
        for path in gone_too:
            advice = "if the nodes do not have it either, correct payload_path in [software]"
            yield warning(f"site {here.name}: {path}, which goes into PATH, is no folder on this host", advice)
        if not gone and not gone_too:
            number = len(here.software.required_paths) + len(here.software.payload_path)
            yield ok(f"site {here.name}: all {number} paths are there" if number else f"site {here.name}: no paths")


def cvmfs(configuration: Configuration, root: Path = CVMFS) -> Iterator[Finding]:
    """Look for the repositories below `root`, and for the program that mounts them where the system does not."""
    for here in sites(configuration):
        wanted, program = here.software.cvmfs, here.software.cvmfsexec
        if not wanted and program is None:
            yield ok(f"site {here.name}: no CVMFS")
            continue
        runs = program is not None and program.is_file() and os.access(program, os.X_OK)
        if program is not None and not runs:
            advice = "install cvmfsexec where the nodes see it, or correct cvmfsexec in [software]"
            yield failure(f"site {here.name}: {program} cannot be run", advice)
        for repository in wanted:
            yield _repository(here, root / repository, by_program=runs)


def _read_by_bash(here: Site, file: Path) -> Finding:
    try:
        done = subprocess.run(
            ["bash", "-n", str(file)], capture_output=True, timeout=LOOK_S, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return failure(f"site {here.name}: bash cannot read the prologue {file}: {error}", "look at it by hand")
    said = done.stderr.decode(errors="replace").strip().splitlines()
    if done.returncode or said:
        words = said[0] if said else f"exit code {done.returncode}"
        return failure(f"site {here.name}: bash does not understand the prologue: {words}", f"correct {file}")
    return ok(f"site {here.name}: bash understands the prologue {file}")


def _repository(here: Site, folder: Path, *, by_program: bool) -> Finding:
    problem = _listed(folder)
    if not problem:
        return ok(f"site {here.name}: {folder} can be read")
    if by_program:
        return ok(f"site {here.name}: {folder} is not mounted on this host; cvmfsexec is there to mount it on nodes")
    advice = "ask whether the nodes mount it; if they do not, install cvmfsexec and name it in [software]"
    return warning(f"site {here.name}: {folder} cannot be read on this host: {problem}", advice)


def _listed(folder: Path) -> str:
    """Say why a folder cannot be listed, or that nothing is in it; empty if something is."""
    try:
        done = subprocess.run(
            ["ls", "-A", "--", str(folder)], capture_output=True, timeout=LOOK_S, check=False, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {LOOK_S:g} s"
    if done.returncode:
        return done.stderr.decode(errors="replace").strip() or f"exit code {done.returncode}"
    return "" if done.stdout.strip() else "it is empty"
