"""The one class that runs a batch system's commands, in any dialect: with time limits, a token bucket, no shell."""

from __future__ import annotations

import contextlib
import logging
import stat
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from hpcharvest.clock import Clock, SystemClock
from hpcharvest.errors import BatchUnreachable, SubmissionUnknown
from hpcharvest.providers.dialect import BatchRequest, BatchStatus, Dialect, Gone, Spoken

logger = logging.getLogger(__name__)


NOT_RUN = frozenset({126, 127})
"""The exit codes of env(1) for a program that it cannot run, or that is not there."""


class TokenBucket:
    """Lets through `per_minute` commands a minute, and a few at once after a quiet time."""

    def __init__(self, per_minute: float, *, burst: int, clock: Clock) -> None:
        self._rate = per_minute / 60.0
        self._burst = float(burst)
        self._tokens = float(burst)
        self._clock = clock
        self._seen = clock.steady()
        self._lock = threading.Lock()

    def take(self) -> float:
        """Take a token; give the seconds that its owner has to wait for it first."""
        with self._lock:
            now = self._clock.steady()
            self._tokens = min(self._burst, self._tokens + (now - self._seen) * self._rate)
            self._seen = now
            self._tokens -= 1
            return max(0.0, -self._tokens / self._rate)


class BatchSystem:
    """A batch system, spoken to in its dialect. Safe to use from several threads.

    `timeout_s`: after so many seconds a command is killed, and its answer counts as lost. `environment`: variables for
    the commands, beside our own.
    """

    def __init__(
        self,
        dialect: Dialect,
        *,
        timeout_s: float = 60.0,
        per_minute: float = 30.0,
        environment: Mapping[str, str] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.dialect = dialect
        pairs = [f"{name}={value}" for name, value in (environment or {}).items()]
        self._prefix = ["env", *pairs] if pairs else []
        self._timeout_s = timeout_s
        self._bucket = TokenBucket(per_minute, burst=max(4, int(per_minute / 4)), clock=clock or SystemClock())
        self._patience = threading.Event()

    def submit(self, request: BatchRequest) -> str:
        """Submit `request.script`, which must be there; give the batch id.

        Raises SubmissionRefused, BatchFull or BatchUnreachable (certainly not submitted), or SubmissionUnknown (look
        for the tag).
        """
        argv = self.dialect.submit_argv(request)
        _make_executable(request.script)
        try:
            spoken = self._run(argv)
        except subprocess.TimeoutExpired as error:
            raise SubmissionUnknown(f"{_program(argv)} gave no answer within {self._timeout_s:g} s") from error
        batch_id = self.dialect.read_submitted(spoken)
        if not batch_id:
            raise SubmissionUnknown(f"no batch id in the answer: {(spoken.err or spoken.out).strip()!r}")
        return batch_id

    def status(self, wanted: Gone | None = None) -> Mapping[str, BatchStatus]:
        """Ask once for all batch jobs, and once more for those `wanted` that left the queue; give what was said, by id.

        Raises BatchUnreachable if the queue says nothing. If just the accounting does, those jobs stay absent.
        """
        said = dict(self.dialect.read_status(self._ask(self.dialect.status_argv())))
        gone = {number: folder for number, folder in sorted((wanted or {}).items()) if number not in said}
        question = self.dialect.accounting_argv(gone) if gone else ()
        if question:
            try:
                said |= self.dialect.read_accounting(self._ask(question))
            except BatchUnreachable as error:
                logger.warning("the accounting says nothing, and so nothing is known about jobs that left: %s", error)
        return said

    def find(self, tag: str) -> str:
        """Give the id of the batch job with this tag, of several the newest that has not ended; empty if there is none.

        One that ran and left the queue is not found, and need not be: its runner took the journal.
        """
        found = [status for status in self.status().values() if status.tag == tag]
        alive = [status for status in found if not status.state.ended]
        return (alive or found)[-1].id if found else ""

    def cancel(self, ids: Sequence[str]) -> None:
        """End these batch jobs. That one of them is gone already is no error."""
        spoken = self._ask(self.dialect.cancel_argv(ids))
        if spoken.exit_code != 0:
            logger.warning("cancelling batch jobs %s: %s", ", ".join(ids), spoken.err.strip() or spoken.exit_code)

    def ask(self, argv: Sequence[str]) -> Spoken:
        """Run a command that changes nothing; give its answer. Raises BatchUnreachable if there is none."""
        return self._ask(argv)

    def _ask(self, argv: Sequence[str]) -> Spoken:
        try:
            return self._run(argv)
        except subprocess.TimeoutExpired as error:
            raise BatchUnreachable(f"{_program(argv)} gave no answer within {self._timeout_s:g} s") from error

    def _run(self, argv: Sequence[str]) -> Spoken:
        wait = self._bucket.take()
        if wait:
            logger.info("waiting %.1f s: the site allows few batch commands a minute", wait)
            self._patience.wait(wait)
        try:
            done = subprocess.run(
                [*self._prefix, *argv],
                capture_output=True,
                timeout=self._timeout_s,
                check=False,
                stdin=subprocess.DEVNULL,
            )
        except OSError as error:
            raise BatchUnreachable(f"cannot run {argv[0]}: {error.strerror}") from error
        err = done.stderr.decode(errors="replace")
        if done.returncode in NOT_RUN and "env" in {argv[0], *self._prefix[:1]}:
            raise BatchUnreachable(f"cannot run {_program(argv)}: {err.strip()}")
        return Spoken(exit_code=done.returncode, out=done.stdout.decode(errors="replace"), err=err)


def _program(argv: Sequence[str]) -> str:
    """Give the program that is run, where `env -u NAME` is before it."""
    words = list(argv)
    while words[0] in {"env", "-u"} and len(words) > 2:
        del words[: 2 if words[0] == "-u" else 1]
    return words[0]


def _make_executable(script: Path) -> None:
    """Make a script executable, which some batch systems want; where that cannot be, theirs is the better message."""
    with contextlib.suppress(OSError):
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
