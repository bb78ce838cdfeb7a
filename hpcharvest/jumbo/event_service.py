"""All that the head does about event ranges: its desk, the link to its nodes, and the processes on them."""

from __future__ import annotations

import logging
import math
import socket
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from hpcharvest.clock import Clock
from hpcharvest.errors import ConfigurationError
from hpcharvest.jumbo.agents import Agents
from hpcharvest.jumbo.desk import Desk
from hpcharvest.jumbo.links.address import LOOPBACK
from hpcharvest.jumbo.links.both import BothHead
from hpcharvest.jumbo.links.link import HeadLink
from hpcharvest.jumbo.links.sockets import SocketHead, of_head
from hpcharvest.jumbo.pen import Pen
from hpcharvest.jumbo.placement import Room
from hpcharvest.jumbo.salvage import salvage
from hpcharvest.jumbo.surroundings import Surroundings
from hpcharvest.messenger.mailbox import Mailbox
from hpcharvest.messenger.protocol import Manifest, Record, kill_name
from hpcharvest.messenger.ranges import LINK, ArchiveClosed

log = logging.getLogger(__name__)

FOR_PAYLOADS: Final = 0.75
"""The share of its last seconds after which a node is to be gone; the rest is for those that are late."""
HEADS_A_START: Final = 1000
"""No start of a batch job has as many heads."""


class NoEventService:
    """In an allocation that has no event-service job: nothing."""

    def begin(self, now: float) -> None:
        """Start."""

    def give(self, rooms: Sequence[Room]) -> None:
        """Take over room, node by node, for good."""

    def filenos(self) -> Collection[int]:
        """Give descriptors that become readable when there is something to do."""
        return ()

    def next_event(self) -> float:
        """Say when `tick` is to be called although nothing happened; infinity: never."""
        return math.inf

    def tick(self, now: float) -> None:
        """Do what is due."""

    def bury(self, pid: int, now: float) -> bool:
        """Take note of a child that ended and is not reaped; False: it is none of these."""
        del pid, now
        return False

    def obey(self, notes: Collection[str]) -> None:
        """Stop the jobs that these kill notes name."""

    def leave(self, reason: str, now: float, within_s: float) -> None:
        """Let the nodes tell all and go."""

    def busy(self, now: float) -> bool:
        """Tell whether there is something to wait for."""
        del now
        return False

    def close(self) -> None:
        """Hang up."""


class EventService(NoEventService):
    """In an allocation that has event-service jobs. Times are steady seconds."""

    def __init__(
        self,
        manifest: Manifest,
        where: Surroundings,
        mailbox: Mailbox,
        pen: Pen,
        clock: Clock,
        *,
        environment: Mapping[str, str],
        life: int,
        known: Sequence[Record],
        leave_at: float,
        mpi: HeadLink | None = None,
    ) -> None:
        """`known`: what the journal says already; `mpi`: the link to all nodes but the first, if they are ranks.

        ConfigurationError: there is no address to listen at.
        """
        self._manifest, self._mailbox, self._pen, self._clock = manifest, mailbox, pen, clock
        self._takes_over = life > 0
        self._aside = ThreadPoolExecutor(max_workers=1, thread_name_prefix="salvage")
        self._told = {record.name for record in known if isinstance(record, ArchiveClosed)}
        sockets = SocketHead(
            mailbox.folder / LINK,
            host=_address(manifest, where) if mpi is None else LOOPBACK,
            incarnation=where.restart * HEADS_A_START + life,
            nodes=len(where.nodes),
            clock=clock,
        )
        self._both = None if mpi is None else BothHead(sockets, mpi)
        self._link: HeadLink = self._both or sockets
        self._look_at = math.inf
        self._desk = self._make_desk(where.nodes, known, leave_at)
        ours = where.nodes if mpi is None else where.nodes[:1]
        wanted, there = self._desk.expects, self._desk.is_there
        self._agents = Agents(mailbox.folder, manifest, where, environment, wanted=wanted, there=there, nodes=ours)
        self._rooms = [Room(0, 0)] * len(where.nodes)
        self._leave_by = math.inf

    def _make_desk(self, nodes: Sequence[str], known: Sequence[Record], leave_at: float) -> Desk:
        return Desk(
            self._manifest.event_tasks,
            nodes,
            self._link,
            self._mailbox.read_feed,
            self._say,
            salvage=self._salvage,
            heartbeat_s=self._manifest.heartbeat_s,
            wall=self._clock.wall,
            now=self._clock.steady(),
            leave_at=leave_at,
            published=lambda: self._pen.due is None,
            aside=self._aside,
            known=known,
            takes_over=self._takes_over,
        )

    def begin(self, now: float) -> None:
        """Start the nodes' processes."""
        self._agents.begin(now, takes_over=self._takes_over)

    def give(self, rooms: Sequence[Room]) -> None:
        """Take over room, node by node, for good."""
        if any(room.cores or room.gpus for room in rooms):
            self._rooms = [mine.plus(more) for mine, more in zip(self._rooms, rooms, strict=True)]
            self._desk.offer(self._rooms)

    def filenos(self) -> Collection[int]:
        """Give the link's descriptor, if it has one."""
        return () if self._both else (self._link.fileno(),)

    def next_event(self) -> float:
        """Say when something is due."""
        return min(self._desk.next_event(), self._agents.next_event(), self._leave_by, self._look_at)

    def tick(self, now: float) -> None:
        """Hear the nodes, serve them, and start again those that were lost."""
        self._desk.tick(now)
        self._look_at = now + self._both.look_s if self._both else math.inf
        self._agents.lost(self._desk.lost(), now)
        self._agents.tick(now)

    def bury(self, pid: int, now: float) -> bool:
        """Take note of the end of a node's process."""
        return self._agents.bury(pid, now)

    def obey(self, notes: Collection[str]) -> None:
        """Stop the jobs that these kill notes name."""
        for task in self._manifest.event_tasks:
            if kill_name(task.job, task.attempt) in notes:
                self._desk.stop(task.job, "the controller asked for it")

    def leave(self, reason: str, now: float, within_s: float) -> None:
        """Let the nodes tell all and go."""
        self._leave_by = now + max(within_s, 0.0)
        self._desk.leave(reason, FOR_PAYLOADS * max(within_s, 0.0))

    def busy(self, now: float) -> bool:
        """Tell whether ranges are to be done, or nodes to be waited for."""
        if math.isinf(self._leave_by):
            if self._desk.busy:
                return True
            self.leave("everything was done", now, 2 * self._manifest.kill_grace_s)
        return now < self._leave_by and not (self._desk.gone(now) and self._agents.ended)

    def close(self) -> None:
        """Hang up; whoever is still there learns that it is to go."""
        self._desk.leave("the runner is gone", 0.0)
        self._link.close()
        self._aside.shutdown(wait=False, cancel_futures=True)

    def _say(self, record: Record) -> None:
        if isinstance(record, ArchiveClosed):
            self._told.add(record.name)
        self._pen.add(record, self._clock.steady())

    def _salvage(self, node: str, life: int) -> Sequence[Record]:
        return salvage(self._mailbox.folder, node, set(self._told), life=life)


def _address(manifest: Manifest, where: Surroundings) -> str:
    """Give the address at which to listen, in digits. ConfigurationError: there is none."""
    if where.virtual or len(where.nodes) == 1 or not manifest.link_address:
        return of_head(where)
    name = manifest.link_address.replace("{node}", where.nodes[0])
    try:
        return str(socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)[0][4][0])
    except OSError as error:
        raise ConfigurationError(f"link_address means {name} on this node, which has no address: {error}") from error
