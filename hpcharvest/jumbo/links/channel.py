"""A TCP connection that never blocks: lines in, lines out, and what the other end has not taken yet."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from dataclasses import dataclass
from typing import Final

from hpcharvest.jumbo.links.framing import Lines

log = logging.getLogger(__name__)

READ_BYTES: Final = 65_536
"""Taken from one connection before the others have their turn."""
LAST_READS: Final = 64
"""How often something is taken from one that is hung up on, which may go on and on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is borne from the other end of a connection."""

    line_bytes: int = 64_000_000
    """A longer line is nonsense."""
    unsent_bytes: int = 16_000_000
    """When so much was not taken, and there is more to say, it is hung up on."""
    greeting_s: float = 20.0
    """Seconds to prove itself and, for a node, to say Hello."""
    silence_s: float = 60.0
    """Seconds after which a host that answers nothing at all, not even the kernel's probes, is gone."""


class Channel:
    """One connection. What goes wrong with it is found by `receive`, whose descriptor then becomes readable."""

    def __init__(self, connection: socket.socket, limits: Limits, longest: int) -> None:
        self._socket = connection
        self._unsent = bytearray()
        self._unsent_bytes = limits.unsent_bytes
        self._broken = False
        self.lines = Lines(longest)
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _find_dead_hosts(connection, limits.silence_s)

    def fileno(self) -> int:
        """Give the connection's descriptor."""
        return self._socket.fileno()

    @property
    def waits(self) -> bool:
        """Whether there is something that could not be sent yet: `flush` when the descriptor is writable."""
        return bool(self._unsent)

    def receive(self) -> list[bytes] | None:
        """Take the lines that came, if any; None: the other end is gone. MessageNotUnderstood: a line is too long."""
        try:
            piece = self._socket.recv(READ_BYTES if self.lines.limit > READ_BYTES else self.lines.limit + 1)
        except (BlockingIOError, InterruptedError):
            return []
        except OSError as error:
            log.debug("a connection broke: %s", error)
            return None
        return self.lines.feed(piece) if piece else None

    def send(self, line: bytes) -> None:
        """Send a line, without its end, as soon as it is taken."""
        if len(self._unsent) > self._unsent_bytes:
            log.warning("hanging up on one that left %s bytes where they were", len(self._unsent))
            self._break()
        if self._broken:
            return
        waited = self.waits
        self._unsent += line
        self._unsent += b"\n"
        if not waited:
            self.flush()

    def flush(self) -> None:
        """Send on what was not taken."""
        try:
            sent = self._socket.send(self._unsent) if self._unsent else 0
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            log.debug("a connection broke: %s", error)
            self._break()
            return
        del self._unsent[:sent]

    def close(self) -> None:
        """Hang up, after a last try to send what is left."""
        self.flush()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
            # Were something left unread, the kernel would reset the connection, and what we said last might be lost.
            for _ in range(LAST_READS):
                if not self._socket.recv(READ_BYTES):
                    break
        self._socket.close()

    def forget(self) -> None:
        """Close our descriptor, and nothing else: for a forked child, whose parent goes on."""
        self._socket.close()

    def failure(self) -> str:
        """Tell why a connection could not be made; empty: it is made, and not with ourselves.

        A kernel may join a socket to itself when it looks for a port on its own host where nobody listens.
        """
        number = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            return os.strerror(number)
        try:
            met_itself = self._socket.getpeername() == self._socket.getsockname()
        except OSError as error:
            return str(error)
        return "nobody is there" if met_itself else ""

    def _break(self) -> None:
        self._broken = True
        self._unsent.clear()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)


def _find_dead_hosts(connection: socket.socket, silence_s: float) -> None:
    """Have the kernel look whether the other host is there: after a half of `silence_s`, then three times more."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    options = {
        socket.TCP_KEEPIDLE: max(1, round(silence_s / 2)),
        socket.TCP_KEEPINTVL: max(1, round(silence_s / 6)),
        socket.TCP_KEEPCNT: 3,
        socket.TCP_USER_TIMEOUT: round(silence_s * 1000),
    }
    for option, value in options.items():
        connection.setsockopt(socket.IPPROTO_TCP, option, value)
