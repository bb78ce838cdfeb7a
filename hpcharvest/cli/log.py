"""The log of a running controller: one line each, UTC, readable by its owner alone."""

from __future__ import annotations

import logging
import os
import time
from io import TextIOWrapper
from logging.handlers import WatchedFileHandler
from pathlib import Path

from hpcharvest.cli.plain import plain
from hpcharvest.errors import ConfigurationError

FORMAT = "%(asctime)s %(levelname)-5s %(message)s"
DATE = "%Y-%m-%dT%H:%M:%SZ"
LOOK_S = 1.0
"""Seconds after which it is looked again whether the file was moved away."""


class LineFormatter(logging.Formatter):
    """Writes `2026-11-21T02:03:04Z INFO  message`; what was said elsewhere cannot begin a line of its own."""

    converter = staticmethod(time.gmtime)

    def __init__(self) -> None:
        super().__init__(FORMAT, DATE)
        self._worded = (-1, "")
        """The last second that was worded, and its words."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - logging's name
        """Word the record's second; of the many lines that a second may have, for the first one only."""
        second = int(record.created)
        known, words = self._worded
        if second != known:
            words = super().formatTime(record, datefmt)
            self._worded = (second, words)
        return words

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Write the line; a traceback, which follows it, stays as it is."""
        return plain(super().formatMessage(record))


class PrivateFile(WatchedFileHandler):
    """Appends to a file of mode 0600, made anew within a second when somebody has moved it away."""

    next_look = 0.0
    """By the steady clock."""

    def reopenIfNeeded(self) -> None:  # noqa: N802 - logging's name
        """Look at the file once a second: before each of some thousand lines a second it would cost as much as they."""
        now = time.monotonic()
        if now >= self.next_look:
            self.next_look = now + LOOK_S
            super().reopenIfNeeded()

    def _open(self) -> TextIOWrapper:
        file = os.open(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return os.fdopen(file, "a", encoding="utf-8", errors="backslashreplace")


def set_up(file: Path | None, level: str) -> None:
    """Send our log lines from `level` on, and the warnings of everybody else, to `file` or to stderr.

    Raises ConfigurationError if the file cannot be opened.
    """
    try:
        handler: logging.Handler = PrivateFile(file) if file else logging.StreamHandler()
    except OSError as error:
        raise ConfigurationError(f"the log file {file} cannot be opened: {error.strerror}") from error
    handler.setFormatter(LineFormatter())
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False  # no line of ours names them
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("hpcharvest").setLevel(level)
