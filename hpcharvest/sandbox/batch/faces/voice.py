"""What the programs of faces have in common: how they speak, and what of a user's environment they hand on."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from hpcharvest.sandbox.batch.errors import UnreachableError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from hpcharvest.sandbox.batch.faces import Command

KEPT = ("HOME", "LANG", "LOGNAME", "PATH", "SHELL", "USER")
"""Variables that a batch job has from its user where the batch system does not hand on all."""


def say(text: str, end: str = "\n") -> None:
    """Write to stdout."""
    sys.stdout.write(text + end)


def refuse(*lines: str, code: int = 1) -> int:
    """Write lines to stderr; give the exit code."""
    sys.stderr.writelines(f"{line}\n" for line in lines)
    return code


def clock(seconds: float) -> str:
    """Give a length of time as HH:MM:SS; what is below nothing is none."""
    minutes, rest = divmod(max(0, int(seconds)), 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest:02}"


def or_away(command: Command, words: str, code: int = 1) -> Command:
    """Give the program that says these words while nobody answers."""

    def program(spool: Path, arguments: Sequence[str]) -> int:
        try:
            return command(spool, arguments)
        except UnreachableError:
            return refuse(words, code=code)

    return program
