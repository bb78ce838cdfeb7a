"""What a check found, and what is to be done about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from hpcharvest.config.schema import Configuration


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One sentence about one thing, and a second one about what to do."""

    level: Level
    words: str
    advice: str = ""


Check = Callable[[Configuration], Iterator[Finding]]
"""Looks at one thing. May raise HarvestError or OSError, which counts as a failure."""


def ok(words: str) -> Finding:
    """Find nothing wrong."""
    return Finding(level=Level.OK, words=words)


def warning(words: str, advice: str) -> Finding:
    """Find something that works for now."""
    return Finding(level=Level.WARNING, words=words, advice=advice)


def failure(words: str, advice: str) -> Finding:
    """Find something that cannot work."""
    return Finding(level=Level.FAILURE, words=words, advice=advice)
