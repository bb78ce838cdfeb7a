"""What real systems answered, as a `Spoken`."""

from __future__ import annotations

import re
from pathlib import Path

from hpcharvest.providers.dialect import Spoken

RECORDINGS = Path(__file__).parent.parent / "recordings"


def cobalt(name: str) -> Spoken:
    """Give what a command of Cobalt answered: NAME.out, NAME.err if it wrote there, the exit code as in NAME.cmd."""
    folder = RECORDINGS / "cobalt"
    command, err = folder / f"{name}.cmd", folder / f"{name}.err"
    code = re.search(r"^# rc=(\d+)$", command.read_text(), re.MULTILINE) if command.exists() else None
    return Spoken(
        exit_code=int(code[1]) if code else 1,
        out=(folder / f"{name}.out").read_text(),
        err=err.read_text() if err.exists() else "",
    )


def command_of(name: str) -> list[str]:
    """Give the words of a command of Cobalt that is on record; its words have no blanks."""
    return (RECORDINGS / "cobalt" / f"{name}.cmd").read_text().partition("\n")[0].split()
