"""The lines by which AthenaMP takes event ranges and tells what became of them: pure.

Source: the event service's protocol between AthenaMP and the pilot, one message a line here. A path may have commas
and colons, so that what follows it is read from the right.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

READY: Final = "Ready for events"
NO_MORE: Final = b"No more events\n"
_OUTPUT: Final = re.compile(r"(?P<path>.+),ID:(?P<id>[^,]+),CPU:(?P<cpu>[^,]*),WALL:(?P<wall>[^,]*)")
_ERROR: Final = re.compile(r"(?P<name>ERR_\w++)\s+(?P<id>[^\s:]+):?\s*(?P<text>.*)")
_NAMED: Final = re.compile(r"(?P<name>ERR_\w++).*?eventRangeID['\"]?\s*[:=]\s*u?['\"](?P<id>[^'\"]+)['\"]")
_SECONDS: Final = re.compile(r"\s*(\d+(?:\.\d*)?)")


@dataclass(frozen=True, slots=True)
class Ready:
    """A free sub-worker asks for a range."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """A range is done."""

    id: str
    path: str
    cpu_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Error:
    """A range failed."""

    id: str
    name: str
    text: str


Line = Ready | Output | Error


def read(text: str) -> Line | None:
    """Read a line of the payload; None: it is none of these."""
    text = text.strip()
    if text.startswith(READY):
        return Ready()
    if text.startswith("ERR_"):
        found = _NAMED.match(text) or _ERROR.match(text)
        return Error(id=found["id"], name=found["name"], text=found.groupdict().get("text", "")) if found else None
    found = _OUTPUT.fullmatch(text)
    return Output(id=found["id"].strip(), path=found["path"], cpu_s=_seconds(found["cpu"])) if found else None


def write(ranges: Sequence[Mapping[str, Any]]) -> bytes:
    """Write the answer to one that is ready."""
    return json.dumps(list(ranges), separators=(",", ":")).encode("ascii") + b"\n"


def _seconds(text: str) -> float:
    found = _SECONDS.match(text)
    return float(found[1]) if found else 0.0
