"""What PBS calls JSON: it does not always quote what users wrote, such as the values of variables."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from hpcharvest.errors import BatchUnreachable

Record = Mapping[str, Any]

_LINE = re.compile(r'^(?P<indent>\t*)"(?P<key>(?:[^"\\]|\\.)*)":\t(?P<value>.*?),?$')


def records(out: str, key: str, *, empty: bool) -> Mapping[str, Record]:
    """Give the records under a key. Raises BatchUnreachable if there is no such key, unless it may be `empty`."""
    try:
        whole = json.loads(out)
    except (ValueError, RecursionError):
        whole = _salvaged(out)
    if not isinstance(whole, dict) or "pbs_version" not in whole:
        raise BatchUnreachable("the answer is not PBS's JSON")
    found = whole.get(key, {} if empty else None)
    if not isinstance(found, dict):
        raise BatchUnreachable(f"the answer has no {key}")
    return {name: one for name, one in found.items() if isinstance(one, dict)}


def within(record: Record, key: str) -> Record:
    """Give a record inside a record; an empty one if there is none."""
    found = record.get(key)
    return found if isinstance(found, dict) else {}


def _salvaged(out: str) -> dict[str, Any]:
    """Read line by line: PBS writes one pair a line, a tab deep for each record around it.

    A value that is no JSON is kept as it is; a line that is no pair is left out.
    """
    whole: dict[str, Any] = {}
    around = [whole]
    for line in out.splitlines():
        match = _LINE.match(line)
        depth = len(match["indent"]) if match else 0
        if match is None or not 1 <= depth <= len(around):
            continue
        del around[depth:]
        value = match["value"]
        if value == "{":
            inner: dict[str, Any] = {}
            around[-1][match["key"]] = inner
            around.append(inner)
        else:
            around[-1][match["key"]] = _value(value)
    return whole


def _value(words: str) -> Any:
    try:
        return json.loads(words)
    except (ValueError, RecursionError):
        return words
