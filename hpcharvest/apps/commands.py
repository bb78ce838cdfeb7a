"""The commands of container engines: with time limits, no shell, and an end when the controller leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass

from hpcharvest.apps.containers import Words
from hpcharvest.errors import ImageUnavailable

LONGEST_WORDS = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """How a command ended, and what it said."""

    code: int
    """Negative for a signal."""
    out: str
    err: str

    @property
    def last(self) -> str:
        """Its last line, errors first: a sentence for people."""
        lines = [line.strip() for line in (self.err.strip() or self.out.strip()).splitlines()]
        return (lines[-1] if lines else f"exit code {self.code} without a word")[:LONGEST_WORDS]


class Commands:
    """Runs engines' commands, until it is told to give up. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: set[subprocess.Popen[str]] = set()
        self._given_up = False

    def run(self, argv: Words, timeout_s: float) -> Said:
        """Give what a command said. Raises ImageUnavailable, or CancelledError if it was given up."""
        try:
            process = self._started(argv)
        except OSError as error:
            raise ImageUnavailable(f"{argv[0]}, which knows the images, cannot be run: {error.strerror}") from error
        with process:
            try:
                out, err = process.communicate(timeout=timeout_s)
            except subprocess.TimeoutExpired as error:
                raise ImageUnavailable(f"{argv[0]} was not done with the image within {timeout_s:g} s") from error
            finally:
                with self._lock:
                    self._under_way.discard(process)
                    _end(process, signal.SIGKILL)
        if self._given_up:
            raise CancelledError
        return Said(code=process.returncode, out=out, err=err)

    def give_up(self) -> None:
        """End what is under way, and begin nothing more: an image may take an hour, and we are to leave."""
        with self._lock:
            self._given_up = True
            for process in self._under_way:
                _end(process, signal.SIGTERM)

    def _started(self, argv: Words) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        with self._lock:
            if self._given_up:
                raise CancelledError
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=pipe,
                stderr=pipe,
                text=True,
                errors="replace",
                process_group=0,  # engines have helpers, which must end with them
            )
            self._under_way.add(process)
        return process


def _end(process: subprocess.Popen[str], number: signal.Signals) -> None:
    """Send a signal to a process that was not reaped, and to its helpers."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
