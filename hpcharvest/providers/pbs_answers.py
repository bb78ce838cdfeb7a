"""What qstat prints about jobs, read into attributes by job: JSON of PBS, also where it is none, and the text form.

Attributes have the names of the text form, with dots for what JSON nests: `Resource_List.walltime`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

Attributes = Mapping[str, str]
"""What is said about one job, of what we want to know; all values are text, as PBS makes numbers of what looks so."""

WANTED = ("Job_Name", "job_state", "substate", "Exit_status", "exit_status", "comment")
WANTED_CLOCKS = ("resources_used", "Resource_List")
"""Of these just the walltime: what is used, and what was asked for."""

JOB_ID = r"[0-9]+(?:\[[0-9]*\])?(?:\.[^\s\"]+)?"

_HEAD = re.compile(rf'^(?P<indent>[ \t]+)"(?P<id>{JOB_ID})"[ \t]*:[ \t]*\{{[ \t]*$', re.MULTILINE)
_PAIR = re.compile(rf'^(?P<indent>[ \t]+)"(?P<name>{"|".join(WANTED)})"[ \t]*:(?P<value>.*)$', re.MULTILINE)
_TEXT_HEAD = re.compile(rf"^Job Id: *({JOB_ID})[ \t\r]*$", re.MULTILINE)
_NAMES = "|".join((*WANTED, *(rf"{name}\.walltime" for name in WANTED_CLOCKS)))
_TEXT_PAIR = re.compile(rf"^ {{4}}({_NAMES}) = (.*(?:\n\t.*)*)$", re.MULTILINE)


def read_json(out: str) -> dict[str, Attributes]:
    """Read `qstat -f -F json`. Raises ValueError if it says nothing about any job, not even that there is none.

    A job whose own part is no JSON, as quotes or leading zeros in its variables make it, is read line by line; one
    whose part does not end is left out, since what is missing may be the end of the story.
    """
    try:
        whole = json.loads(out, strict=False)
    except (ValueError, RecursionError) as error:
        found = dict(_pieces(out))
        if not found:
            raise ValueError("it is no JSON, and no job can be made out in it") from error
        return found
    if not isinstance(whole, dict) or "pbs_server" not in whole:
        raise ValueError("it is JSON, but none that qstat prints")
    jobs = whole.get("Jobs", {})
    if not isinstance(jobs, dict):
        raise ValueError("its Jobs are no table")  # noqa: TRY004 - a text that is wrong, not a call
    return {job: _flat(said) for job, said in jobs.items() if isinstance(said, dict)}


def read_text(out: str) -> dict[str, Attributes]:
    """Read `qstat -f`. Raises ValueError if there is text, but nothing about any job.

    Each job has lines `    name = value`, folded with a tab, and an empty line at its end; without that it is left
    out, as in `read_json`. Other lines are values that go on, or noise.
    """
    parts = _TEXT_HEAD.split(out)
    if len(parts) == 1 and out.strip():
        raise ValueError("no job can be made out in it")
    pairs = zip(parts[1::2], parts[2::2], strict=True)
    return {job: _text_pairs(part) for job, part in pairs if part.endswith("\n\n")}


def _flat(said: Mapping[str, object]) -> Attributes:
    flat = {name: str(said[name]) for name in WANTED if name in said}
    for name in WANTED_CLOCKS:
        inner = said.get(name)
        if isinstance(inner, dict) and "walltime" in inner:
            flat[f"{name}.walltime"] = str(inner["walltime"])
    return flat


def _pieces(out: str) -> Iterator[tuple[str, Attributes]]:
    """Cut at the lines that begin jobs: those deepest in are somebody's variables, so the outermost count."""
    heads = list(_HEAD.finditer(out))
    outermost = min((len(head["indent"]) for head in heads), default=0)
    heads = [head for head in heads if len(head["indent"]) == outermost]
    for head, after in zip(heads, [*heads[1:], None][: len(heads)], strict=True):
        piece = out[head.end() : after.start() if after else len(out)]
        end = re.search(rf"^{head['indent']}\}},?[ \t]*$", piece, re.MULTILINE)
        if end is not None:
            yield head["id"], _piece(piece[: end.start()])


def _piece(piece: str) -> Attributes:
    try:
        said = json.loads(f"{{{piece}}}", strict=False)
    except (ValueError, RecursionError):
        return _lines(piece)
    return _flat(said)


def _lines(piece: str) -> Attributes:
    """Read what stands directly in a job, as deep in as its first line: the first of a name counts."""
    found: dict[str, str] = {}
    first = re.match(r"\s*?\n?([ \t]+)", piece)
    for pair in _PAIR.finditer(piece):
        if first and pair["indent"] == first[1]:
            found.setdefault(pair["name"], _value(pair["value"].strip().removesuffix(",").rstrip()))
    return found


def _value(text: str) -> str:
    try:
        return str(json.loads(text, strict=False))
    except (ValueError, RecursionError):
        return text.strip('"')


def _text_pairs(part: str) -> Attributes:
    return {name: re.sub(r"\r?\n\t", "", value).rstrip("\r") for name, value in _TEXT_PAIR.findall(part)}
