"""A head, nodes and strangers in one process, over TCP."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

from hpcharvest.clock import SystemClock
from hpcharvest.jumbo.links.channel import Limits
from hpcharvest.jumbo.links.handshake import Visit
from hpcharvest.jumbo.links.notice import read
from hpcharvest.jumbo.links.sockets import SocketHead, SocketNode
from tests.services.link_ends import AtHead, AtNode, until


class World:
    """A head, and whoever wants to speak to it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "link.json"
        self.ends: list[SocketHead | SocketNode | socket.socket] = []

    def head(self, incarnation: int = 0, limits: Limits | None = None, nodes: int = 8) -> AtHead:
        clock = SystemClock()
        link = SocketHead(
            self.path, host="127.0.0.1", incarnation=incarnation, nodes=nodes, clock=clock, limits=limits or Limits()
        )
        self.ends.append(link)
        return AtHead(link)

    def node(self, name: str = "n1", limits: Limits | None = None) -> AtNode:
        link = SocketNode(self.path, limits=limits or Limits())
        self.ends.append(link)
        return AtNode(link, name)

    def stranger(self) -> socket.socket:
        notice = read(self.path)
        connection = socket.create_connection((notice.host, notice.port), timeout=20.0)
        self.ends.append(connection)
        return connection

    def member(self, head: AtHead) -> socket.socket:
        """Give a connection that has proven itself, and may say what it likes."""
        connection = self.stranger()
        head.turn()
        visit = Visit(read(self.path).key)
        connection.sendall((visit.hear(line_of(connection)) or b"") + b"\n")
        head.turn()
        assert visit.hear(line_of(connection)) is None
        return connection

    def together(self, head: AtHead, *nodes: AtNode, true: Callable[[], object]) -> None:
        def turn() -> None:
            for node in nodes:
                node.turn()
            head.turn()

        until(true, turn, "both", head.heard)


def line_of(connection: socket.socket) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        piece = connection.recv(1)
        assert piece, f"hung up after {line!r}"
        line += piece
    return line[:-1]


def is_hung_up_on(connection: socket.socket, head: AtHead) -> bool:
    """Tell whether nothing more comes from the head, once it has had its turns."""
    for _ in range(3):
        head.turn()
    try:
        while connection.recv(4096):
            pass
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False
    return True
