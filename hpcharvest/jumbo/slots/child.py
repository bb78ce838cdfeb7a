"""A process of a slot: started in a session of its own, asked to stop, killed, reaped."""

from __future__ import annotations

import math
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from hpcharvest.jumbo import kin


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How a process ended."""

    code: int
    """As in subprocess: negative for a signal."""
    cpu_s: float


class _Look:
    """The processes there were at a moment, so that all that are stopped in one turn of the loop share one look."""

    def __init__(self) -> None:
        self._now = math.nan
        self._table: kin.Table | None = None

    def at(self, now: float) -> kin.Table:
        """Give the processes of this moment."""
        if self._table is None or now != self._now:
            self._now, self._table = now, kin.Table()
        return self._table


_LOOK: Final = _Look()


class Child:
    """One process, and all that it brings about."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        mark: str,
        environment: Mapping[str, str],
        folder: str,
        stdin: int = subprocess.DEVNULL,
        stdout: int,
        stderr: int,
    ) -> None:
        """Start it. OSError, ValueError: there is none."""
        self.mark = mark
        self.stopped = False
        """Whether somebody asked it to stop: what it says afterwards is not to be believed."""
        self._kill_at = math.inf
        self._process = subprocess.Popen(
            argv,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            cwd=folder,
            env={**environment, kin.MARK_VARIABLE: mark},
            close_fds=False,  # ours are all close-on-exec; so vfork(2) is used
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    @property
    def next_event(self) -> float:
        """Steady seconds when `serve` is to be called although nothing happened."""
        return self._kill_at

    def stop(self, now: float, grace_s: float) -> None:
        """Ask it to stop; what is still there after the grace is killed by `end`."""
        if not self.stopped:
            self.stopped = True
            self._kill_at = now + grace_s
            self._signal(signal.SIGTERM, now)

    def end(self, now: float) -> End | None:
        """Bury it, with what it left in its process group; None: it still runs."""
        if now >= self._kill_at:
            self._kill_at = math.inf
            self._signal(signal.SIGKILL, now)
        if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return None
        kin.end_group(self.pid)
        _, status, usage = os.wait4(self.pid, 0)
        self._process.returncode = os.waitstatus_to_exitcode(status)
        return End(code=self._process.returncode, cpu_s=usage.ru_utime + usage.ru_stime)

    def _signal(self, number: signal.Signals, now: float) -> None:
        kin.send(_LOOK.at(now).family({self.pid}, [self.mark]), number)
