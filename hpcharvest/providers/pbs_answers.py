"""What qstat prints about jobs, read into attributes by job: JSON of PBS, also where it is none, and the text form.

Attributes have the names of the text form, with dots for what JSON nests: `Resource_List.walltime`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from hpcharvest.providers import pbs_json
from hpcharvest.providers.pbs_json import JOB_ID, Record

Attributes = Mapping[str, str]
"""What is said about one job, of what we want to know; all values are text, as PBS makes numbers of what looks so."""

WANTED = ("Job_Name", "job_state", "substate", "Exit_status", "exit_status", "comment")
WANTED_CLOCKS = ("resources_used", "Resource_List")
"""Of these just the walltime: what is used, and what was asked for."""

_TEXT_HEAD = re.compile(rf"^Job Id: *({JOB_ID})[ \t\r]*$", re.MULTILINE)
_NAMES = "|".join((*WANTED, *(rf"{name}\.walltime" for name in WANTED_CLOCKS)))
_TEXT_PAIR = re.compile(rf"^ {{4}}({_NAMES}) = (.*(?:\n\t.*)*)$", re.MULTILINE)


def read_json(out: str) -> dict[str, Attributes]:
    """Read `qstat -f -F json`. Raises ValueError if it says nothing about any job, not even that there is none."""
    return {job: _flat(said) for job, said in pbs_json.read(out, "Jobs").items()}


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


def _flat(said: Record) -> Attributes:
    flat = {name: str(said[name]) for name in WANTED if name in said}
    clocks = {f"{name}.walltime": pbs_json.within(said, name).get("walltime") for name in WANTED_CLOCKS}
    return flat | {name: str(value) for name, value in clocks.items() if value is not None}


def _text_pairs(part: str) -> Attributes:
    return {name: re.sub(r"\r?\n\t", "", value).rstrip("\r") for name, value in _TEXT_PAIR.findall(part)}
