"""What a survey found: values for a site file, each with where it was seen."""

from __future__ import annotations

from dataclasses import dataclass, field

Value = str | int | float | tuple[str, ...] | dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One line of a site file."""

    key: str
    """The table and the key: `nodes.cores`."""
    value: Value
    where: str
    """Where it was seen; or why it was taken, if it was not."""
    assumed: bool = False
    """Whether nobody has said so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """All that was found on a machine."""

    name: str
    host: str
    at: float
    """Wall seconds."""
    seen: tuple[Seen, ...]
    notes: tuple[str, ...] = ()
    """What people should know that no key is for."""
    unsure: tuple[str, ...] = field(default=())
    """More statements that nobody has confirmed, as `key: words`."""
