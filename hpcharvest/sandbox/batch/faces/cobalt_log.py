"""Cobalt's log of a batch job, a file beside its output: the only place that tells how it ended.

The lines are those on record; those for a walltime that is over and for batch jobs deleted while they wait are read
from Cobalt's source. A lost node is no word of Cobalt: the log has the exit code of the task that it took along. Who
is preempted here for good is, to Cobalt, deleted by its administrator.
"""

from __future__ import annotations

import fcntl
import json
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ADMINISTRATOR = "root"
DELETION = "user delete requested"
_TASK = "task completed normally with an exit code of"
_WALLTIME = "maximum execution time exceeded"


def stamp(seconds: float) -> str:
    """Give a time as Cobalt writes it."""
    return time.strftime("%a %b %d %H:%M:%S %Y %z (%Z)", time.localtime(seconds))


def of(job: dict[str, Any]) -> tuple[str, int]:
    """Give where the log of a batch job is: its pattern, and the batch job's id."""
    return json.loads(job["comment"])["log"], job["id"]


def read(pattern: str, number: int) -> str:
    """Read a log; empty if there is none."""
    with suppress(OSError):
        return _path(pattern, number).read_text(errors="replace")
    return ""


def write(pattern: str, number: int, words: str, at: float) -> None:
    """Add a line to a log; where its folder is gone, nobody will read it."""
    with suppress(OSError), _path(pattern, number).open("a") as log:
        log.write(f"{stamp(at)} {words}\n")


def begin(pattern: str, number: int, command: str, folder: str) -> None:
    """Begin a log, as qsub does."""
    with suppress(OSError), _path(pattern, number).open("a") as log:
        log.write(f"Jobid: {number}\n{command}\n{stamp(time.time())} submitted with cwd set to: {folder}\n")


def deletion(job: dict[str, Any], by: str) -> str:
    """Give the line for a batch job that is deleted."""
    if job["start_time"] is None:
        return f"Info: {DELETION}; removing job from the queue"
    return f"Info: {DELETION} with signal SIGTERM by user {by}"


def write_ends(spool: Path, jobs: Sequence[dict[str, Any]]) -> None:
    """Write into the log of every batch job that has ended how it did, once."""
    with _alone(spool):
        for job in jobs:
            mark, words = _end(job)
            if mark and mark not in read(*of(job)):
                write(*of(job), words, job["end_time"])


def _end(job: dict[str, Any]) -> tuple[str, str]:
    """Give the line for the end of a batch job, and by what one knows that it is there; empty if it has not ended."""
    match job["state"]:
        case "PENDING" | "RUNNING":
            return "", ""
        case "TIMEOUT":
            return _WALLTIME, f"Info: {_WALLTIME}; initiating job terminiation"
        case "CANCELLED" | "PREEMPTED":
            return DELETION, deletion(job, ADMINISTRATOR)
        case _:
            return _TASK, f"Info: {_TASK} {job['exit_code']}; initiating job cleanup and removal"


def _path(pattern: str, number: int) -> Path:
    return Path(pattern.replace("$jobid", str(number)))


@contextmanager
def _alone(spool: Path) -> Iterator[None]:
    """Let one program at a time write ends."""
    with (spool / "cobaltlogs.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
