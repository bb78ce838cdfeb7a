"""The link over TCP and those who are none of ours: both ends in one process."""

import json
import logging
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcharvest.clock import ManualClock
from hpcharvest.jumbo.links.channel import Limits
from hpcharvest.jumbo.links.handshake import Challenge
from hpcharvest.jumbo.links.messages import Bye, Hello, Welcome, encode
from hpcharvest.jumbo.links.notice import Notice, post, read
from hpcharvest.jumbo.links.sockets import SocketHead, SocketNode
from tests.services.link_ends import until
from tests.services.link_world import World, is_hung_up_on, line_of


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    for end in made.ends:
        end.close()


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\n",
        b"\x00\xff" * 500,
        encode(Hello(node="n1", life=0)) + b"\n",
        b"0" * 32 + b" " + b"0" * 64 + b"\n" + encode(Hello(node="n1", life=0)) + b"\n",
    ],
)
def test_a_stranger_is_hung_up_on_and_harms_nobody(said: bytes, world: World) -> None:
    head, node = world.head(), world.node()
    world.together(head, node, true=lambda: head.heard)
    stranger = world.stranger()
    stranger.sendall(said)
    assert is_hung_up_on(stranger, head)
    node.link.send(Bye())
    world.together(head, node, true=lambda: len(head.heard) > 1)
    assert head.heard == [("n1", Hello(node="n1", life=0)), ("n1", Bye())]


def test_one_with_the_secret_of_another_head_is_a_stranger(world: World, tmp_path: Path) -> None:
    head, notice = world.head(), read(world.path)
    other = Notice(host=notice.host, port=notice.port, incarnation=0, secret="ab" * 32)
    post(tmp_path / "other.json", other)
    node = SocketNode(tmp_path / "other.json")
    world.ends.append(node)
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        head.turn()
        assert node.receive(time.monotonic()) == []
        assert not node.connected
        assert not node.fresh()
    assert head.heard == []


def test_a_node_obeys_no_stranger_that_listens_where_its_head_was(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20.0)
        port = listener.getsockname()[1]
        post(world.path, Notice(host="127.0.0.1", port=port, incarnation=0, secret="ab" * 32))
        node = world.node()
        node.turn()
        connection, _ = listener.accept()
        with connection:
            challenge = Challenge(b"another secret", 0)
            connection.sendall(challenge.opening + b"\n")
            until(lambda: _has(connection), node.turn, "an answer", node.heard)
            connection.sendall(b"f" * 64 + b"\n" + encode(Welcome()) + b"\n")
            connection.settimeout(20.0)
            said = connection.recv(4096)
            node.turn()
            assert b"n1" not in said
            assert connection.recv(4096) == b"", "it did not hang up"
    assert node.heard == []
    assert not node.link.connected


def _has(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return bool(connection.recv(4096, socket.MSG_PEEK))
    except BlockingIOError:
        return False


def test_who_says_nothing_is_hung_up_on_in_the_end(world: World) -> None:
    head = world.head(limits=Limits(greeting_s=0.3))
    silent, proven = world.stranger(), world.member(head)
    begin = time.monotonic()
    until(lambda: time.monotonic() > begin + 0.4, head.turn, "the deadline", [])
    assert is_hung_up_on(silent, head)
    assert is_hung_up_on(proven, head)
    assert head.heard == []


def test_a_node_gives_up_a_head_that_does_not_prove_itself(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        post(world.path, Notice(host="127.0.0.1", port=port, incarnation=0, secret="ab" * 32))
        node = world.node(limits=Limits(greeting_s=5.0)).link
        node.receive(100.0)
        assert node.next_event() == 105.0
        node.receive(104.9)
        assert node.next_event() == 105.0
        node.receive(105.0)
        assert 105.0 < node.next_event() < 105.3


def test_the_secret_is_never_logged(world: World, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        head, node = world.head(), world.node()
        secret = json.loads(world.path.read_text())["secret"]
        world.together(head, node, true=lambda: head.heard)
        stranger = world.stranger()
        stranger.sendall(b"who is there?\n")
        assert is_hung_up_on(stranger, head)
    assert "stranger" in caplog.text
    assert secret not in caplog.text
    assert secret not in f"{vars(node.link)} {node.link!r}"


def test_strangers_have_their_time_by_the_clock(tmp_path: Path) -> None:
    clock = ManualClock(50.0)
    path = tmp_path / "link.json"
    head = SocketHead(path, host="127.0.0.1", incarnation=0, nodes=1, clock=clock, limits=Limits(greeting_s=10.0))
    with socket.create_connection(("127.0.0.1", read(path).port)) as stranger:
        head.receive()
        clock.advance(9.9)
        head.receive()
        assert len(head._peers) == 1
        clock.advance(0.1)
        head.receive()
        assert line_of(stranger).startswith(b"hpcharvest-link 1 0 ")
        assert stranger.recv(10) == b""
    head.close()
