"""What commands of real systems answered, as it lies in `tests/recordings`; the README there says how."""

from __future__ import annotations

import re
from pathlib import Path

from hpcharvest.providers.dialect import Spoken

RECORDINGS = Path(__file__).parent.parent / "recordings"


def recorded(system: str, name: str) -> Spoken:
    """Give what a command answered; with exit code 0, where nobody noted one."""
    place = RECORDINGS / system / name
    return Spoken(exit_code=_exit_code(place), out=_text(place, "out"), err=_text(place, "err"))


def command_of(system: str, name: str) -> list[str]:
    """Give the words of a command; only for those whose words have no blanks."""
    return _text(RECORDINGS / system / name, "cmd").partition("\n")[0].split()


def _exit_code(place: Path) -> int:
    noted = re.search(r"^# rc=(\d+)$", _text(place, "cmd"), re.MULTILINE)
    return int(noted[1]) if noted else int(_text(place, "rc") or 0)


def _text(place: Path, kind: str) -> str:
    path = place.with_name(f"{place.name}.{kind}")
    return path.read_text() if path.exists() else ""
