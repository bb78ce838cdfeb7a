"""Text from outside, made fit for a terminal: it cannot move a cursor, hide a word or begin a line of its own."""

from __future__ import annotations


def plain(text: str, keep: str = "") -> str:
    """Give `text` with every character that does not print written as an escape; but those in `keep`.

    Not printing are the controls, the marks that turn the direction of writing, lone surrogates, and all white space
    but the blank (`str.isprintable`).
    """
    if text.isprintable():
        return text
    return "".join(one if one in keep or one.isprintable() else _escaped(one) for one in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
