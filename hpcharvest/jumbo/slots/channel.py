"""The two ways to speak lines with a payload: a UNIX socket, and its own pipes. Nothing here blocks."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

log = logging.getLogger(__name__)

LONGEST_PATH: Final = 100
"""Bytes in the path of a UNIX socket: the kernel takes 107."""
LONGEST_LINE: Final = 1_000_000
MOST_UNSAID: Final = 4_000_000
"""Bytes: one that leaves so much where it is, and still asks for more, is spoken to no longer."""
_BACKLOG: Final = 64
_AT_ONCE: Final = 65_536
_READS: Final = 4
"""So often something is read before others have their turn: all that a speaker that is gone may have left behind."""


class LineChannel(Protocol):
    """Lines from and to a payload, each from a *speaker*: a connection, by its number."""

    @property
    def stdin(self) -> int:
        """What the payload is to have for its stdin."""

    @property
    def stdout(self) -> int | None:
        """What it is to have for its stdout; None: whatever one likes."""

    @property
    def variable(self) -> str:
        """What PILOT_EVENTRANGECHANNEL is to be; empty: nothing."""

    def started(self) -> None:
        """Learn that the payload was started, or could not be: its ends of pipes are not ours."""

    def receive(self) -> Sequence[tuple[int, str | None]]:
        """Take the lines that came, in order, each with its speaker; None: the speaker is gone."""

    def send(self, speaker: int, text: bytes) -> None:
        """Send as soon as the speaker takes it; to one that is gone, nothing happens."""

    @property
    def waiting(self) -> bool:
        """Whether something could not be sent yet."""

    def filenos(self) -> Sequence[int]:
        """Give the descriptors that become readable when something came."""

    def close(self) -> None:
        """Hang up."""


class _Stream:
    """Bytes in and out of a pair of descriptors that do not block."""

    def __init__(self, ear: int, mouth: int) -> None:
        self.ear, self._mouth = ear, mouth
        self._heard = bytearray()
        self.unsaid = bytearray()
        self.gone = False

    def lines(self) -> list[str]:
        """Take the whole lines that came; sets `gone` when nothing more can come."""
        for _ in range(_READS):
            try:
                fresh = b"" if self.gone else os.read(self.ear, _AT_ONCE)
            except BlockingIOError:
                break
            except OSError as error:
                log.debug("a payload's channel: %s", error)
                fresh = b""
            self.gone |= not fresh
            self._heard += fresh
        *whole, rest = self._heard.split(b"\n")
        if self.gone and rest:
            whole.append(rest)  # its last words, although it did not end the line
        self._heard = bytearray() if len(rest) > LONGEST_LINE or self.gone else bytearray(rest)
        return [bytes(line).decode(errors="replace") for line in whole if line.strip()]

    def say(self, text: bytes = b"") -> None:
        """Send what can be sent now."""
        if len(self.unsaid) > MOST_UNSAID:
            self.gone = True
            self.unsaid.clear()
        if self.gone:
            return
        self.unsaid += text
        with contextlib.suppress(BlockingIOError):
            while self.unsaid:
                try:
                    del self.unsaid[: os.write(self._mouth, self.unsaid)]
                except (BrokenPipeError, ConnectionError):
                    self.unsaid.clear()


class SocketChannel:
    """A listening UNIX socket in a folder of the node."""

    stdin = subprocess.DEVNULL
    stdout = None

    def __init__(self, folder: str, most: int = 1000) -> None:
        """Listen; to at most so many at a time. OSError: it does not work."""
        self._own, self._most = "", most
        if len(os.fsencode(folder)) > LONGEST_PATH - len("/channel"):
            folder = self._own = tempfile.mkdtemp(prefix="hpcharvest-", dir="/tmp")
        self.variable = f"{folder}/channel"
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.setblocking(False)
        self._listener.bind(self.variable)
        self._listener.listen(_BACKLOG)
        self._serial = 0
        self._speakers: dict[int, tuple[socket.socket, _Stream]] = {}

    def started(self) -> None:
        """Do nothing: the payload connects when it likes."""

    def receive(self) -> Sequence[tuple[int, str | None]]:
        """Take what came."""
        self._accept()
        found: list[tuple[int, str | None]] = []
        for number, (_, stream) in list(self._speakers.items()):
            found += ((number, line) for line in stream.lines())
            stream.say()
            if stream.gone:
                found.append((number, None))
                self._speakers.pop(number)[0].close()
        return found

    def _accept(self) -> None:
        for _ in range(_BACKLOG):
            try:
                speaker, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                log.warning("a payload's worker cannot be listened to: %s", error)
                return
            if len(self._speakers) >= self._most:
                speaker.close()
                continue
            speaker.setblocking(False)
            self._serial += 1
            self._speakers[self._serial] = speaker, _Stream(speaker.fileno(), speaker.fileno())

    def send(self, speaker: int, text: bytes) -> None:
        """Send."""
        if speaker in self._speakers:
            self._speakers[speaker][1].say(text)

    @property
    def waiting(self) -> bool:
        """Whether something could not be sent yet."""
        return any(stream.unsaid for _, stream in self._speakers.values())

    def filenos(self) -> Sequence[int]:
        """Give the listener and all connections."""
        return [self._listener.fileno(), *(stream.ear for _, stream in self._speakers.values())]

    def close(self) -> None:
        """Hang up on all, and take the socket away."""
        for speaker, _ in self._speakers.values():
            speaker.close()
        self._speakers.clear()
        self._listener.close()
        Path(self.variable).unlink(missing_ok=True)
        if self._own:
            shutil.rmtree(self._own, ignore_errors=True)


class PipeChannel:
    """The payload's stdin and stdout."""

    variable = ""

    def __init__(self) -> None:
        """Make the pipes. OSError: it does not work."""
        self.stdin, mouth = os.pipe2(os.O_CLOEXEC)
        ear, self._out = os.pipe2(os.O_CLOEXEC)
        self.stdout: int | None = self._out
        self._mouth = mouth
        for one in (ear, mouth):
            os.set_blocking(one, False)
        self._stream = _Stream(ear, mouth)
        self._open = True

    def started(self) -> None:
        """Close the payload's ends."""
        os.close(self.stdin)
        os.close(self._out)

    def receive(self) -> Sequence[tuple[int, str | None]]:
        """Take what came."""
        found: list[tuple[int, str | None]] = [(0, line) for line in self._stream.lines()]
        self._stream.say()
        return found

    def send(self, speaker: int, text: bytes) -> None:
        """Send; there is one speaker."""
        if self._open and speaker == 0:
            self._stream.say(text)

    @property
    def waiting(self) -> bool:
        """Whether something could not be sent yet."""
        return bool(self._stream.unsaid)

    def filenos(self) -> Sequence[int]:
        """Give the payload's stdout; nothing when it closed it."""
        return [] if self._stream.gone else [self._stream.ear]

    def close(self) -> None:
        """Close our ends."""
        if self._open:
            self._open = False
            os.close(self._stream.ear)
            os.close(self._mouth)
