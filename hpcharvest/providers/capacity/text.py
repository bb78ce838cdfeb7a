"""Numbers, spans, moments and lists of nodes as batch systems write them. Nothing here raises: None is no number."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Sequence
from datetime import datetime

MOST_NODES = 200_000
"""More names than that are no list of nodes of any machine that there is."""

_SPAN = re.compile(r"(?:(\d{1,6})-)?(\d{1,9})(?::(\d{1,9}))?(?::(\d{1,9}))?(?::(\d{1,9}))?")
_MEMORY = re.compile(r"(\d{1,15})(?:\.\d+)?\s*([kmgtp]?)(?:i?[bw])?", re.IGNORECASE)
_TO_MB = {"": 1 / (1 << 20), "k": 1 / 1024, "m": 1.0, "g": 1024.0, "t": 1024.0**2, "p": 1024.0**3}
_RANGE = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?")
_NAME = re.compile(r"(?:[^,\[\]]|\[[^\[\]]*\])+")
_PIECE = re.compile(r"\[[^\[\]]*\]|[^\[\]]+")
_MOMENTS = ("%a %b %d %H:%M:%S %Y", "%a %b %d %H:%M:%S %Y %z", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S")


def count(text: object) -> int | None:
    """Read a number of things; None for words such as UNLIMITED, and for anything that is negative."""
    words = str(text).strip()
    return int(words) if re.fullmatch(r"[0-9]{1,15}", words) else None


def span(text: object) -> int | None:
    """Read a length of time in seconds: D-HH:MM:SS, D-HH, D:HH:MM:SS, HH:MM:SS; what has no more is seconds."""
    match = _SPAN.fullmatch(str(text).strip())
    if match is None:
        return None
    days, *rest = match.groups()
    numbers = [int(one) for one in rest if one is not None]
    if days is not None:  # Slurm's: after the days come hours
        numbers = [int(days), *numbers, *[0] * (3 - len(numbers))]
    value = 0
    for number, unit in zip(reversed(numbers), (1, 60, 3600, 86_400), strict=False):
        value += number * unit
    return value


def slurm_span(text: str) -> int | None:
    """Read a length of time as Slurm writes it: as `span`, but two numbers are minutes and seconds, one is minutes."""
    match = re.fullmatch(r"[0-9]{1,9}", text.strip())
    return int(text) * 60 if match else span(text)


def moment(text: object) -> float | None:
    """Read a moment, in wall seconds: seconds since the epoch, or a date in local time unless it says another zone."""
    words = str(text).strip()
    if words.endswith(")"):  # the zone's name, behind its number
        words = words.rpartition("(")[0].rstrip()
    if re.fullmatch(r"[0-9]{6,12}(\.[0-9]+)?", words):
        return float(words)
    for form in _MOMENTS:
        try:
            found = datetime.strptime(words, form)  # noqa: DTZ007 - most batch systems write local time without a zone
            seconds = found.timestamp()
        except (ValueError, OverflowError, OSError):
            continue
        return seconds if seconds >= 0 else None
    return None


def memory_mb(text: object) -> int:
    """Read an amount of memory, in MB (of 2**20 bytes): `16gb`, `16777216kb`; a bare number is bytes. 0: unknown."""
    match = _MEMORY.fullmatch(str(text).strip())
    return math.floor(int(match[1]) * _TO_MB[match[2].lower()]) if match else 0


def nodes(text: str) -> tuple[str, ...]:
    """Give the nodes of a list such as `n[1-3,07],m4` or `x[0-1]c[0-3]`; none, if it is no list or is endless."""
    found: dict[str, None] = {}
    for part in _parts(text.strip()):
        pieces = [_piece(one) for one in _PIECE.findall(part)]
        if math.prod(map(len, pieces)) + len(found) > MOST_NODES:
            return ()
        found |= dict.fromkeys(map("".join, itertools.product(*pieces)))
    return tuple(found)


def _parts(text: str) -> Iterator[str]:
    """Split at the commas that stand in no brackets."""
    for part in _NAME.findall(text):
        if part not in {"(null)", "None", "N/A"}:
            yield part


def _piece(text: str) -> Sequence[str]:
    """Give what may stand at one place of a name: the numbers of a bracket, or the text itself."""
    if not text.startswith("["):
        return (text,)
    ranges = [match for one in text[1:-1].split(",") if (match := _RANGE.fullmatch(one))]
    numbers: list[str] = []
    for match in ranges:
        first, last = match[1], match[2] or match[1]
        if len(numbers) + int(last) - int(first) > MOST_NODES:
            return ()
        numbers += [str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)]
    return numbers
