"""The runner's first process where event ranges are done: it starts the head, and the next head if one is killed.

The nodes' processes outlive a head: they go on with what they have, and come back to the next one.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Final

from hpcharvest.jumbo.bell import LEAVE_SIGNALS
from hpcharvest.messenger.protocol import ExitCode

log = logging.getLogger(__name__)

MOST_HEADS: Final = 8
"""A head that is killed so often in one allocation is killed for a reason that stays."""


FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 15.0
"""Between two heads, where the first ended by itself: its storage may not have played. One that was killed is followed
at once."""


class Supervisor:
    """Runs heads, one after another, each in a process of its own."""

    def __init__(self, run: Callable[[int], ExitCode]) -> None:
        self._run = run
        self._head = 0
        self._asked: signal.Signals | None = None

    def supervise(self) -> ExitCode:
        """Give what the last head exits with. `run` is called in each head's process, with its number from 0."""
        for number in LEAVE_SIGNALS:
            signal.signal(number, self._hand_on)
        for life in range(MOST_HEADS):
            code = self._one(life)
            if code in set(ExitCode):
                return ExitCode(code)
            how = f"was killed by signal {-code}" if code < 0 else "broke"
            log.error("head %s %s; the nodes go on, and wait for the next", life, how)
            if code > 0:
                self._rest(min(FIRST_PAUSE_S * 2**life, LONGEST_PAUSE_S))
        return ExitCode.UNPUBLISHED

    def _one(self, life: int) -> int:
        """Run one head; give its exit code, negative for a signal."""
        # What is heard between the fork and the head's own bell must wait, or it would be heard by nobody.
        signal.pthread_sigmask(signal.SIG_BLOCK, LEAVE_SIGNALS)
        self._head = os.fork()
        if not self._head:
            self._be_head(life)
        if self._asked:  # while there was no head to hear it
            os.kill(self._head, self._asked)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, LEAVE_SIGNALS)
        _, status = os.waitpid(self._head, 0)
        self._head = 0
        return os.waitstatus_to_exitcode(status)

    def _rest(self, seconds: float) -> None:
        """Wait, unless somebody wants us to leave."""
        end = time.monotonic() + seconds
        while not self._asked and time.monotonic() < end:
            time.sleep(0.1)

    def _be_head(self, life: int) -> None:
        code = 1
        try:
            code = self._run(life)
        except BaseException:
            log.exception("the head broke in a way that nobody foresaw")
        finally:
            logging.shutdown()
            os._exit(code)  # what is above us on the stack is the supervisor's

    def _hand_on(self, number: int, _frame: FrameType | None) -> None:
        self._asked = signal.Signals(number)
        if self._head:
            with contextlib.suppress(ProcessLookupError):  # it just ended, and the next hears of it
                os.kill(self._head, number)
