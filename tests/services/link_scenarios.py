"""What every link must do, as a head and some nodes see it: each scenario is a function for either end.

    python -m tests.services.link_scenarios sockets SCENARIO PATH HEAD | NUMBER
    mpiexec -n NODES+1 python -m tests.services.link_scenarios mpi SCENARIO

A process that fails its part says why, and ends with another exit code than 0. Nodes are named n1, n2 …;
HEAD is the head's incarnation with an h before it.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from hpcharvest.clock import SystemClock
from hpcharvest.jumbo.links import mpi
from hpcharvest.jumbo.links.messages import (
    Ack,
    Archived,
    Ask,
    Beat,
    Bye,
    HeadMessage,
    Hello,
    Lease,
    Leave,
    NodeMessage,
    Recall,
    Slots,
    Stop,
    Told,
    Welcome,
)
from hpcharvest.jumbo.links.sockets import SocketHead, SocketNode
from tests.services.link_ends import AtHead, AtNode

NUMBERS: Final = 1000
FROM_HEAD: Final[list[HeadMessage]] = [
    Welcome(left_s=12.5),
    Slots(job=1, count=3, gpus=5),
    Lease(job=1, ranges=[[0, "1-2-3-4-5", 1, 9, "0"]], files={"0": ["lfn \u00e9\n", "guid", "scope"]}),
    Ack(number=7, void={"1": [3, 4]}),
    Recall(job=1, indices=[1]),
    Stop(job=1, reason="enough"),
    Leave(reason="the end is near", left_s=3.0),
]
FROM_NODE: Final[list[NodeMessage]] = [
    Ask(job=1, want=64),
    Told(number=1, job=1, done=[[0, 1.5, 2.5]], failed=[[1, "exit code 1"]], back=[2, 3]),
    Archived(number=2, job=1, name="a.tar", size=3, adler32="00000001", ranges=[[0, "1-2-3-4-5", 1.5, 2.5]]),
    Beat(facts={"pss_mb": 12.0}),
    Bye(reason="all is told"),
]
LARGE: Final = Lease(job=1, ranges=[[index, f"{index:<90}", 1, 9, "0"] for index in range(5000)])


def head_in_order(head: AtHead) -> None:
    answered = 0

    def answer_all() -> bool:
        nonlocal answered
        for node, said in head.heard[answered:]:
            if isinstance(said, Told):
                head.link.send(node, Ack(number=said.number))
        answered = len(head.heard)
        return sum(said is None for _, said in head.heard) == 2

    head.until(answer_all, "the end of both nodes")
    for node in ("n1", "n2"):
        hello, *told, gone = head.of(node)
        assert isinstance(hello, Hello)
        assert [said.number for said in told if isinstance(said, Told)] == list(range(NUMBERS))
        assert gone is None


def node_in_order(node: AtNode) -> None:
    node.until(lambda: node.greeted, "a head")
    assert not node.link.fresh()
    assert node.link.connected
    for number in range(NUMBERS):
        node.link.send(Told(number=number, job=1))
    node.until_heard(NUMBERS)
    assert [said.number for said in node.heard if isinstance(said, Ack)] == list(range(NUMBERS))


def head_every_kind(head: AtHead) -> None:
    head.until_here("n1")
    for message in FROM_HEAD:
        head.link.send("n1", message)
    head.until_gone("n1")
    assert head.of("n1")[1:-1] == FROM_NODE


def node_every_kind(node: AtNode) -> None:
    node.until_heard(len(FROM_HEAD))
    assert node.heard == FROM_HEAD
    for message in FROM_NODE:
        node.link.send(message)


def head_before_hello(head: AtHead) -> None:
    head.until_gone("n1")
    assert head.heard == [("n1", Hello(node="n1", life=3)), ("n1", Bye()), ("n1", None)]


def node_before_hello(node: AtNode) -> None:
    node.polite = False
    node.until(node.link.fresh, "a head")
    node.link.send(Ask(job=1, want=1))
    node.link.send(Beat())
    node.link.send(Hello(node="n1", life=3))
    node.link.send(Bye())


def head_slow_node(head: AtHead) -> None:
    head.until_here("n1", "n2")
    for _ in range(20):
        head.link.send("n1", LARGE)
    for number in range(100):
        head.link.send("n2", Ack(number=number))
        head.until(partial(head.has, "n2", Told(number=number, job=1)), f"number {number}")
    assert len(head.of("n1")) == 1, "the slow node was not slow"
    head.until_gone("n1", "n2")
    assert head.of("n1")[1] == Told(number=20, job=1)


def node_slow_node(node: AtNode) -> None:
    node.until(lambda: node.greeted, "a head")
    if node.name == "n1":
        time.sleep(3.0)
        node.until_heard(20)
        assert node.heard == [LARGE] * 20
        node.link.send(Told(number=20, job=1))
        return
    for number in range(100):
        node.until_heard(number + 1)
        node.link.send(Told(number=number, job=1))


def head_nobody(head: AtHead) -> None:
    head.link.send("n9", Welcome())
    head.link.drop("n9")
    head.until_gone("n1")
    head.link.send("n1", Welcome())
    head.turn()
    assert [said for _, said in head.heard].count(None) == 1


def node_nobody(node: AtNode) -> None:
    node.until(lambda: node.greeted, "a head")


def head_drop(head: AtHead) -> None:
    head.until_here("n1", "n2")
    head.until(lambda: len(head.of("n1")) > 3, "some beats")
    head.link.drop("n1")
    before = len(head.of("n1"))
    head.until(lambda: len(head.of("n1")) > before + 3, "n1 again")
    assert isinstance(head.of("n1")[before], Hello), "something came from a node that had been dropped"
    for node in ("n1", "n2"):
        head.link.send(node, Leave(reason="", left_s=0.0))
    head.until_gone("n1", "n2")
    assert head.of("n1").count(None) == 1


def node_drop(node: AtNode) -> None:
    def beat() -> bool:
        node.link.send(Beat())
        time.sleep(0.01)
        return bool(node.heard)

    node.until(beat, "leave to go")
    assert node.greeted == (2 if node.name == "n1" else 1)


def head_closes(head: AtHead) -> None:
    head.until_here("n1", "n2")
    head.link.send("n1", LARGE)
    head.link.send("n2", Leave(reason="", left_s=0.0))


def node_closes(node: AtNode) -> None:
    node.until(lambda: node.greeted and not node.link.connected, "the end")
    assert len(node.heard) == 1, "what was said last did not get here"
    node.link.send(Beat())
    assert not node.link.fresh()


def head_node_goes(head: AtHead) -> None:
    head.until_here("n1")
    for _ in range(20):
        head.link.send("n1", LARGE)
    head.until_gone("n1")


def node_node_goes(node: AtNode) -> None:
    node.until(lambda: node.greeted, "a head")


def head_head_goes(head: AtHead) -> None:
    head.until_here("n1", "n2")


def node_head_goes(node: AtNode) -> None:
    node.until(lambda: node.greeted, "a head")
    for number in range(20):
        node.link.send(Told(number=number, job=1, failed=LARGE.ranges))
    node.until(lambda: not node.link.connected, "the end")


def head_killed(head: AtHead) -> None:
    head.until_here("n1", "n2")
    head.link.send("n1", Leave(reason="", left_s=0.0))
    head.until_gone("n1")
    head.link.send("n2", Leave(reason="", left_s=0.0))
    head.until_gone("n2")
    assert head.of("n2")[1:] == [Bye(), None]


def node_killed(node: AtNode) -> None:
    node.until_heard(1)
    if node.name == "n1":
        os.kill(os.getpid(), signal.SIGKILL)
    node.link.send(Bye())


def head_serves(head: AtHead) -> None:
    while True:
        head.heard.clear()
        head.turn()
        for node, said in head.heard:
            if isinstance(said, Told):
                head.link.send(node, Ack(number=said.number))


def node_serves(node: AtNode) -> None:
    while True:
        node.turn()


@dataclass(frozen=True, kw_only=True)
class Scenario:
    head: Callable[[AtHead], None]
    node: Callable[[AtNode], None]
    nodes: int


SCENARIOS: Final = {
    "what is said comes in order": Scenario(head=head_in_order, node=node_in_order, nodes=2),
    "every kind of message comes as it was said": Scenario(head=head_every_kind, node=node_every_kind, nodes=1),
    "what comes before Hello is dropped": Scenario(head=head_before_hello, node=node_before_hello, nodes=1),
    "a slow node does not hold the others": Scenario(head=head_slow_node, node=node_slow_node, nodes=2),
    "to a node that is gone nothing happens": Scenario(head=head_nobody, node=node_nobody, nodes=1),
    "a node that was dropped comes again": Scenario(head=head_drop, node=node_drop, nodes=2),
    "what the head said last comes, and its end is seen": Scenario(head=head_closes, node=node_closes, nodes=2),
    "a node may go while much is on its way to it": Scenario(head=head_node_goes, node=node_node_goes, nodes=1),
    "the head may go while much is on its way to it": Scenario(head=head_head_goes, node=node_head_goes, nodes=2),
}
KILLED: Final = Scenario(head=head_killed, node=node_killed, nodes=2)
"""Not for an MPI without ULFM, which ends all when one ends."""
ENDLESS: Final = Scenario(head=head_serves, node=node_serves, nodes=8)
"""Each end may be had alone, to be stopped and killed."""
OTHERS: Final = {"killed": KILLED, "endless": ENDLESS}


def _play(scenario: Scenario, number: int, link: SocketHead | SocketNode | mpi.MpiHead | mpi.MpiNode) -> None:
    if isinstance(link, SocketHead | mpi.MpiHead):
        scenario.head(AtHead(link))
    else:
        scenario.node(AtNode(link, f"n{number}"))
    link.close()


def main(kind: str, name: str, *more: str) -> int:
    logging.basicConfig(format="%(asctime)s %(process)s %(levelname)s %(name)s: %(message)s", level=logging.INFO)
    scenario = {**SCENARIOS, **OTHERS}[name]
    if kind == "mpi":
        return _play_over_mpi(scenario)
    path, role = Path(more[0]), more[1]
    if role.startswith("h"):
        clock, incarnation = SystemClock(), int(role[1:])
        head = SocketHead(path, host="127.0.0.1", incarnation=incarnation, nodes=scenario.nodes, clock=clock)
        _play(scenario, 0, head)
    else:
        _play(scenario, int(role), SocketNode(path))
    return 0


def _play_over_mpi(scenario: Scenario) -> int:
    from mpi4py import MPI  # type: ignore[import-untyped, unused-ignore]  # some versions bring types

    try:
        _play(scenario, MPI.COMM_WORLD.Get_rank(), mpi.join())
    except BaseException:
        traceback.print_exc()
        MPI.COMM_WORLD.Abort(1)
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
