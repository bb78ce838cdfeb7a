"""Dataclasses to JSON and back, strictly: the annotations are the schema.

A field of a wrong type, or a missing one that has no default, is an error that names the file and the field. Fields
that are not known are passed over, so that a newer writer may say more than an older reader asks for. A NamedTuple is a
list of its fields.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import operator
import types
import typing
from collections.abc import Callable
from enum import StrEnum
from typing import Any, TypeVar

from hpcharvest.errors import MessageNotUnderstood, TornMessage

LARGEST = 2**63 - 1
T = TypeVar("T")
Reader = Callable[[Any], Any]


class _Mismatch(ValueError):
    """What was read is not what was expected; `path` leads to it, innermost name first."""

    def __init__(self, expected: str, found: object) -> None:
        super().__init__(f"is {found!r:.80}, but {expected} is wanted")
        self.path: list[str] = []


def to_text(record: Any, **more: Any) -> bytes:
    """Write a dataclass as one JSON object; `more` are keys beside its fields. ValueError: a number is not finite."""
    text = json.dumps(plain(record) | more, allow_nan=False, separators=(",", ":"), default=plain)
    return text.encode("ascii")


def plain(record: Any) -> dict[str, Any]:
    """Give a dataclass as a dictionary of its fields; dataclasses in them stay what they are. TypeError: it is none."""
    kind: Any = type(record)
    names, values = _fields(kind)
    return dict(zip(names, values(record), strict=True))


def parse(text: bytes, where: str) -> Any:
    """Read JSON; TornMessage if it is none."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise TornMessage(f"{where}: no whole JSON text ({error}); it is read again later") from error


def decode(kind: type[T], value: Any, where: str) -> T:
    """Make a `kind` of a JSON value. MessageNotUnderstood names `where` (the file) and the field."""
    try:
        reader: Reader = _reader(kind)  # type: ignore[arg-type]  # every class is hashable, which mypy does not know
        made: T = reader(value)
    except _Mismatch as error:
        field = ".".join(reversed(error.path)) or "the whole"
        raise MessageNotUnderstood(f"{where}: {field} {error}") from None
    return made


@functools.cache
def _fields(kind: Any) -> tuple[tuple[str, ...], Callable[[Any], tuple[Any, ...]]]:
    """Give the names of a dataclass's fields, and what takes all their values at once: there are millions of them."""
    names = tuple(field.name for field in dataclasses.fields(kind))
    if len(names) < 2:  # an attrgetter of one name gives the bare value
        return names, lambda record: tuple(getattr(record, name) for name in names)
    return names, operator.attrgetter(*names)


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is no JSON")


@functools.cache
def _reader(kind: Any) -> Reader:
    """Give the function that checks and converts one JSON value to `kind`."""
    if isinstance(kind, typing.NewType):
        return _reader(kind.__supertype__)
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin is not None:
        return _COMPOUNDS[origin](*(_reader(part) for part in parts if part is not ...))
    if dataclasses.is_dataclass(kind):
        return _object(kind)
    if issubclass(kind, tuple):
        return _named(kind)
    return _word(kind) if issubclass(kind, StrEnum) else _SCALARS[kind]


def _whole(value: Any) -> int:
    """Read a whole number of at most 64 bits."""
    if type(value) is int and -LARGEST <= value <= LARGEST:
        return value
    raise _Mismatch("a whole number of at most 64 bits", value)


def _number(value: Any) -> float:
    if type(value) is float and math.isfinite(value):
        return value
    if type(value) is int and -LARGEST <= value <= LARGEST:
        return float(value)
    raise _Mismatch("a number", value)


def _text(value: Any) -> str:
    if type(value) is str:
        return value
    raise _Mismatch("a text", value)


def _flag(value: Any) -> bool:
    if type(value) is bool:
        return value
    raise _Mismatch("true or false", value)


def _nothing(value: Any) -> None:
    if value is not None:
        raise _Mismatch("null", value)


_SCALARS: dict[Any, Reader] = {
    int: _whole,
    float: _number,
    str: _text,
    bool: _flag,
    types.NoneType: _nothing,
}


def _optional(read: Reader, _nothing: Reader) -> Reader:
    return lambda value: None if value is None else read(value)


def _word(kind: type[StrEnum]) -> Reader:
    def read(value: Any) -> StrEnum:
        try:
            return kind(value)
        except ValueError:
            raise _Mismatch(f"one of {', '.join(kind)}", value) from None

    return read


def _row(read: Reader) -> Reader:
    def read_all(value: Any) -> tuple[Any, ...]:
        if type(value) is not list:
            raise _Mismatch("a list", value)
        return tuple(_inside(str(index), read, item) for index, item in enumerate(value))

    return read_all


def _mapping(_name: Reader, read: Reader) -> Reader:
    def read_all(value: Any) -> dict[str, Any]:
        if type(value) is not dict:
            raise _Mismatch("an object", value)
        return {name: _inside(name, read, item) for name, item in value.items()}

    return read_all


_COMPOUNDS: dict[Any, Callable[..., Reader]] = {tuple: _row, dict: _mapping, types.UnionType: _optional}


def _object(kind: Any) -> Reader:
    hints = typing.get_type_hints(kind)
    needed = {field.name for field in dataclasses.fields(kind) if _has_no_default(field)}
    readers = {field.name: _reader(hints[field.name]) for field in dataclasses.fields(kind)}

    def read_all(value: Any) -> Any:
        if type(value) is not dict:
            raise _Mismatch("an object", value)
        missing = needed - value.keys()
        if missing:
            raise _Mismatch(f"an object with {', '.join(sorted(missing))}", value)
        return kind(**{name: _inside(name, read, value[name]) for name, read in readers.items() if name in value})

    return read_all


def _named(kind: Any) -> Reader:
    hints = typing.get_type_hints(kind)
    readers = [(name, _reader(hints[name])) for name in kind._fields]
    needed = len(kind._fields) - len(kind._field_defaults)

    def read_all(value: Any) -> Any:
        if type(value) is not list or len(value) < needed:
            raise _Mismatch(f"a list of {', '.join(kind._fields)}", value)
        return kind(*[_inside(name, read, item) for (name, read), item in zip(readers, value, strict=False)])

    return read_all


def _has_no_default(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _inside(name: str, read: Reader, value: Any) -> Any:
    try:
        return read(value)
    except _Mismatch as error:
        error.path.append(name)
        raise
