"""A site file from findings: TOML, with a comment on each line that says where it was seen. Pure text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from hpcharvest.providers.survey.findings import Findings, Seen, Value

_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def render(findings: Findings) -> str:
    """Give the text of the site file."""
    day = datetime.fromtimestamp(findings.at, tz=UTC).strftime("%Y-%m-%d")
    lines = [
        f"# {_plain(f'What `hpcharvest site init` saw on {findings.host} on {day}. Go through every line:')}",
        "# behind each stands where it was seen, and site.assumed lists what nobody has said.",
        *(["#", *(f"# {_plain(note)}" for note in findings.notes)] if findings.notes else []),
        "",
        *_about(findings, day),
    ]
    tables: dict[str, list[Seen]] = {}
    for one in findings.seen:
        tables.setdefault(one.key.partition(".")[0], []).append(one)
    for table, content in tables.items():
        lines += ["", f"[{table}]", *(_line(one) for one in content)]
    return "\n".join(lines) + "\n"


def _about(findings: Findings, day: str) -> Iterator[str]:
    assumed = [f"{one.key}: {one.where}" for one in findings.seen if one.assumed]
    yield "[site]"
    yield f"name = {_value(findings.name)}"
    yield f"description = {_value(f'{findings.name}, as seen from {findings.host}')}"
    yield f"sources = [{_value(f'what has a comment and is not listed below: seen so on {findings.host} on {day}')}]"
    yield "assumed = ["
    yield from (f"    {_value(one)}," for one in (*assumed, *findings.unsure))
    yield "]"


def _line(seen: Seen) -> str:
    return f"{seen.key.partition('.')[2]} = {_value(seen.value)}  # {_plain(seen.where)}"


def _value(value: Value) -> str:
    match value:
        case str():
            return f'"{"".join(map(_character, value))}"'
        case Mapping():
            return "{ " + ", ".join(f"{key} = {_value(one)}" for key, one in value.items()) + " }"
        case tuple():
            return f"[{', '.join(map(_value, value))}]"
        case _:
            return str(value)


def _character(one: str) -> str:
    """Write a character as it may stand between quotation marks; what is no Unicode becomes a question mark."""
    if "\ud800" <= one <= "\udfff":
        return "?"
    if one in _ESCAPES:
        return _ESCAPES[one]
    return one if one >= " " and one != "\x7f" else f"\\u{ord(one):04x}"


def _plain(words: str) -> str:
    """Make one line of a comment, without characters that TOML does not allow there."""
    return "".join(one if one.isprintable() else " " for one in " ".join(words.split()))
