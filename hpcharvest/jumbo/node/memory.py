"""What the kernel says about memory: of processes, of the node, and whom it killed for want of it.

Source: proc(5), and the kernel's pages on cgroups. What cannot be read is not known, and tells nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")
CGROUPS: Final = Path("/sys/fs/cgroup")
_PSS: Final = re.compile(rb"^Pss:\s+(\d+) kB", re.MULTILINE)
_OOM_KILL: Final = re.compile(rb"^oom_kill (\d+)$", re.MULTILINE)
_MEMINFO: Final = re.compile(rb"^(MemTotal|MemAvailable):\s+(\d+) kB", re.MULTILINE)


def pss_mb(pids: Iterable[int], proc: Path = PROC) -> float:
    """Add up what processes have in memory, in MB; what they share is divided among those who share it."""
    found = (_PSS.search(_read(proc / f"{pid}" / "smaps_rollup")) for pid in pids)
    return sum(int(one[1]) for one in found if one) / 1024


def node_mb(proc: Path = PROC) -> dict[str, float]:
    """Give the node's memory, and what is still to be had of it, in MB."""
    names = {b"MemTotal": "memory_mb", b"MemAvailable": "memory_available_mb"}
    return {names[name]: int(size) / 1024 for name, size in _MEMINFO.findall(_read(proc / "meminfo"))}


def oom_kills(proc: Path = PROC, cgroups: Path = CGROUPS) -> int:
    """Count the processes that the kernel killed for want of memory: on this node, and in our control group.

    The node's own count has those of all groups since Linux 4.13; inside of a container it may not be seen.
    """
    here = _OOM_KILL.search(_read(proc / "vmstat"))
    path = next((line[3:] for line in _read(proc / "self" / "cgroup").split(b"\n") if line.startswith(b"0::")), b"/")
    ours = _OOM_KILL.search(_read(cgroups / path.decode(errors="replace").strip("/") / "memory.events"))
    return sum(int(one[1]) for one in (here, ours) if one)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
