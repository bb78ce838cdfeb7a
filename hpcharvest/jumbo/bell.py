"""What wakes the runner's loop: the end of a child, a signal to leave, or the clock.

Signals and not pidfds: pidfd_open(2) came with Linux 5.3, and the kernels of many centres are older.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Collection, Iterator
from types import FrameType, TracebackType
from typing import Final, Self

LEAVE_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
"""What batch systems send as a warning before the end."""


class Bell:
    """A context in which signals wake `wait`. In the main thread, and once in a process."""

    def __init__(self) -> None:
        self.asked_to_leave: signal.Signals | None = None
        self._ear, self._mouth = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._ear, select.POLLIN)
        self._others: set[int] = set()

    def __enter__(self) -> Self:
        signal.set_wakeup_fd(self._mouth, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _nothing)
        for number in LEAVE_SIGNALS:
            signal.signal(number, self._hear)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, LEAVE_SIGNALS)  # who started us may have kept them for us
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        deafen()
        os.close(self._ear)
        os.close(self._mouth)

    def listen(self, filenos: Collection[int]) -> None:
        """Let `wait` return also when one of these descriptors, and no others beside the bell's own, can be read."""
        wanted = set(filenos)
        for fileno in self._others - wanted:
            self._poll.unregister(fileno)
        for fileno in wanted - self._others:
            self._poll.register(fileno, select.POLLIN)
        self._others = wanted

    def wait(self, seconds: float) -> None:
        """Return after `seconds`, or earlier if something happened."""
        if any(fileno == self._ear for fileno, _ in self._poll.poll(max(0.0, seconds) * 1000)):
            os.read(self._ear, 4096)

    def _hear(self, number: int, _frame: FrameType | None) -> None:
        self.asked_to_leave = signal.Signals(number)


def deafen() -> None:
    """Let signals do again what they do by default; also for a forked child."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, *LEAVE_SIGNALS):
        signal.signal(number, signal.SIG_DFL)


def ended_children() -> Iterator[int]:
    """Give the children that ended. Each must be reaped before the next is asked for."""
    while True:
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if found is None:
            return
        yield found.si_pid


def _nothing(_number: int, _frame: FrameType | None) -> None:
    """Hear the signal: only one that has a handler wakes the loop."""
