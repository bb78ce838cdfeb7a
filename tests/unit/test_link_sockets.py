"""The link over TCP with both ends in one process: what nodes and heads may do to each other."""

import contextlib
import logging
import os
import resource
import socket
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from hpcharvest.clock import ManualClock
from hpcharvest.errors import StorageUnavailable
from hpcharvest.jumbo.links.channel import Limits
from hpcharvest.jumbo.links.messages import Ack, Beat, Bye, Hello, Lease, Told, Welcome, encode
from hpcharvest.jumbo.links.notice import Notice, post
from hpcharvest.jumbo.links.socket_node import LOOK_S
from hpcharvest.jumbo.links.sockets import SocketHead, SocketNode
from tests.services.link_world import World, is_hung_up_on, line_of

LARGE = Lease(job=1, ranges=[["x" * 100_000]])


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    for end in made.ends:
        end.close()


def test_one_that_hangs_up_half_is_gone(world: World) -> None:
    head = world.head()
    member = world.member(head)
    member.sendall(encode(Hello(node="n1", life=0)) + b"\n" + encode(Bye())[:10])
    member.shutdown(socket.SHUT_WR)
    head.until_gone("n1")
    assert head.heard == [("n1", Hello(node="n1", life=0)), ("n1", None)]


@pytest.mark.parametrize(
    "said", [b"nonsense", b"{}", b'{"kind": "fly"}', encode(Welcome()), b'{"kind":"hello","node":[],"life":0}']
)
def test_a_node_that_speaks_nonsense_is_gone(said: bytes, world: World, caplog: pytest.LogCaptureFixture) -> None:
    head = world.head()
    member = world.member(head)
    member.sendall(encode(Hello(node="n1", life=0)) + b"\n" + said + b"\n" + encode(Bye()) + b"\n")
    with caplog.at_level(logging.WARNING):
        head.until_gone("n1")
    assert head.heard == [("n1", Hello(node="n1", life=0)), ("n1", None)]
    assert is_hung_up_on(member, head)
    assert "hanging up on n1" in caplog.text


def test_a_line_without_an_end_is_not_kept_for_ever(world: World) -> None:
    head = world.head(limits=Limits(line_bytes=10_000))
    member = world.member(head)
    member.sendall(encode(Hello(node="n1", life=0)) + b"\n" + b"x" * 20_000)
    head.until_gone("n1")


def test_an_older_connection_of_a_node_is_void_and_its_end_is_not_told(world: World) -> None:
    head = world.head()
    first, second = world.member(head), world.member(head)
    first.sendall(encode(Hello(node="n1", life=0)) + b"\n")
    head.until_here("n1")
    second.sendall(encode(Hello(node="n1", life=1)) + b"\n")
    head.until(lambda: len(head.heard) == 2, "Hello")
    assert is_hung_up_on(first, head)
    head.link.send("n1", Ack(number=3))
    assert line_of(second) == encode(Ack(number=3))
    assert head.heard == [("n1", Hello(node="n1", life=0)), ("n1", Hello(node="n1", life=1))]


def test_a_hello_that_comes_late_on_an_older_connection_does_not_void_the_newer_one(world: World) -> None:
    head = world.head()
    first, second = world.member(head), world.member(head)
    second.sendall(encode(Hello(node="n1", life=1)) + b"\n")
    head.until_here("n1")
    first.sendall(encode(Hello(node="n1", life=0)) + b"\n")
    assert is_hung_up_on(first, head)
    assert head.heard == [("n1", Hello(node="n1", life=1))]


def test_what_a_node_does_not_take_is_kept_up_to_a_limit(world: World) -> None:
    head = world.head(limits=Limits(unsent_bytes=1_000_000))
    member = world.member(head)
    member.sendall(encode(Hello(node="n1", life=0)) + b"\n")
    head.until_here("n1")
    for _ in range(500):
        head.link.send("n1", LARGE)
    head.until_gone("n1")
    head.link.send("n1", LARGE)
    assert head.heard[1:] == [("n1", None)]


def test_what_a_head_does_not_take_ends_the_connection_in_the_end(world: World) -> None:
    head, node = world.head(), world.node(limits=Limits(unsent_bytes=1_000_000))
    world.together(head, node, true=lambda: head.heard)
    told = Told(number=1, job=1, failed=[[0, "x" * 100_000]])
    for _ in range(500):
        node.link.send(told)
    node.until(lambda: not node.link.connected, "the end")
    world.together(head, node, true=lambda: node.greeted == 2 and head.heard[-1] == ("n1", Hello(node="n1", life=0)))


def test_a_forked_child_keeps_no_connection_open(world: World) -> None:
    before = inodes()
    head, node = world.head(), world.node()
    world.together(head, node, true=lambda: head.heard)
    opened = inodes() - before
    assert len(opened) == 3, "where the head listens, and both ends of the connection"
    child = os.fork()
    if child == 0:
        os._exit(len(opened & inodes()))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    node.link.send(Bye())
    world.together(head, node, true=lambda: head.has("n1", Bye()))


def inodes() -> set[int]:
    """Give what tells the sockets of this process from those of others."""
    paths = list(Path("/proc/self/fd").iterdir())
    return {path.stat().st_ino for path in paths if path.is_socket()}


def test_a_head_that_cannot_post_itself_leaves_nothing_open(tmp_path: Path) -> None:
    before = inodes()
    with pytest.raises(StorageUnavailable):
        SocketHead(tmp_path / "no" / "link.json", host="127.0.0.1", incarnation=0, nodes=1, clock=ManualClock())
    assert inodes() == before


def test_a_node_finds_the_next_head(world: World) -> None:
    head, node = world.head(), world.node()
    world.together(head, node, true=lambda: head.heard)
    head.link.close()
    node.until(lambda: not node.link.connected, "the end of the head")
    following = world.head(incarnation=1)
    world.together(following, node, true=lambda: following.heard)
    assert node.greeted == 2
    assert following.heard == [("n1", Hello(node="n1", life=0))]


def test_a_node_looks_at_the_file_system_once_a_second_at_most(tmp_path: Path) -> None:
    path = tmp_path / "link.json"
    post(path, Notice(host="255.255.255.255", port=1, incarnation=0, secret="ab" * 32))
    node, now, tries, looks = SocketNode(path, chance=lambda: 0.0), 0.0, list[float](), list[float]()
    for _ in range(12):
        os.utime(path, (0, 0))
        node.receive(now)
        tries.append(now)
        if node._looked_at == now:
            looks.append(now)
        assert node.next_event() > now
        now = node.next_event()
    node.close()
    pauses = [after - before for before, after in pairwise(tries)]
    assert pauses == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.5, 2.5, 2.5, 2.5, 2.5])
    assert all(after - before >= LOOK_S for before, after in pairwise(looks))
    assert len(looks) >= 7


def test_without_a_head_a_node_waits_and_harms_nobody(tmp_path: Path) -> None:
    node = SocketNode(tmp_path / "link.json")
    assert node.receive(10.0) == []
    node.send(Beat())
    assert not node.connected
    assert 10.0 < node.next_event() <= 10.1
    node.close()
    assert node.next_event() == float("inf")


@contextlib.contextmanager
def files_left(count: int) -> Iterator[None]:
    """Let this process open no more than so many files."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))  # noqa: PTH208  # names are wanted
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 10, before[1]))
    held: list[int] = []
    try:
        with contextlib.suppress(OSError):
            while True:
                held.append(os.open(os.devnull, os.O_RDONLY))
        for _ in range(count):
            os.close(held.pop())
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for descriptor in held:
            os.close(descriptor)


def test_strangers_make_room_when_there_are_no_files_left(world: World, caplog: pytest.LogCaptureFixture) -> None:
    head, node = world.head(), world.node()
    world.together(head, node, true=lambda: head.heard)
    _ = [world.stranger() for _ in range(20)]
    late = world.node("n2")
    late.turn()
    with files_left(3), caplog.at_level(logging.WARNING):
        node.link.send(Bye())
        world.together(head, node, true=lambda: ("n1", Bye()) in head.heard)
        world.together(head, late, true=lambda: "n2" in {name for name, _ in head.heard})
    assert "no room" in caplog.text


def test_a_head_without_any_file_left_goes_on_and_listens_again(world: World, caplog: pytest.LogCaptureFixture) -> None:
    head, node = world.head(), world.node()
    world.together(head, node, true=lambda: head.heard)
    late = world.node("n2")
    late.turn()
    with files_left(0), caplog.at_level(logging.WARNING):
        for _ in range(100):
            head.turn()
        node.link.send(Bye())
        world.together(head, node, true=lambda: ("n1", Bye()) in head.heard)
    assert 1 <= caplog.text.count("no room") <= 4, "it does not ask all the time"
    world.together(head, node, late, true=lambda: ("n2", Hello(node="n2", life=0)) in head.heard)


def test_a_dead_host_is_found_by_the_kernel(world: World) -> None:
    head, node = world.head(), world.node()
    world.together(head, node, true=lambda: head.heard)
    assert isinstance(node.link, SocketNode)
    assert isinstance(head.link, SocketHead)
    for channel in (node.link._channel, *(peer.channel for peer in head.link._peers.values())):
        assert channel is not None
        options = {name: channel._socket.getsockopt(*name) for name in KEPT}
        assert options == KEPT


KEPT = {
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE): 1,
    (socket.IPPROTO_TCP, socket.TCP_NODELAY): 1,
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE): 30,
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL): 10,
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT): 3,
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT): 60_000,
}
