"""A payload's process that takes event ranges by files: started, asked to end, killed, reaped."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from hpcharvest.jumbo import kin
from hpcharvest.jumbo.folder import STDERR, STDOUT


class Program:
    """A process in a session and a folder of its own. OSError, or ValueError, if it cannot be started.

    `mark`: on all its descendants, and on nothing else on this node.
    """

    def __init__(self, argv: Sequence[str], folder: str, environment: Mapping[str, str], mark: kin.Mark) -> None:
        self._mark = mark
        with (
            Path(os.devnull).open("rb") as stdin,
            Path(folder, STDOUT).open("ab") as stdout,
            Path(folder, STDERR).open("ab") as stderr,
        ):
            self._process = subprocess.Popen(
                argv,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                cwd=folder,
                env={**environment, kin.MARK_VARIABLE: str(mark)},
                close_fds=False,  # ours are all close-on-exec; so vfork(2) is used
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    def ended(self) -> int | None:
        """Give its exit code if it has ended, negative for a signal, and end what it left behind; None: it lives."""
        if self._process.returncode is not None:
            return self._process.returncode
        try:
            if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                return None
        except ChildProcessError:  # somebody else reaped it, and knows how it ended
            self._process.returncode = -signal.SIGKILL
            return self._process.returncode
        kin.end_group(self.pid)  # its number is still its own
        kin.send(kin.family((), [self._mark]), signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        self._process.returncode = os.waitstatus_to_exitcode(status)
        return self._process.returncode

    def send(self, number: signal.Signals) -> None:
        """Send a signal to it and to all that it started, if it lives."""
        if self._process.returncode is None:
            kin.send(kin.family([self.pid], [self._mark]), number)


def how(code: int) -> str:
    """Say how a payload's process ended, by its exit code."""
    return f"the payload ended with exit code {code}" if code >= 0 else f"the payload died of signal {-code}"
