"""What a command has to say, before anybody decides how it looks: a page of parts.

Values are those of JSON, records of which are mappings; moments and spans of time are numbers that know what they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Record = Mapping[str, Any]


class Moment(float):
    """Seconds since the epoch. A table shows local time."""


class Span(float):
    """A length of time, in seconds."""


def moment(seconds: float | None) -> Moment | None:
    """Give a moment; None for 0, which our records have where there was none."""
    return Moment(seconds) if seconds else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Records of one kind. JSON has them whole; a table shows `columns`, and of many records the first `rows`."""

    name: str
    columns: Sequence[str]
    records: Sequence[Record]
    rows: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One record; what is nested in it is shown under dotted names."""

    name: str
    fields: Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """A text, shown as it is: a sentence, or a script."""

    name: str
    text: str


Part = Listing | Card | Words


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """All that a command has to say."""

    parts: Sequence[Part]
    ids: Sequence[object] = ()
    """What is left of it for a script that wants one word a line."""
    note: str = ""
    """A hint for people; only tables show it."""
    data: Record = field(init=False)
    """The whole page for machines: each part under its name."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", {part.name: _content(part) for part in self.parts})


def _content(part: Part) -> Any:
    match part:
        case Listing():
            return list(part.records)
        case Card():
            return part.fields
        case Words():
            return part.text
