"""What a real OpenPBS said: the recordings, read."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from hpcharvest.providers.dialect import Spoken

RECORDINGS = Path(__file__).parent.parent / "recordings" / "pbs"
_CODE = re.compile(r"^# rc=(\d+)\n?", re.MULTILINE)


def recorded(name: str) -> Spoken:
    """Give what a command answered."""
    out, err, command = (RECORDINGS / f"{name}.{kind}" for kind in ("out", "err", "cmd"))
    codes = _CODE.search(command.read_text() if command.exists() else "")
    text = out.read_text()
    return Spoken(
        exit_code=int(codes[1]) if codes else 0,
        out=_CODE.sub("", text, count=1) if text.startswith("# rc=") else text,
        err=err.read_text() if err.exists() else "",
    )


def recorded_jobs(name: str) -> dict[str, dict[str, Any]]:
    """Give the jobs of an answer in JSON, by id."""
    jobs: dict[str, dict[str, Any]] = json.loads(recorded(name).out)["Jobs"]
    return jobs
