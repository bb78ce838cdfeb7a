"""The only module that prints: pages in one of three looks, and complaints."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import Protocol

from hpcharvest.cli.page import Card, Listing, Page, Part
from hpcharvest.cli.plain import plain


class Output(Protocol):
    """A way to show a page on stdout."""

    def show(self, page: Page) -> None:
        """Show it."""


class Tables:
    """For people."""

    def show(self, page: Page) -> None:
        """Show every part, with a blank line between two, and the note."""
        width = _terminal_width()
        shown = [_drawn(part, width) for part in page.parts]
        _print("\n\n".join([*shown, *([plain(page.note)] if page.note else [])]))


class Json:
    """For programs: one object, with each part under its name. Times are seconds since the epoch."""

    def show(self, page: Page) -> None:
        """Show the page as indented JSON in ASCII."""
        _print(json.dumps(page.data, indent=2, default=str))


class Quiet:
    """For the shell: what names the records, one a line."""

    def show(self, page: Page) -> None:
        """Show the ids, and nothing at all if there are none."""
        for one in page.ids:
            _print(plain(str(one), keep="\n\t"))


OUTPUTS: Mapping[str, type[Output]] = {"table": Tables, "json": Json, "quiet": Quiet}


def complain(text: str) -> None:
    """Tell people, on stderr, what went wrong or what they should know: one line."""
    print(f"hpcharvest: {plain(' '.join(text.split()))}", file=sys.stderr)


def trace(text: str) -> None:
    """Show a traceback on stderr."""
    print(plain(text, keep="\n"), file=sys.stderr, end="")


def _print(text: str) -> None:
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding))


def _drawn(part: Part, width: int) -> str:
    from hpcharvest.cli import table

    match part:
        case Listing():
            return table.listing(part, width)
        case Card():
            return table.card(part)
        case _:
            return plain(part.text, keep="\n\t").rstrip("\n")


def _terminal_width() -> int:
    """Tell how many characters a line of the terminal has; 0 if stdout is none, or cannot draw lines."""
    if not sys.stdout.isatty() or (sys.stdout.encoding or "").lower().replace("-", "") != "utf8":
        return 0
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns
    except OSError:
        return 0
