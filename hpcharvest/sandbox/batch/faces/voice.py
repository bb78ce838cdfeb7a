"""How the programs of faces speak: as the programs that they stand for, to stdout and stderr."""

from __future__ import annotations

import sys


def say(text: str, end: str = "\n") -> None:
    """Write to stdout."""
    sys.stdout.write(text + end)


def refuse(*lines: str, code: int = 1) -> int:
    """Write lines to stderr; give the exit code."""
    sys.stderr.writelines(f"{line}\n" for line in lines)
    return code
