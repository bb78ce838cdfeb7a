"""What the faces of PBS and Torque have in common: command lines, times, and how answers are laid out on paper."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from hpcharvest.sandbox.batch.faces.voice import refuse, say

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

SERVER = "vm"
"""The name of the server, as in the recordings; the embedded job's number stands before it in every id."""

VERSION = "23.06.06"
_WIDTH = 79


class CommandError(Exception):
    """A command ends here, with what it says on stderr."""

    def __init__(self, exit_code: int, text: str) -> None:
        super().__init__(text)
        self.exit_code = exit_code


def read_options(program: str, argv: Sequence[str], known: str, usage: str) -> tuple[list[tuple[str, str]], list[str]]:
    """Split a command line as getopt(3) does: the options in their order, each with its value, and the words after.

    `known` is getopt's string. Every letter that is not in it is told, and then the usage: CommandError 2.
    """
    options: list[tuple[str, str]] = []
    wrong: list[str] = []
    words = list(argv)
    while words and words[0].startswith("-") and words[0] not in {"-", "--"}:
        letters = words.pop(0)[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            at = known.find(letter) if letter not in ":-" else -1
            if at < 0:
                wrong.append(f"{program}: invalid option -- '{letter}'\n")
            elif known[at + 1 : at + 2] == ":":
                if not letters and not words:
                    wrong.append(f"{program}: option requires an argument -- '{letter}'\n")
                options.append((letter, letters or (words.pop(0) if words else "")))
                break
            else:
                options.append((letter, ""))
    if wrong:
        raise CommandError(2, "".join(wrong) + usage)
    return options, words[1:] if words[:1] == ["--"] else words


def fail(error: CommandError) -> int:
    """Say why a command ends, and give its exit code."""
    return refuse(str(error).removesuffix("\n"), code=error.exit_code)


def seconds(text: str) -> float:
    """Read SECONDS, MM:SS or HH:MM:SS; ValueError for anything else."""
    total = 0.0
    for part in text.split(":"):
        total = total * 60 + float(part)
    return total


def when(moment: float | None) -> str:
    """Give a moment as ctime does."""
    return time.ctime(moment or 0)


def number_of(job_id: str) -> int | None:
    """Give the embedded job's number in an id, with or without the server's name; None if it is no id."""
    number = job_id.partition(".")[0]
    return int(number) if number.isdecimal() else None


def as_json(value: Any, depth: int = 0) -> str:
    """Lay out JSON as PBS does: with tabs, and lists on one line."""
    if not isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    inner = "\t" * (depth + 1)
    rows = [f"{inner}{json.dumps(key, ensure_ascii=False)}:\t{as_json(one, depth + 1)}" for key, one in value.items()]
    return "{\n" + "".join(",\n".join(rows) + "\n" if rows else "") + "\t" * depth + "}"


def as_text(attributes: Mapping[str, Any], indent: str = "    ") -> Iterator[str]:
    """Lay out attributes as `qstat -f` does, a line for each, folded where it is too long."""
    for name, value in attributes.items():
        if isinstance(value, dict) and name != "Variable_List":
            for inner, one in value.items():
                yield from _folded(f"{indent}{name}.{inner} = {one}")
        elif isinstance(value, dict):
            yield from _folded(f"{indent}{name} = " + ",".join(f"{key}={one}" for key, one in value.items()))
        else:
            yield from _folded(f"{indent}{name} = {value}")


def _folded(line: str) -> Iterator[str]:
    """Fold after the last comma that fits, or in the middle of a word."""
    while len(line) > _WIDTH:
        at = line.rfind(",", 0, _WIDTH) + 1
        at = at if at > len("\t") else _WIDTH
        yield line[:at]
        line = "\t" + line[at:]
    yield line


def head() -> dict[str, Any]:
    """Give the beginning of every answer in JSON."""
    return {"timestamp": int(time.time()), "pbs_version": VERSION, "pbs_server": SERVER}


def show(lines: Iterable[str]) -> None:
    """Print lines."""
    for line in lines:
        say(line)
