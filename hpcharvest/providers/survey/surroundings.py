"""What can be seen from here: the only module of the survey that touches the machine, and all of it can be given."""

from __future__ import annotations

import grp
import os
import platform
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hpcharvest.clock import Clock, SystemClock
from hpcharvest.providers.batch import BatchSystem
from hpcharvest.providers.capacity.look import Ask, user_name
from hpcharvest.providers.local import LocalDialect

_ROUTES = Path("/proc/net/route")
_PER_MINUTE = 60.0


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """A machine, as a user who is logged in sees it."""

    environ: Mapping[str, str]
    which: Callable[[str], str | None]
    """Finds a program in PATH."""
    ask: Ask
    """Runs a command line that changes nothing."""
    writable: Callable[[Path], bool]
    """Tells whether this is a folder that we may write to."""
    routes: str = ""
    """The kernel's table of routes; empty: not known."""
    user: str = ""
    groups: tuple[str, ...] = ()
    """The user's groups by name: at some centres they are the projects."""
    host: str = ""
    cores: int = 1
    """Of this machine, which is not one of the nodes."""
    python: Path = field(default_factory=lambda: Path(sys.executable))
    clock: Clock = field(default_factory=SystemClock)


def here() -> Surroundings:
    """Give this very machine."""
    # A dialect that is never spoken: which one it is will only be known when programs have been asked.
    programs = BatchSystem(LocalDialect(()), per_minute=_PER_MINUTE)
    return Surroundings(
        environ=os.environ,
        which=shutil.which,
        ask=programs.ask,
        writable=lambda folder: folder.is_dir() and os.access(folder, os.W_OK | os.X_OK),
        routes=_read(_ROUTES),
        user=user_name(),
        groups=_groups(),
        host=platform.node().partition(".")[0],
        cores=os.cpu_count() or 1,
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _groups() -> tuple[str, ...]:
    names = []
    for number in os.getgroups():
        try:
            names.append(grp.getgrgid(number).gr_name)
        except KeyError:
            continue
    return tuple(names)
