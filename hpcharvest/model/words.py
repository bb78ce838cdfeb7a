"""How things are counted in sentences that people read. Pure."""

from __future__ import annotations


def counted(number: int, one: str, many: str = "") -> str:
    """Give a number with its noun: `1 job`, `2 jobs`. `many`: the plural, where an s does not make it."""
    return f"{number} {one if number == 1 else many or one + 's'}"
