"""What is wrong with a configuration, told so that it can be put right: file, line, key, what is there, what may be."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from hpcharvest.config.base import Section
from hpcharvest.config.lines import KeyPath, key_lines, line_of
from hpcharvest.config.meanings import meanings

_USER = re.compile(r"//[^/@\s]*@")
_AFTERMATH = frozenset({"default_factory_not_called"})
"""Errors that only follow from others."""
_KINDS = {bool: "a boolean", int: "an integer", float: "a number", str: "a string"}


def explain(error: ValidationError, model: type[Section], path: Path, text: str) -> list[str]:
    """Return one sentence for each problem that `error` has with the `text` of the file at `path`, by line."""
    lines = key_lines(text)
    told = [
        (line_of(lines, _place(one)), f"{'.'.join(map(str, _place(one)))}: {_sentence(one, model)}")
        for one in error.errors(include_url=False)
        if one["type"] not in _AFTERMATH
    ]
    return [f"{path}:{line}: {sentence}" for line, sentence in sorted(told)]


def section_of(annotation: Any) -> type[Section] | None:
    """Return the kind of table that a field holds, by itself or as the values of a mapping; None: it holds none.

    A table that may be left out is one all the same.
    """
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    if is_optional(annotation):
        return section_of(get_args(annotation)[0])
    return section_of(get_args(annotation)[1]) if get_origin(annotation) is Mapping else None


def is_optional(annotation: Any) -> bool:
    """Whether a field may be left empty."""
    return get_origin(annotation) in {Union, UnionType} and type(None) in get_args(annotation)


def _place(error: ErrorDetails) -> KeyPath:
    return tuple(part for part in error["loc"] if part != "[key]")


def _sentence(error: ErrorDetails, model: type[Section]) -> str:
    place = _place(error)
    if error["type"] == "missing":
        table = _table(model, place[:-1])
        meaning = meanings(table).get(str(place[-1]), "") if table else ""
        return f"this key is missing. {' '.join(meaning.split())}"
    if error["type"] == "extra_forbidden":
        table = _table(model, place[:-1])
        return _unknown(str(place[-1]), list(table.model_fields) if table else [])
    if error["type"] == "value_error":
        return error["msg"].removeprefix("Value error, ")
    return f"found {_found(error['input'])}, expected {_expected(error)}"


def _table(model: type[Section], path: KeyPath) -> type[Section] | None:
    """Return the table at a path below `model`; None: there is none."""
    here: type[Section] | None = model
    annotation: Any = model
    for part in path:
        if get_origin(annotation) is Mapping:
            annotation = get_args(annotation)[1]
        elif here is not None and str(part) in here.model_fields:
            annotation = here.model_fields[str(part)].annotation
        here = section_of(annotation)
    return here


def _unknown(key: str, known: list[str]) -> str:
    nearest = get_close_matches(key, known, n=1)
    advice = f"did you mean {nearest[0]}?" if nearest else f"there are {', '.join(known)}"
    return f"unknown key {key}; {advice}"


def _found(value: object) -> str:
    """Show a value; of a list, a table or a date, and of a long text, only what it is."""
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, Mapping):
        return "a table"
    if type(value) not in _KINDS:
        return "a date or time"
    shown = repr(value).lower() if isinstance(value, bool) else repr(value)
    shown = _USER.sub("//...@", shown)
    return f"{shown} ({_KINDS[type(value)]})" if len(shown) <= 100 else _KINDS[type(value)]


def _expected(error: ErrorDetails) -> str:
    if error["type"] in {"model_type", "dict_type", "mapping_type", "model_attributes_type"}:
        return "a table"
    if error["type"] == "tuple_type":
        return "a list"
    message = error["msg"]
    for start in ("Input should be ", "String should ", "Value should "):
        message = message.removeprefix(start)
    return message.replace("a valid ", "a ").replace("a integer", "an integer")
