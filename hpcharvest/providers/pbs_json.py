"""What PBS calls JSON: it does not always quote what users wrote, such as the values of variables."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

Record = Mapping[str, Any]
"""What is said about one job, node, queue or server, by its names; records may stand in it again."""

JOB_ID = r"[0-9]+(?:\[[0-9]*\])?(?:\.[^\s\"]+)?"

_READER = json.JSONDecoder(strict=False)
"""Ends of lines may stand in strings as they are."""

_PAIR = re.compile(r'^(?P<indent>[ \t]+)"(?P<name>[^"\\]+)"[ \t]*:(?P<value>.*)$', re.MULTILINE)


def read(out: str, key: str) -> dict[str, Record]:
    """Give the records under a key, such as `Jobs`, by their names; none, if it is left out: there is nothing to tell.

    Raises ValueError if it is none of PBS's, or nothing can be made out in it. A record that is no JSON, as quotes or
    leading zeros in a job's variables make it, is read line by line; one that does not end is left out, since what is
    missing may be the end of the story.
    """
    try:
        whole = _READER.decode(out)
    except (ValueError, RecursionError) as error:
        found = dict(_pieces(out, key))
        if not found:
            raise ValueError(f"it is no JSON, and nothing of {key} can be made out in it") from error
        return found
    if not isinstance(whole, dict) or "pbs_server" not in whole:
        raise ValueError("it is JSON, but none of PBS's")
    records = whole.get(key, {})
    if not isinstance(records, dict):
        raise ValueError(f"its {key} are no table")  # noqa: TRY004 - a text that is wrong, not a call
    return {name: one for name, one in records.items() if isinstance(one, dict)}


def within(record: Record, key: str) -> Record:
    """Give a record inside a record; an empty one if there is none."""
    found = record.get(key)
    return found if isinstance(found, dict) else {}


def _pieces(out: str, key: str) -> Iterator[tuple[str, Record]]:
    """Cut at the lines that begin records: those deepest in are records inside, so the outermost count."""
    name = JOB_ID if key == "Jobs" else r'[^"\\]+'  # somebody's variable, over several lines, may look like any other
    _, _, out = out.partition(f'"{key}"')
    heads = list(re.finditer(rf'^(?P<indent>[ \t]+)"(?P<name>{name})"[ \t]*:[ \t]*\{{[ \t]*$', out, re.MULTILINE))
    outermost = min((len(head["indent"]) for head in heads), default=0)
    heads = [head for head in heads if len(head["indent"]) == outermost]
    for head, after in zip(heads, [*heads[1:], None][: len(heads)], strict=True):
        piece = out[head.end() : after.start() if after else len(out)]
        end = re.search(rf"^{head['indent']}\}},?[ \t]*$", piece, re.MULTILINE)
        if end is not None:
            yield head["name"], _piece(piece[: end.start()])


def _piece(piece: str) -> Record:
    try:
        said: Record = _READER.decode(f"{{{piece}}}")
    except (ValueError, RecursionError):
        return _lines(piece)
    return said


def _lines(piece: str) -> Record:
    """Read a pair a line, deeper in for each record around it. The first of a name counts; what is no pair does not."""
    whole: dict[str, Any] = {}
    around: list[tuple[str, dict[str, Any]]] = []
    begun: dict[str, Any] | None = whole
    for pair in _PAIR.finditer(piece):
        indent, value = pair["indent"], pair["value"].strip().removesuffix(",").rstrip()
        if begun is not None and (not around or len(indent) > len(around[-1][0])):
            around.append((indent, begun))
        while len(around) > 1 and len(indent) < len(around[-1][0]):
            around.pop()
        begun = None
        if indent == around[-1][0]:
            begun = {} if value == "{" else None
            around[-1][1].setdefault(pair["name"], _value(value) if begun is None else begun)
    return whole


def _value(text: str) -> Any:
    try:
        return _READER.decode(text)
    except (ValueError, RecursionError):
        return text.strip('"')
