"""Reads a foreign dictionary strictly: every value has the type that was expected, or the error says what was found.

In PanDA's dictionaries a missing value is the string "NULL", a number may come as a string, a truth is "True", and a
list is one string with commas. What we say must be clean in its turn: `printable` and `utc`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, NoReturn

from hpcharvest.errors import JobNotUnderstood, UnsafeName
from hpcharvest.panda.wire.envelope import excerpt

NOTHING = "NULL"
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,19}", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_YEAR_10000 = 253402300800.0
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}")
"""Nothing is wrong with such a name, which is what nearly all of them are."""
_LARGEST = 2**63 - 1
_LONGEST_NAME = 255


class Fields:
    """One dictionary, read key by key. `owner` ("job 12") begins every error; no text is longer than `max_bytes`."""

    __slots__ = ("_max_bytes", "_owner", "_raw")

    def __init__(self, raw: dict[str, Any], *, owner: str, max_bytes: int) -> None:
        self._raw = raw
        self._owner = owner
        self._max_bytes = max_bytes

    @property
    def owner(self) -> str:
        """Whose it is."""
        return self._owner

    def fail(self, key: str, found: Any, expected: str) -> NoReturn:
        """Raise `JobNotUnderstood`: whose, which key, what was found, what was expected."""
        raise JobNotUnderstood(f"{self._owner}: {key!r} is {excerpt(found)}, expected {expected}")

    def text(self, key: str) -> str:
        """Return a text that can be written and passed on; NULL is the empty one."""
        value = self._get(key, "a string")
        if not isinstance(value, str):
            self.fail(key, value, "a string")
        if value == NOTHING:
            return ""
        size = _size(value)
        if size is None or "\0" in value:
            self.fail(key, value, "text without NUL and lone surrogates")
        if size > self._max_bytes:
            self.fail(key, value, f"at most {self._max_bytes} bytes, not {size}")
        return value

    def optional(self, key: str) -> str:
        """Return a text that the server only sends for some jobs; empty if it does not."""
        return self.text(key) if key in self._raw else ""

    def number(self, key: str, *, least: int = 0, nothing: int | None = 0) -> int:
        """Return a whole number of at least `least`; NULL is `nothing`, or an error if that is None."""
        value = self._get(key, "a whole number")
        if value == NOTHING and nothing is not None:
            return nothing
        return self._whole(key, value, least)

    def flag(self, key: str) -> bool:
        """Return whether the key is there and says "True"."""
        value = self._raw.get(key, "")
        if not isinstance(value, str):
            self.fail(key, value, 'the string "True", or nothing')
        return value == "True"

    def texts(self, key: str, count: int | None = None, *, may_lack: bool = False) -> list[str]:
        """Return a list of texts, of `count` members if that is given; `may_lack`: an empty string is any number."""
        value = self.text(key)
        if (count == 0 or count is None or may_lack) and not value:
            return [""] * (count or 0)
        parts = value.split(",") if value else [NOTHING]
        if count is not None and len(parts) != count:
            self.fail(key, value, f"{count} values, one for each file, not {len(parts)}")
        return ["" if part == NOTHING else part for part in parts]

    def numbers(self, key: str, count: int) -> list[int]:
        """Return a list of `count` whole numbers, 0 where the server knows none."""
        return [self._whole(key, part, 0) if part else 0 for part in self.texts(key, count)]

    def name(self, key: str, name: str, *, needed: bool = True) -> str:
        """Return `name` if it can be a file's name in a folder and a word on a command line, else `UnsafeName`."""
        reason = None if _PLAIN_NAME.fullmatch(name) or not (name or needed) else _danger(name)
        if reason is not None:
            raise UnsafeName(f"{self._owner}: {key!r} has a name that {reason}: {excerpt(name)}")
        return name

    def names(self, key: str, names: Iterable[str], *, needed: bool = True) -> list[str]:
        """Return all the names, each checked as by `name`."""
        return [self.name(key, name, needed=needed) for name in names]

    def _get(self, key: str, expected: str) -> Any:
        if key not in self._raw:
            raise JobNotUnderstood(f"{self._owner}: {key!r} is missing, expected {expected}")
        return self._raw[key]

    def _whole(self, key: str, value: Any, least: int) -> int:
        if isinstance(value, str) and _WHOLE_NUMBER.fullmatch(value):
            value = int(value)
        if type(value) is not int or not least <= value <= _LARGEST:
            self.fail(key, value, f"a whole number of at least {least}")
        return int(value)


def printable(text: str, limit: int | None = None) -> str:
    """Make a text of ours fit for a column of the server's database: at most `limit` characters, none of them odd."""
    return _UNPRINTABLE.sub("?", text[:limit])


def utc(wall: float) -> datetime | None:
    """Turn wall seconds into a moment that can be worded; None for no time at all."""
    return datetime.fromtimestamp(wall, UTC) if 0 < wall < _YEAR_10000 else None


def _danger(name: str) -> str | None:
    """Say what is wrong with a name from outside, or None."""
    size = _size(name)
    dangers = {
        "is empty": not name,
        "leads to another folder": "/" in name or name in {".", ".."},
        "reads as an option": name.startswith("-"),
        "has control characters": _CONTROL.search(name) is not None,
        "is no valid text": size is None,
        "is longer than 255 bytes": size is not None and size > _LONGEST_NAME,
    }
    return next((danger for danger, present in dangers.items() if present), None)


def _size(text: str) -> int | None:
    """Return the length in bytes; None if it cannot be written as UTF-8."""
    if text.isascii():
        return len(text)
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        return None
