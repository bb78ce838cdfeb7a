"""The head's side: a desk, a link and a pen, as the runner has them, and nothing else."""

from __future__ import annotations

import math
import select
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from hpcharvest.clock import SystemClock
from hpcharvest.errors import HarvestError
from hpcharvest.jumbo.desk import Desk
from hpcharvest.jumbo.links.sockets import SocketHead
from hpcharvest.jumbo.pen import Pen
from hpcharvest.jumbo.placement import Room
from hpcharvest.messenger.mailbox import Mailbox
from hpcharvest.messenger.protocol import Record, RunnerStarted
from hpcharvest.messenger.ranges import LINK, ArchiveClosed, EventTask, PayloadKind
from hpcharvest.model.ids import Attempt, JobId

JOB: Final = JobId(1)
SLOTS: Final = 256
FLUSH_S: Final = 0.2
LIMIT_S: Final = 300.0
STATUS: Final = Path("/proc/self/status")


def names(nodes: int) -> list[str]:
    """Name the nodes."""
    return [f"n{number}" for number in range(nodes)]


def run(folder: Path, nodes: int, ranges: int) -> dict[str, float]:
    """Serve until all ranges are in archives that the journal has; give the figures. HarvestError: it takes too long.

    The first lease waits until all nodes are there, so that their start is not counted.
    """
    task = EventTask(job=JOB, attempt=Attempt(1), kind=PayloadKind.COMMAND, argv=("true",), folder=str(folder))
    rush = Loop(folder, task, names(nodes), SLOTS, takes_over=True)
    while rush.archived < ranges or rush.pen.due is not None:
        rush.turn()
    ended = time.monotonic()
    spent = time.process_time() - rush.cpu_at_start_s
    rush.desk.leave("all is done", 5.0)
    while not rush.desk.gone(time.monotonic()):
        rush.turn()
    return {"seconds": ended - rush.began, "cpu_s": spent, "peak_rss_mb": _peak_mb()}


class Loop:
    """What a head does at each turn."""

    def __init__(
        self, folder: Path, task: EventTask, nodes: list[str], slots: int, *, takes_over: bool = False
    ) -> None:
        clock = SystemClock()
        mailbox = Mailbox(folder)
        self.link = SocketHead(folder / LINK, host="127.0.0.1", incarnation=0, nodes=len(nodes), clock=clock)
        self.pen = Pen(mailbox.journal, restart=0, flush_s=FLUSH_S)
        started = RunnerStarted(at=clock.wall(), batch_id="1", nodes=tuple(nodes), restart=0)
        self.pen.take_start(started)
        self.archived = 0
        self.began = math.inf
        self.cpu_at_start_s = 0.0
        self._nodes = nodes
        self._limit = time.monotonic() + LIMIT_S
        self.desk = Desk(
            (task,),
            nodes,
            self.link,
            mailbox.read_feed,
            self._say,
            salvage=_nothing,
            heartbeat_s=60.0,
            wall=clock.wall,
            now=time.monotonic(),
            published=lambda: self.pen.due is None,
            takes_over=takes_over,
        )
        self.desk.offer([Room(slots * task.cores, math.inf)] * len(nodes))
        self._poll = select.poll()
        self._poll.register(self.link.fileno(), select.POLLIN)

    def turn(self, until: float = math.inf) -> None:
        """Do what the runner's loop does, and wait for more, at the longest until then."""
        now = time.monotonic()
        if now > self._limit:
            raise HarvestError(f"only {self.archived} ranges were archived within {LIMIT_S:g} s")
        if self.pen.due is not None and now >= self.pen.due:
            self.pen.flush(now)
        self.desk.tick(now)
        if math.isinf(self.began) and all(self.desk.is_there(node) for node in self._nodes):
            self.began = now
            self.cpu_at_start_s = time.process_time()
        due = min(self.desk.next_event(), self.pen.due or math.inf, until)
        self._poll.poll(max(0.0, due - time.monotonic()) * 1000)

    def _say(self, record: Record) -> None:
        self.pen.add(record, time.monotonic())
        if isinstance(record, ArchiveClosed):
            self.archived += len(record.ranges)


def _nothing(_node: str, _life: int) -> Sequence[Record]:
    return ()


def _peak_mb() -> float:
    for line in STATUS.read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0
