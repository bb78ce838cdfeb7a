"""The ends of a link over TCP as processes of their own, also where there is no network at all.

unshare --net python -m tests.services.link_programs scenario NAME FOLDER
unshare --net python -m tests.services.link_programs vanish FOLDER
"""

from __future__ import annotations

import contextlib
import fcntl
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from hpcharvest.jumbo.links.channel import Limits
from tests.services.link_scenarios import SCENARIOS
from tests.services.link_world import World

PROGRAM = [sys.executable, "-m", "tests.services.link_scenarios"]
ROOT = Path(__file__).parents[2]
PATIENCE_S = 120.0
GET_FLAGS, SET_FLAGS, UP = 0x8913, 0x8914, 1
"""Of network interfaces: netdevice(7)."""


@contextlib.contextmanager
def running(name: str, path: Path, *roles: str) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Have processes play their parts of a scenario; they are killed in the end."""
    processes = [subprocess.Popen([*PROGRAM, "sockets", name, str(path), role], cwd=ROOT) for role in roles]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def over_sockets(name: str, nodes: int, folder: Path) -> list[int]:
    """Play a scenario in processes of its own; give their exit codes, the head's first."""
    with running(name, folder / "link.json", "h0", *map(str, range(1, nodes + 1))) as processes:
        return [process.wait(PATIENCE_S) for process in processes]


def set_loopback(*, up: bool) -> None:
    """Switch loopback on or off; OSError: we may not."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16sH14x", fcntl.ioctl(any_socket, GET_FLAGS, request))[1]
        fcntl.ioctl(any_socket, SET_FLAGS, struct.pack("16sH14x", b"lo", flags | UP if up else flags & ~UP))


def _scenario(name: str, folder: str) -> None:
    """Play a scenario where no address but our own can be reached."""
    set_loopback(up=True)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        try:
            any_socket.connect(("192.0.2.1", 9))
        except OSError:
            codes = over_sockets(name, SCENARIOS[name].nodes, Path(folder))
            assert set(codes) == {0}, codes
            return
    raise AssertionError("there is a route")


def _vanish(folder: str) -> None:
    """Let the network go away under a link, without a word to either end; both have to find out."""
    set_loopback(up=True)
    world, limits = World(Path(folder)), Limits(silence_s=3.0)
    head, node = world.head(limits=limits), world.node(limits=limits)
    world.together(head, node, true=lambda: head.heard)
    set_loopback(up=False)
    head.until_gone("n1")
    node.until(lambda: not node.link.connected, "the end")
    set_loopback(up=True)
    world.together(head, node, true=lambda: node.greeted == 2 and head.heard[-1][1] is not None)


if __name__ == "__main__":
    if sys.argv[1] == "vanish":
        _vanish(sys.argv[2])
    else:
        _scenario(*sys.argv[2:])
