"""Finding and signalling every process of a job, wherever its launchers put it (Linux: /proc and pidfds).

A process belongs to a job if it carries the job's tag in the environment that it was started with, or is in the
session of the job's wrapper while that wrapper is still there. Nothing else is ever signalled: membership is checked
after a pidfd was opened, so that a process id which is used again meanwhile cannot be hit.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

TAG_VARIABLE = "HPCHARVEST_BATCH_TAG"

_PASSES = 40
_PASS_S = 0.005
_GONE = (FileNotFoundError, ProcessLookupError, PermissionError)


@dataclass(frozen=True, kw_only=True, slots=True)
class Stat:
    """What /proc/PID/stat says: process group, session, start in clock ticks since boot; see proc(5)."""

    group: int
    session: int
    start_ticks: int
    zombie: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Leader:
    """A process, for ever: its id and when it started, in clock ticks since boot."""

    pid: int
    start_ticks: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """All processes of one job: by the value of its tag, and by the wrapper that leads its session, if known."""

    tag: str
    leader: Leader | None = None


def stat(pid: int) -> Stat | None:
    """Read about one process; None if it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except _GONE:
        return None
    fields = text.rpartition(")")[2].split()
    return Stat(
        group=int(fields[2]), session=int(fields[3]), start_ticks=int(fields[19]), zombie=fields[0] in {"Z", "X"}
    )


def is_there(leader: Leader) -> bool:
    """Say whether this very process still holds its id, be it as a zombie."""
    found = stat(leader.pid)
    return found is not None and found.start_ticks == leader.start_ticks


def is_running(leader: Leader) -> bool:
    """Say whether this very process is there and has not ended."""
    found = stat(leader.pid)
    return found is not None and found.start_ticks == leader.start_ticks and not found.zombie


def oldest(tag: str) -> Leader | None:
    """Give the process that carries this tag and started first: the wrapper, as long as it lives."""
    found = [Leader(pid=pid, start_ticks=about.start_ticks) for pid in _pids() if (about := _tagged(pid, tag))]
    return min(found, key=lambda leader: (leader.start_ticks, leader.pid), default=None)


def signal_all(family: Family, signum: int, *, group_only: bool = False) -> int:
    """Send a signal to every process of the family, each one once; give how many there were.

    With `group_only`, only the process group of the wrapper gets it.
    """
    return sum(_signal_one(pid, family, signum, group_only=group_only) for pid in _pids())


def kill_all(family: Family) -> bool:
    """Send SIGKILL until nobody is left, also against those that fork meanwhile; False if some would not go."""
    for _ in range(_PASSES):
        if not signal_all(family, signal.SIGKILL):
            return True
        time.sleep(_PASS_S)
    return False


def kill_spool(token: str) -> None:
    """Kill whatever carries the tag of any job of one spool: the last resort when its daemon cannot do it."""
    suffix = f"+{token}"
    tags = {tag for pid in _pids() if (tag := _tag_of(pid)) and tag.endswith(suffix)}
    for tag in tags:
        kill_all(Family(tag=tag))


def _pids() -> Iterator[int]:
    me = os.getpid()
    with os.scandir("/proc") as entries:
        for entry in entries:
            if entry.name.isdigit() and int(entry.name) != me:
                yield int(entry.name)


def _tag_of(pid: int) -> str | None:
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except _GONE:
        return None
    _, found, rest = (b"\0" + environment).partition(f"\0{TAG_VARIABLE}=".encode())
    return rest.partition(b"\0")[0].decode(errors="replace") if found else None


def _tagged(pid: int, tag: str) -> Stat | None:
    about = stat(pid) if _tag_of(pid) == tag else None
    return about if about and not about.zombie else None


def _belongs(pid: int, family: Family, *, group_only: bool) -> bool:
    about = stat(pid)
    if about is None or about.zombie:
        return False
    leader = family.leader
    led = leader is not None and about.session == leader.pid and is_there(leader)
    if group_only:
        return led and leader is not None and about.group == leader.pid
    return led or _tag_of(pid) == family.tag


def _signal_one(pid: int, family: Family, signum: int, *, group_only: bool) -> bool:
    if not _belongs(pid, family, group_only=group_only):
        return False
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        if not _belongs(pid, family, group_only=group_only):
            return False
        with suppress(ProcessLookupError, PermissionError):  # it ended meanwhile, or became another user's
            signal.pidfd_send_signal(handle, signum)
    finally:
        os.close(handle)
    return True
