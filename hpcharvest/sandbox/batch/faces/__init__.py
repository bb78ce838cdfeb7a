"""Faces: the command lines of batch systems that cannot be had, with the embedded batch system behind them.

A face is a module with a table `COMMANDS`: a function for each of its programs, which takes its arguments and gives its
exit code. `install` puts the programs into a folder; with that in PATH, whoever calls `qsub` calls ours.
"""

from __future__ import annotations

import shlex
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Command = Callable[[Path, Sequence[str]], int]
    """Runs a program with these arguments on the cluster of this spool folder; gives its exit code."""

FACES = ("pbs", "torque", "cobalt", "lsf", "moab")

_PROGRAM = """\
#!/bin/sh
PYTHONPATH={path} exec {python} -m hpcharvest.sandbox.batch.faces --spool {spool} {face} {name} "$@"
"""


def commands(face: str) -> Mapping[str, Command]:
    """Give the programs of a face, by name."""
    found: Mapping[str, Command] = import_module(f"hpcharvest.sandbox.batch.faces.{face}").COMMANDS
    return found


def install(face: str, spool: Path, folder: Path) -> Path:
    """Put the programs of a face into a folder, for the cluster of a spool folder; give the folder, for a PATH."""
    folder.mkdir(parents=True, exist_ok=True)
    words = {
        "path": shlex.quote(str(Path(__file__).parents[4])),
        "python": shlex.quote(sys.executable),
        "spool": shlex.quote(str(spool.absolute())),
        "face": face,
    }
    for name in commands(face):
        program = folder / name
        program.write_text(_PROGRAM.format(name=name, **words))
        program.chmod(0o755)
    return folder.absolute()
