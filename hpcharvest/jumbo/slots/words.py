"""What a failed range is said to have died of: words that are the same on another node for the same cause. Pure."""

from __future__ import annotations

import re
import signal
from typing import Final

LONGEST: Final = 200
"""Characters of the payload's own last words."""
_PATH: Final = re.compile(r"(?<![^\s=:,;'\"(])\.{0,2}/[^\s:,;'\"()]*")
_NUMBER: Final = re.compile(r"0x[0-9a-fA-F]+|\d+(?:[.:,-]\d+)*")


def comparable(text: str, range_id: str = "") -> str:
    """Take out of one line what differs between nodes: the range's name, folders, and numbers of any kind.

    Names of hosts and times have numbers, too. What they were is in the range's log.
    """
    said = text.replace(range_id, "range") if range_id else text
    said = "".join(letter if letter.isprintable() else " " for letter in said)
    said = _NUMBER.sub("#", _PATH.sub(lambda found: found[0].rstrip("/").rpartition("/")[2], said))
    return " ".join(said.split())[:LONGEST]


def last_line(text: bytes) -> str:
    """Give the last line that says something."""
    lines = text.decode(errors="replace").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def ended(code: int) -> str:
    """Say how a process ended; `code` as in subprocess."""
    if code >= 0:
        return f"ended with exit code {code}"
    known = {number.value: number.name for number in signal.Signals}
    return f"died of signal {-code} ({known.get(-code, 'unknown')})"
