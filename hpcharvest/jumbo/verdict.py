"""What became of a payload: made of how its process ended, what it left in its folder, and whether we stopped it."""

from __future__ import annotations

import dataclasses
import os
import re
import signal
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hpcharvest.jumbo import pilot
from hpcharvest.jumbo.folder import LONGEST_REPORT, STARTED, STDERR, STDOUT
from hpcharvest.messenger.harvester_files import Kind
from hpcharvest.messenger.protocol import Task
from hpcharvest.model.job import PayloadOutcome
from hpcharvest.model.states import PayloadResult

REPORT: Final = "jobReport.json"
_NOT_INVOKED: Final = 126
"""Exit code of engines, and of shells, for a program that is there and was not started."""
_RUNTIME: Final = re.compile(r"(docker: )?Error\b.*\bOCI (runtime|permission)\b")
"""The last words of Podman and Docker when what they start containers with refused to; a shell's are others."""
LONGEST_WORDS: Final = 300
"""Characters of the last line on stderr that go into the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a payload's process ended; times in wall seconds."""

    code: int
    """As in subprocess: negative for a signal."""
    started_at: float
    ended_at: float
    cpu_s: float
    max_rss_kb: int


@dataclass(frozen=True, slots=True)
class Stop:
    """That, and why, we stopped a payload."""

    result: PayloadResult
    reason: str
    error_code: int = 0
    """The payload's own for it; 0: it gave none."""


def judge(task: Task, node: str, ending: Ending, stop: Stop | None, *, launched: bool = False) -> PayloadOutcome:
    """Make the outcome. DONE is: exit code 0, every promised output there, and nobody was stopping it.

    `launched`: the process was a launcher; one that fails before it has started the payload is not the payload's doing.
    """
    verdict = stop or (_launchers_doing(task, ending) if launched else None) or _own_doing(task, ending)
    return PayloadOutcome(
        result=verdict.result,
        exit_code=ending.code if ending.code >= 0 else None,
        signal=-ending.code if ending.code < 0 else None,
        reason=verdict.reason,
        node=node,
        started_at=ending.started_at,
        ended_at=ending.ended_at,
        cpu_s=ending.cpu_s,
        max_rss_kb=ending.max_rss_kb,
        metadata=_report(f"{task.folder}/{REPORT}"),
        error_code=verdict.error_code,
    )


def never_ran(stop: Stop, node: str, now: float) -> PayloadOutcome:
    """Make the outcome of a payload that had no process."""
    return PayloadOutcome(result=stop.result, reason=stop.reason, node=node, ended_at=now)


def _launchers_doing(task: Task, ending: Ending) -> Stop | None:
    """Say how a launcher failed by itself; None: it did not, or the payload was started."""
    if ending.code == 0 or _was_started(task.folder):
        return None
    words = _last_words(f"{task.folder}/{STDERR}")
    told = f"the launcher {_ended_how(ending.code)} and started no payload"
    return Stop(PayloadResult.NOT_RUN, f"{told}{': ' if words else ''}{words}")


def _was_started(folder: str) -> bool:
    """Whether a payload was started in its folder. Where that cannot be seen, it was: nothing may run twice by that."""
    try:
        names = {one.name for one in Path(folder).iterdir()}  # a listing is a fresh look, also on NFS
        return STARTED in names or Path(folder, STDOUT).stat().st_size > 0
    except OSError:
        return True


def _own_doing(task: Task, ending: Ending) -> Stop:
    if ending.code:
        words = _last_words(f"{task.folder}/{STDERR}")
        if _is_the_engines(task, ending.code, words):
            return Stop(PayloadResult.NOT_RUN, f"its container could not be started: {words}")
        if task.job_text is None:
            return Stop(PayloadResult.FAILED, f"the payload {_ended_how(ending.code)}{': ' if words else ''}{words}")
    if task.job_text is not None and (word := _pilots_word(task, ending.code)):
        return word
    missing = [name for name in task.outputs if not _is_output(task.folder, name)]
    if missing:
        return Stop(PayloadResult.FAILED, f"the payload ended well, but did not leave {', '.join(missing)}")
    return Stop(PayloadResult.DONE, "")


def _pilots_word(task: Task, code: int) -> Stop | None:
    """Hear what a payload says in panda-harvester's files; None: it is done, as far as it knows."""
    folder = Path(task.folder)
    try:
        said = pilot.verdict_of(folder, task.job, code, dict.fromkeys(task.outputs, Kind.OUTPUT))
        if said.result is PayloadResult.DONE:
            pilot.bring(folder, said, {*task.outputs, task.log})
            return None
    except OSError as error:
        return Stop(PayloadResult.NOT_RUN, f"what the payload said of its job cannot be read: {error}")
    words = "" if said.attributes.error else _last_words(f"{task.folder}/{STDERR}")
    return Stop(said.result, f"{said.reason}{': ' if words else ''}{words}", said.error_code)


def _is_the_engines(task: Task, code: int, words: str) -> bool:
    """Whether this exit code is the container engine's own, and not the payload's."""
    if not task.engine_failure:
        return False
    return code == task.engine_failure or (code == _NOT_INVOKED and _RUNTIME.match(words) is not None)


def _ended_how(code: int) -> str:
    if code > 0:
        return f"ended with exit code {code}"
    known = {number.value: number.name for number in signal.Signals}
    return f"died of signal {-code} ({known.get(-code, 'unknown')})"


def _is_output(folder: str, name: str) -> bool:
    """Tell whether it is a regular file in the folder; a symbolic link may not lead out."""
    path = f"{folder}/{name}"
    try:
        mode = os.lstat(path).st_mode
        if not stat.S_ISLNK(mode):
            return stat.S_ISREG(mode)
        real = Path(path).resolve(strict=True)
    except (OSError, RuntimeError):
        return False
    return real.is_file() and real.is_relative_to(Path(folder).resolve())


def _last_words(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 4096))
            lines = file.read(4096).decode(errors="replace").split("\n")
    except OSError as error:
        return f"(its stderr cannot be read: {error.strerror})"
    words = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return "".join(letter if letter.isprintable() else " " for letter in words)[:LONGEST_WORDS]


def _report(path: str) -> str:
    """Read the payload's own report; empty if there is none that is a regular file, of a decent size, and text."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    with open(handle, "rb") as file:  # noqa: PTH123  # it is a descriptor, not a path
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode) or about.st_size > LONGEST_REPORT:
            return ""
        return file.read(LONGEST_REPORT).decode(errors="replace")


def with_log(outcome: PayloadOutcome, code: int) -> PayloadOutcome:
    """Amend an outcome by how packing its log ended: 0, an errno, or negative for a signal.

    A payload that did well but has no log did not run, for the storage's sake and not for its own.
    """
    if code == 0:
        return outcome
    why = f"its log could not be made: {os.strerror(code) if code > 0 else 'there was no time'}"
    if outcome.result is PayloadResult.DONE:
        return dataclasses.replace(outcome, result=PayloadResult.NOT_RUN, reason=why)
    return dataclasses.replace(outcome, reason=f"{outcome.reason}; {why}")
