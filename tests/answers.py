"""What real systems answered: tests/recordings, as the readers get it."""

from __future__ import annotations

from pathlib import Path

from hpcharvest.providers.dialect import Spoken

RECORDINGS = Path(__file__).parent / "recordings"


def recorded(system: str, name: str) -> Spoken:
    """Give what a command answered: NAME.out, NAME.err if it wrote there, and NAME.rc."""
    err = RECORDINGS / system / f"{name}.err"
    return Spoken(
        exit_code=int((RECORDINGS / system / f"{name}.rc").read_text()),
        out=(RECORDINGS / system / f"{name}.out").read_text(),
        err=err.read_text() if err.exists() else "",
    )
