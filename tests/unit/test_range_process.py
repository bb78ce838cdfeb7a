"""A node's process as a whole, with a head that is made up: how it ends."""

import gc
import math
import os
import signal
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from hpcharvest.clock import SystemClock
from hpcharvest.jumbo.bell import LEAVE_SIGNALS
from hpcharvest.jumbo.links.messages import HeadMessage, Leave, NodeMessage, Slots, Welcome
from hpcharvest.jumbo.node.process import Process
from hpcharvest.jumbo.surroundings import Surroundings
from hpcharvest.messenger.protocol import Manifest
from hpcharvest.messenger.ranges import ARCHIVES, NODES, PayloadKind
from hpcharvest.model.ids import AllocationId
from tests.services.range_slots import JOB, event_task


class Impatient:
    """A link to a head that says Leave, in the middle of a payload's life; then the batch system ends what is left."""

    connected = True

    def __init__(self) -> None:
        self.turns = 0

    def fileno(self) -> int:
        return -1

    def receive(self, now: float) -> Sequence[HeadMessage]:  # noqa: ARG002  # others go by it
        self.turns += 1
        if self.turns == 1:
            return [Welcome(), Slots(job=JOB, count=1)]
        return [Leave(reason="the end", left_s=0.0)] if self.turns == 5 else []

    def fresh(self) -> bool:
        return self.turns == 1

    def next_event(self) -> float:
        return -math.inf

    def send(self, message: NodeMessage) -> None:
        pass

    def close(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture
def _handlers() -> Iterator[None]:
    kept = {number: signal.getsignal(number) for number in (signal.SIGCHLD, *LEAVE_SIGNALS)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("_handlers")
def test_a_signal_does_not_end_a_process_that_is_tidying_up(tmp_path: Path) -> None:
    for name in (ARCHIVES, NODES, "scratch"):
        (tmp_path / name).mkdir()
    task = event_task(tmp_path, "true", kind=PayloadKind.SERVICE)
    manifest = Manifest(
        allocation=AllocationId(1),
        tag="process-of-a-test",
        cores_per_node=1,
        tasks=(),
        event_tasks=(task,),
        heartbeat_s=0.1,
        kill_grace_s=0.1,
    )
    where = Surroundings(nodes=("n1",), virtual=True)
    link = Impatient()
    Process(tmp_path, manifest, where, "n1", 0, link=link, environment={}, clock=SystemClock()).run()
    assert link.turns >= 5
    assert not list((tmp_path / "scratch").iterdir())
    with warnings.catch_warnings():  # its sockets and children end with a process, which this one is not
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
