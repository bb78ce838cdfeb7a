"""On which line a key of a TOML text stands: `tomllib` reads values, but does not say from where.

This is no parser: it trusts that the text is valid, and only skips over values. What stands in an inline table or a
list is found at the key that the table or list belongs to. Grammar: https://toml.io/en/v1.0.0.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from collections.abc import Iterator, Mapping

KeyPath = tuple[str | int, ...]
"""The way to a value: keys of tables, and positions (from 0) in arrays of tables."""

_PIECE = re.compile(
    r'''"""(?:\\.|[^\\])*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:\\.|[^"\\\n])*"|'[^'\n]*\''''
    r"""|\#[^\n]*|\n|[\[\]{}=.]|[^\s\[\]{}=.,\#"']+""",
    re.DOTALL,
)
_Piece = tuple[str, int]


def key_lines(text: str) -> dict[KeyPath, int]:
    """Return the line (from 1) of every table header and every key of a valid TOML text."""
    return _Scanner(text).scan()


def line_of(lines: Mapping[KeyPath, int], path: KeyPath) -> int:
    """Return the line of `path`, or that of the nearest table or key around it that has one; else 1."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)


class _Scanner:
    """One pass over the pieces of a text."""

    def __init__(self, text: str) -> None:
        self._pieces = self._split(text)
        self._table: KeyPath = ()
        self._arrays: dict[KeyPath, int] = {}
        self._lines: dict[KeyPath, int] = {}

    @staticmethod
    def _split(text: str) -> Iterator[_Piece]:
        starts = [match.end() for match in re.finditer("\n", text)]
        for match in _PIECE.finditer(text):
            if not match[0].startswith("#"):
                yield match[0], bisect_right(starts, match.start()) + 1

    def scan(self) -> dict[KeyPath, int]:
        for piece, line in self._pieces:
            if piece == "[":
                self._header(line)
            elif piece != "\n":
                self._note(self._table, [piece, *self._until("=")], line)
                self._skip_value()
        return self._lines

    def _header(self, line: int) -> None:
        """Read `[table]` or `[[array of tables]]`, of which the first bracket is gone."""
        parts = list(self._until("\n"))
        if parts[0] != "[":
            self._table = self._note((), parts[:-1], line)
            return
        path = self._resolve((), parts[1:-2], last_too=False)
        self._arrays[path] = self._arrays.get(path, -1) + 1
        self._lines.setdefault(path, line)
        self._table = (*path, self._arrays[path])
        self._lines[self._table] = line

    def _until(self, end: str) -> Iterator[str]:
        for piece, _ in self._pieces:
            if piece == end:
                return
            yield piece

    def _skip_value(self) -> None:
        depth = 0
        for piece, _ in self._pieces:
            depth += (piece in {"[", "{"}) - (piece in {"]", "}"})
            if piece == "\n" and depth == 0:
                return

    def _note(self, table: KeyPath, parts: list[str], line: int) -> KeyPath:
        """Note where a dotted key stands, and the tables that it makes on its way."""
        path = self._resolve(table, parts)
        for length in range(len(table) + 1, len(path)):
            self._lines.setdefault(path[:length], line)
        self._lines[path] = line
        return path

    def _resolve(self, table: KeyPath, parts: list[str], *, last_too: bool = True) -> KeyPath:
        """Turn the pieces of a dotted key into a path, with the position of the newest element of each array."""
        keys = [_plain(part) for part in parts if part != "."]
        path = table
        for number, key in enumerate(keys, start=1):
            path = (*path, key)
            if path in self._arrays and (last_too or number < len(keys)):
                path = (*path, self._arrays[path])
        return path


def _plain(key: str) -> str:
    """Take the quotes off a key."""
    return str(tomllib.loads(f"key = {key}")["key"]) if key[0] in "\"'" else key
