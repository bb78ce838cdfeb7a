"""Where the daemon is found and what goes over the socket: one JSON line each way. Light, for a fast command line."""

from __future__ import annotations

import os
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SOCKET_NAME = "socket"
MAX_REQUEST_BYTES = 64 * 1024 * 1024


@contextmanager
def address(spool: Path) -> Iterator[str]:
    """Give an address for the socket in a spool folder that is short however long the folder's path is.

    A UNIX address has at most 107 bytes; it goes through a descriptor of the folder. FileNotFoundError or
    NotADirectoryError if there is no such folder.
    """
    folder = os.open(spool, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{SOCKET_NAME}"
    finally:
        os.close(folder)


def listen(spool: Path) -> socket.socket:
    """Open the listening socket of the daemon that holds the spool's lock, in place of what an earlier one left."""
    (spool / SOCKET_NAME).unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    with address(spool) as where:
        listener.bind(where)
    listener.listen(512)
    return listener


def connect(spool: Path, timeout_s: float) -> socket.socket:
    """Connect to the daemon; OSError if there is none."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(timeout_s)
    try:
        with address(spool) as where:
            connection.connect(where)
    except OSError:
        connection.close()
        raise
    return connection
