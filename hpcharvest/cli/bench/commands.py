"""Slurm's commands with a witness before them: each call is noted, and one may kill the controller that made it."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from hpcharvest.errors import HarvestError

COMMANDS = ("sbatch", "squeue", "sacct", "scancel", "scontrol", "sinfo")

_WITNESS = """\
#!/bin/sh
printf '%s %s\\n' "$(date +%s.%N)" {name} >>'{folder}/calls'
exec {real} "$@"
"""
_DEADLY = """\
#!/bin/sh
# Kills the controller, our parent, by chance: before the submission, before its answer, or right after it.
printf '%s %s\\n' "$(date +%s.%N)" sbatch >>'{folder}/calls'
for script; do :; done
chance=4
[ -e '{folder}/deadly' ] && [ "$PPID" -gt 1 ] && chance=$(($(od -An -N1 -tu1 /dev/urandom) % 4))
[ "$chance" = 0 ] && kill -9 "$PPID" && exit 1
answer=$({real} "$@") || exit $?
printf '%s %s\\n' "$answer" "$script" >>'{folder}/submitted'
[ "$chance" = 1 ] && kill -9 "$PPID"
printf '%s\\n' "$answer"
[ "$chance" = 3 ] && sleep "0.0$(($(od -An -N1 -tu1 /dev/urandom) % 10))"
[ "$chance" -lt 4 ] && kill -9 "$PPID"
exit 0
"""


class Witness:
    """Commands in a folder that note their calls. The folder's name must not have a quote in it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        for name in COMMANDS:
            real = shutil.which(name)
            if real is None:
                raise HarvestError(f"there is no {name} in PATH")
            text = _DEADLY if name == "sbatch" else _WITNESS
            (folder / name).write_text(text.format(name=name, folder=folder, real=real))
            (folder / name).chmod(0o755)
        for name in ("calls", "submitted"):
            (folder / name).touch()

    def environment(self, more: Mapping[str, str]) -> dict[str, str]:
        """Give an environment in which these commands are found first."""
        return {**more, "PATH": f"{self._folder}:{os.defpath}"}

    def be_deadly(self, *, deadly: bool) -> None:
        """Let submissions kill who makes them, or not any more."""
        (self._folder / "deadly").touch()
        if not deadly:
            (self._folder / "deadly").unlink()

    def calls(self, since: float, until: float) -> int:
        """Count the calls between two moments (wall seconds)."""
        moments = [float(line.split()[0]) for line in (self._folder / "calls").read_text().splitlines()]
        return sum(since <= one < until for one in moments)

    def submitted(self) -> Counter[str]:
        """Tell how often each batch script was really submitted."""
        return Counter(line.split(maxsplit=1)[1] for line in (self._folder / "submitted").read_text().splitlines())

    def ids(self) -> set[str]:
        """Give the ids of all batch jobs that were really submitted."""
        return {line.split()[0] for line in (self._folder / "submitted").read_text().splitlines()}
