"""The link over TCP among processes that are killed and stopped, with many nodes, and without a network."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from hpcharvest.jumbo.links.channel import Limits
from hpcharvest.jumbo.links.messages import Ack, Beat, HeadMessage, Hello, Lease, Told, Welcome
from tests.services.link_ends import AtNode, until
from tests.services.link_programs import PATIENCE_S, ROOT, running
from tests.services.link_scenarios import SCENARIOS
from tests.services.link_world import World

MANY = 1000


def all_heard(nodes: list[AtNode], message: HeadMessage) -> bool:
    return all(message in node.heard for node in nodes)


def test_nodes_find_the_head_that_follows_one_that_was_killed(tmp_path: Path) -> None:
    world = World(tmp_path)
    nodes = [world.node(f"n{number}") for number in range(4)]

    def turn() -> None:
        for node in nodes:
            node.turn()

    for incarnation in range(3):
        with running("endless", world.path, f"h{incarnation}") as (head,):
            until(lambda: all(node.link.connected for node in nodes), turn, "the head", [])
            for node in nodes:
                node.link.send(Told(number=incarnation, job=1))
            answered = partial(all_heard, nodes, Ack(number=incarnation))
            until(answered, turn, "its answers", [])
            os.kill(head.pid, signal.SIGKILL)
            until(lambda: not any(node.link.connected for node in nodes), turn, "its end", [])
    assert [node.greeted for node in nodes] == [3] * 4
    for node in nodes:
        node.link.close()


def test_a_node_that_is_stopped_holds_nobody_and_comes_again_when_it_goes_on(tmp_path: Path) -> None:
    world = World(tmp_path)
    head, other = world.head(limits=Limits(unsent_bytes=1_000_000)), world.node("other")
    with running("endless", world.path, "1") as (stopped,):
        world.together(head, other, true=lambda: {"n1", "other"} <= {node for node, _ in head.heard})
        os.kill(stopped.pid, signal.SIGSTOP)
        large, longest = Lease(job=1, ranges=[["x" * 100_000]]), 0.0
        for number in range(300):
            begin = time.monotonic()
            head.link.send("n1", large)
            head.link.send("other", Ack(number=number))
            longest = max(longest, time.monotonic() - begin)
        world.together(head, other, true=lambda: len(other.heard) == 300)
        assert longest < 1.0, "it waited for the node that was stopped"
        head.until_gone("n1")
        assert head.has("other", Hello(node="other", life=0))
        os.kill(stopped.pid, signal.SIGCONT)
        head.until(lambda: head.of("n1")[-1] == Hello(node="n1", life=0), "the node that goes on")
    for end in world.ends:
        end.close()


def test_a_thousand_nodes_connect_at_once(tmp_path: Path) -> None:
    world = World(tmp_path)
    head = world.head(nodes=3 * MANY)
    nodes = [world.node(f"n{number}") for number in range(MANY)]
    begin = time.monotonic()
    for node in nodes:
        node.link.receive(begin)
    answered = 0

    def turn() -> None:
        nonlocal answered
        head.heard += head.link.receive()
        for name, _ in head.heard[answered:]:
            head.link.send(name, Welcome(left_s=1.0))
        answered = len(head.heard)
        for node in nodes:
            node.heard += node.link.receive(time.monotonic())
            if node.link.fresh():
                node.link.send(Hello(node=node.name, life=0))

    until(lambda: all(node.heard for node in nodes), turn, "a thousand", head.heard)
    assert len(head.heard) == MANY, "some had to come twice"
    assert {name for name, _ in head.heard} == {node.name for node in nodes}
    for node in nodes[::2]:
        node.link.close()
    for node in nodes[1::2]:
        node.link.send(Beat())
    head.until(lambda: len(head.heard) == 2 * MANY, "all the others")
    assert all(said is None for name, said in head.heard[MANY:] if int(name[1:]) % 2 == 0)
    for end in world.ends:
        end.close()


def alone(*words: str) -> int:
    """Run one of the programs where there is no network but loopback; give its exit code."""
    argv = ["unshare", "--net", sys.executable, "-m", "tests.services.link_programs", *words]
    return subprocess.run(argv, cwd=ROOT, timeout=PATIENCE_S, check=False).returncode


@pytest.mark.needs("netns")
@pytest.mark.parametrize("name", ["what is said comes in order", "a node that was dropped comes again"])
def test_nothing_but_the_links_own_address_is_needed(name: str, tmp_path: Path) -> None:
    assert name in SCENARIOS
    assert alone("scenario", name, str(tmp_path)) == 0


@pytest.mark.needs("netns")
def test_both_ends_find_out_that_the_other_host_is_gone(tmp_path: Path) -> None:
    assert alone("vanish", str(tmp_path)) == 0
