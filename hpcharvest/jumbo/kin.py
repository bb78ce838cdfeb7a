"""The processes that belong to a payload, wherever they went: its session, its descendants, and whoever bears its mark.

Source: proc(5); Linux only.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

MARK_VARIABLE: Final = "HPCHARVEST_PAYLOAD"


@dataclass(frozen=True, slots=True)
class Mark:
    """What every process of a payload carries in its environment, as `tag/restart/job.attempt`."""

    tag: str
    restart: int
    job: int
    attempt: int

    def __str__(self) -> str:
        return f"{self.tag}/{self.restart}/{self.job}.{self.attempt}"


def node_mark(tag: str, restart: int) -> str:
    """Give the mark of the process that does event ranges on a node, and of all that it starts."""
    return f"{tag}/{restart}/ranges"


class Table:
    """All live processes, as one look at /proc shows them: it costs the same for one payload and for hundreds."""

    def __init__(self) -> None:
        """Look."""
        self._children: dict[int, list[int]] = {}
        self._sessions: dict[int, list[int]] = {}
        self._bearers: dict[bytes, list[int]] = {}
        for pid, parent, session in _processes():
            self._children.setdefault(parent, []).append(pid)
            self._sessions.setdefault(session, []).append(pid)
            self._bearers.setdefault(_mark_of(pid), []).append(pid)

    def family(self, leaders: Collection[int], marks: Collection[Mark | str]) -> set[int]:
        """Find the processes of some payloads.

        `leaders` of their sessions that were not reaped yet, and the `marks` of all of them.
        """
        found: set[int] = set(leaders)
        for leader in leaders:
            found.update(self._sessions.get(leader, ()))
        for mark in marks:
            found.update(self._bearers.get(str(mark).encode(), ()))
        fresh = list(found)
        while fresh:
            fresh = [child for pid in fresh for child in self._children.get(pid, ()) if child not in found]
            found.update(fresh)
        return found - {os.getpid()}


def family(leaders: Collection[int], marks: Collection[Mark | str]) -> set[int]:
    """Find the live processes of some payloads, as `Table.family` does."""
    return Table().family(leaders, marks)


def of_this_start(tag: str, restart: int) -> set[int]:
    """Find every process on this host that this start of the batch job brought about."""
    return _bearers(f"{tag}/{restart}/")


def of_tasks(tag: str, restart: int) -> set[int]:
    """Find what `of_this_start` finds, but for the processes that do event ranges, which outlive a head."""
    return of_this_start(tag, restart) - _bearers(node_mark(tag, restart))


def of_other_starts(tag: str, restart: int) -> set[int]:
    """Find the processes on this host that another start of the same batch job left running."""
    return _bearers(f"{tag}/") - _bearers(f"{tag}/{restart}/")


def marks_of(tag: str) -> dict[int, str]:
    """Find the live processes on this host that carry a mark of this batch job; and the mark of each."""
    start = f"{tag}/".encode()
    found = ((pid, _mark_of(pid)) for pid, _, _ in _processes())
    return {pid: os.fsdecode(mark) for pid, mark in found if mark.startswith(start) and pid != os.getpid()}


def send(pids: Collection[int], number: signal.Signals) -> None:
    """Send a signal to each process that is still there."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            log.debug("process %s is gone already", pid)
        except PermissionError as error:
            log.warning("process %s cannot be ended: %s", pid, error)


def end_group(leader: int) -> None:
    """Kill what is left of a process group; to be called before its leader is reaped, while the number is its own."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except (ProcessLookupError, PermissionError) as error:
        log.debug("process group %s: %s", leader, error)


def _bearers(start: str) -> set[int]:
    wanted = start.encode()
    return {pid for pid, _, _ in _processes() if _mark_of(pid).startswith(wanted)} - {os.getpid()}


def _processes() -> Iterator[tuple[int, int, int]]:
    """Give number, parent and session of every live process."""
    with os.scandir("/proc") as entries:
        numbers = [int(entry.name) for entry in entries if entry.name.isdecimal()]
    for pid in numbers:
        _, _, rest = _read(f"/proc/{pid}/stat").rpartition(b")")
        fields = rest.split(None, 4)
        if len(fields) == 5 and fields[0] not in {b"Z", b"X"}:
            yield pid, int(fields[1]), int(fields[3])


def _mark_of(pid: int) -> bytes:
    start = f"{MARK_VARIABLE}=".encode()
    marks = (item for item in _read(f"/proc/{pid}/environ").split(b"\0") if item.startswith(start))
    return next(marks, start)[len(start) :]


def _read(path: str) -> bytes:
    """Read a file of /proc; empty if its process is gone or not ours."""
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""
