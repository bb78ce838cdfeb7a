"""The link over MPI where ranks die and the others go on, on a stand-in for such an MPI; and what a head bears."""

import logging

import pytest

from hpcharvest.jumbo.links import post
from hpcharvest.jumbo.links.channel import Limits
from hpcharvest.jumbo.links.messages import Ack, Beat, Bye, Hello, Lease, Leave, NodeMessage, Told, Welcome, encode
from hpcharvest.jumbo.links.mpi import MpiHead, MpiNode
from hpcharvest.jumbo.links.post import HEAD, Kind, Post
from tests.services.mpi_standin import Failure, Module, Network

LARGE = Lease(job=1, ranges=[["x" * 100_000]])
TOLD = Told(number=1, job=1, failed=[[0, "x" * 100_000]])


class World:
    """A head and three nodes, that said Hello."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.network = Network(size=4)
        self.posts = [Post(Module(self.network, rank)) for rank in range(self.network.size)]
        self.head = MpiHead(self.posts[0], limits or Limits())
        self.nodes = [MpiNode(one, limits or Limits()) for one in self.posts[1:]]
        for number, node in enumerate(self.nodes, start=1):
            assert node.fresh()
            node.send(Hello(node=f"n{number}", life=0))
        assert len(self.heard()) == 3

    def heard(self) -> list[tuple[str, NodeMessage | None]]:
        return list(self.head.receive())


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(post, "SETTLE_S", 0.05)


def test_a_rank_that_died_is_told_once_and_the_others_go_on() -> None:
    world = World()
    world.nodes[1].send(Beat())
    world.network.kill(2)
    world.nodes[0].send(Bye())
    heard = world.heard() + world.heard()
    assert sorted(heard, key=str) == [("n1", Bye()), ("n2", Beat()), ("n2", None)]
    assert heard.index(("n2", Beat())) < heard.index(("n2", None))
    world.head.send("n2", Welcome())
    world.head.send("n3", Welcome())
    assert world.nodes[2].receive(0.0) == [Welcome()]
    assert world.heard() == []


def test_ranks_that_died_one_after_the_other_are_each_told() -> None:
    world = World()
    world.network.kill(3)
    assert world.heard() == [("n3", None)]
    world.network.kill(1)
    assert world.heard() == [("n1", None)]
    world.nodes[1].send(Bye())
    assert world.heard() == [("n2", Bye())]


def test_a_death_is_also_seen_when_something_is_sent() -> None:
    world = World()
    world.network.kill(2)
    world.head.send("n2", Welcome())
    assert world.heard() == [("n2", None)]


def test_what_was_on_its_way_to_one_that_died_is_forgotten() -> None:
    world = World()
    world.head.send("n2", LARGE)
    assert world.posts[HEAD].unsent(2) > 100_000
    world.network.kill(2)
    assert world.heard() == [("n2", None)]
    assert world.posts[HEAD].unsent(2) == 0


def test_the_nodes_of_a_head_that_died_know_and_wait_for_nothing() -> None:
    world = World()
    world.network.kill(HEAD)
    for node in world.nodes:
        assert node.receive(0.0) == []
        assert not node.connected
        assert not node.fresh()
        assert node.next_event() == float("inf")
        node.send(Beat())
        node.close()


def test_the_death_of_another_node_is_nothing_to_a_node() -> None:
    world = World()
    world.network.kill(2)
    world.head.send("n1", Welcome())
    node = world.nodes[0]
    assert [*node.receive(0.0), *node.receive(0.01)] == [Welcome()]
    assert node.connected


def test_any_other_failure_of_mpi_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()

    def broken(**_about: object) -> None:
        raise Failure(16)

    monkeypatch.setattr(world.posts[HEAD]._comm, "Improbe", broken)
    with pytest.raises(Failure, match="16"):
        world.head.receive()


def test_a_large_message_keeps_its_place_and_holds_nobody() -> None:
    world = World()
    for message in (Beat(), TOLD, Bye()):
        world.nodes[0].send(message)
    world.nodes[1].send(Bye())
    heard = world.heard()
    assert [said for node, said in heard if node == "n1"] == [Beat(), TOLD, Bye()]
    assert ("n2", Bye()) in heard


def test_a_node_that_takes_nothing_is_hung_up_on_in_the_end_and_comes_again() -> None:
    world = World(Limits(unsent_bytes=250_000))
    for _ in range(5):
        world.head.send("n1", LARGE)
    assert world.heard() == [("n1", None)]
    node = world.nodes[0]
    node.send(Beat())
    assert node.receive(0.0) == [LARGE] * 3
    assert node.fresh()
    node.send(Hello(node="n1", life=0))
    assert world.heard() == [("n1", Hello(node="n1", life=0))]


def test_a_head_that_takes_nothing_hears_no_more_than_the_limit() -> None:
    world = World(Limits(unsent_bytes=250_000))
    for _ in range(10):
        world.nodes[0].send(TOLD)
    assert world.posts[1].unsent(HEAD) < 400_000
    assert world.heard() == [("n1", TOLD)] * 3


@pytest.mark.parametrize("said", [b"nonsense", encode(Welcome()), encode(Hello(node="n7", life=0))])
def test_a_node_that_speaks_nonsense_is_hung_up_on(said: bytes, caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.posts[1].send(HEAD, Kind.MESSAGE, said)
    world.nodes[0].send(Beat())
    with caplog.at_level(logging.WARNING):
        assert world.heard() == [("n1", None)]
    assert "hanging up on rank 1, n1" in caplog.text
    world.nodes[0].receive(0.0)
    assert world.nodes[0].fresh()


def test_an_older_rank_of_a_node_is_void() -> None:
    world = World()
    world.posts[3].send(HEAD, Kind.DROPPED)
    assert world.heard() == [("n3", None)]
    world.nodes[2].send(Hello(node="n1", life=1))
    world.nodes[0].send(Beat())
    assert set(map(str, world.heard())) >= {str(("n1", Hello(node="n1", life=1)))}
    world.head.send("n1", Ack(number=1))
    assert world.nodes[0].receive(0.0) == []
    assert not world.nodes[0].connected
    world.nodes[0].send(Beat())
    assert world.heard() == []


def test_what_no_head_says_is_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.posts[HEAD].send(1, Kind.MESSAGE, b"nonsense")
    world.head.send("n1", Welcome())
    with caplog.at_level(logging.WARNING):
        assert world.nodes[0].receive(0.0) == [Welcome()]
    assert "passed over" in caplog.text


def test_looks_come_less_often_while_nothing_comes() -> None:
    world, now, pauses = World(), 0.0, list[float]()
    node = world.nodes[0]
    for _ in range(6):
        node.receive(now)
        pauses.append(node.next_event() - now)
        now = node.next_event()
    assert pauses == pytest.approx([0.001, 0.002, 0.004, 0.008, 0.01, 0.01])
    world.head.send("n1", Welcome())
    node.receive(now)
    assert node.next_event() - now == pytest.approx(0.001)
    assert (node.fileno(), world.head.fileno()) == (-1, -1)


@pytest.mark.usefixtures("quick")
def test_ends_wait_for_each_other_but_not_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    for node in world.nodes[:2]:
        node.close()
    assert sorted(world.heard()) == [("n1", None), ("n2", None)]
    world.network.kill(3)
    caplog.clear()
    with caplog.at_level(logging.WARNING, "hpcharvest.jumbo.links.post"):
        world.head.close()
    assert "on their way" not in caplog.text
    with caplog.at_level(logging.WARNING, "hpcharvest.jumbo.links.post"):
        World().head.close()
    assert "on their way" in caplog.text


def test_a_node_may_hear_a_last_word_when_its_head_is_gone() -> None:
    network = Network(size=2)
    head, node = (Post(Module(network, rank)) for rank in range(2))
    word = Leave(reason="it is gone", left_s=0.0)
    link = MpiNode(node, gone=word)
    head.end(1)
    assert link.receive(0.0) == [word]
    assert link.receive(0.0) == []
