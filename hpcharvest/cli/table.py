"""Tables as text: ruled ones for a terminal, and aligned ones for everything else. Gives text; prints nothing."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import zip_longest
from typing import Any

from hpcharvest.cli.page import Card, Listing, Moment, Span
from hpcharvest.cli.plain import plain
from hpcharvest.engine.why import duration

_LEAST = 6
"""Characters of a column without which a ruled table cannot be read."""
_RULE = 3
"""Characters between two columns of a ruled table."""


def local_time(seconds: float) -> str:
    """Write a moment (wall seconds) as ISO local time, to the second, with its distance from UTC."""
    return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds")


def cell(value: Any) -> str:
    """Write a value as one line without anything that a terminal would obey."""
    match value:
        case bool():
            text = "yes" if value else "no"
        case Moment():
            text = local_time(value)
        case Span():
            text = duration(value)
        case Mapping():
            text = ", ".join(f"{plain(str(key))}={cell(one)}" for key, one in value.items())
        case list() | tuple():
            text = ", ".join(map(cell, value))
        case _:
            text = "" if value is None else plain(str(value))
    return text or "-"


def listing(part: Listing, width: int) -> str:
    """Write a listing: ruled if the terminal's `width` (characters; 0: no terminal) has room for it, else aligned."""
    shown = part.records if part.rows is None else part.records[: part.rows]
    rows = [[cell(record.get(name)) for name in part.columns] for record in shown]
    header = [_words(_label(name, [record.get(name) for record in shown])) for name in part.columns]
    if not rows:
        return f"{_words(part.name)}: none"
    roomy = width >= sum(max(len(one), _LEAST) + _RULE for one in header)
    drawn = _ruled(header, rows, width) if roomy else _aligned(header, rows)
    more = len(part.records) - len(rows)
    return "\n".join([f"{_words(part.name)}:", drawn, *([f"... and {more} more"] if more else [])])


def card(part: Card) -> str:
    """Write a record, one field a line."""
    fields = [(_label(name, [value]), _lines(value)) for name, value in _flat(part.fields)]
    longest = max((len(name) for name, _ in fields), default=0)
    rows = [
        f"  {name.ljust(longest)}  {line}"
        for field, lines in fields
        for name, line in zip_longest([field], lines, fillvalue="")
    ]
    return "\n".join([f"{_words(part.name)}:", *rows])


def _label(name: str, values: Sequence[Any]) -> str:
    """Leave the unit of a name out where the values say theirs."""
    return name.removesuffix("_s") if any(isinstance(one, Span) for one in values) else name


def _lines(value: Any) -> list[str]:
    """Write a value of a record: sentences have a line each."""
    if isinstance(value, list | tuple) and any(" " in str(one) for one in value):
        return [cell(one) for one in value]
    return [cell(value)]


def _flat(fields: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in fields.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{path}{plain(str(key))}.")
        else:
            yield f"{path}{plain(str(key))}", value


def _aligned(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = ("  ".join(text.ljust(wide) for text, wide in zip(row, widths, strict=True)) for row in (header, *rows))
    return "\n".join(f"  {line}".rstrip() for line in lines)


def _ruled(header: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> str:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for one, whole in zip(header, _kept_whole(header, rows, width), strict=True):
        table.add_column(Text(one), no_wrap=whole)
    for row in rows:
        table.add_row(*(Text(one, overflow="fold") for one in row))
    sheet = io.StringIO()
    Console(file=sheet, width=width, force_terminal=True, emoji=False, markup=False, highlight=False).print(table)
    return "\n".join(line.rstrip() for line in sheet.getvalue().splitlines() if line.strip())


def _kept_whole(header: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[bool]:
    """Say which columns are not to be broken: those of ids, times and the like, if the others have room beside them."""
    columns = list(zip(header, *rows, strict=True))
    solid = [not any(" " in one for one in column[1:]) for column in columns]
    wanted = [
        max(map(len, column)) if whole else max(len(column[0]), _LEAST)
        for column, whole in zip(columns, solid, strict=True)
    ]
    fits = sum(wanted) + _RULE * len(columns) <= width
    return [fits and whole for whole in solid]


def _words(name: str) -> str:
    return plain(name).replace("_", " ")
