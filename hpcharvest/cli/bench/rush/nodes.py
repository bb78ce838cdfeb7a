"""The nodes' side: they lease ranges, note them in a file that is flushed to the disk, tell of them, and are heard.

They do nothing else: their outputs are empty. All are in one process, each with its own link and file.
"""

from __future__ import annotations

import json
import os
import select
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from hpcharvest.cli.bench.rush.head import JOB, names
from hpcharvest.jumbo.links.messages import Ack, Archived, Ask, Bye, HeadMessage, Hello, Lease, Leave, Row, Stop, Told
from hpcharvest.jumbo.links.sockets import SocketNode
from hpcharvest.messenger.ranges import LINK, NODES

ARCHIVE: Final = 5_000
"""Ranges in an archive."""
PAUSE_S: Final = 0.05
"""Links want to connect although nothing rings."""


class _Node:
    def __init__(self, folder: Path, name: str, batch: int) -> None:
        self.name = name
        self.link = SocketNode(folder / LINK)
        self.left = False
        self._stopping = False
        self._batch = batch
        self._spool = os.open(folder / NODES / f"{name}.0.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._number = 0
        self._archives = 0
        self._told: deque[tuple[int, list[Row]]] = deque()
        self._heard: list[Row] = []
        self._leased: list[Row] = []

    def turn(self, now: float) -> None:
        """Take what came, and answer."""
        messages = self.link.receive(now)
        if self.link.fresh():
            self.link.send(Hello(node=self.name, life=0))
            self.link.send(Ask(job=JOB, want=2 * self._batch))  # one is on its way while another is done
        for message in messages:
            self._take(message)
        if self._stopping and not self._told and not self._leased:
            self._close()

    def _take(self, message: HeadMessage) -> None:
        match message:
            case Lease(ranges=rows):
                self._leased += rows
                self.link.send(Ask(job=JOB, want=self._batch))
            case Ack(number=number):
                while self._told and self._told[0][0] <= number:
                    self._heard += self._told.popleft()[1]
                if len(self._heard) >= ARCHIVE:
                    self._close()
            case Leave():
                self.link.send(Bye())
                self.left = True
            case Stop():
                self._stopping = True

    def write(self) -> int | None:
        """Write down what was done, batch by batch; give the file that is to be flushed, if there was anything."""
        for first in range(0, len(self._leased), self._batch):
            done = [[row[0], 0.0, 0.0] for row in self._leased[first : first + self._batch]]
            os.write(self._spool, json.dumps(done, separators=(",", ":")).encode("ascii") + b"\n")
        return self._spool if self._leased else None

    def tell(self) -> None:
        """Tell of what is durable, batch by batch."""
        rows, self._leased = self._leased, []
        for first in range(0, len(rows), self._batch):
            self._number += 1
            batch = rows[first : first + self._batch]
            self._told.append((self._number, batch))
            self.link.send(Told(number=self._number, job=JOB, done=[[row[0], 0.0, 0.0] for row in batch]))

    def _close(self) -> None:
        """Say that an archive is closed, of all that was acknowledged."""
        if not self._heard:
            return
        self._number += 1
        self._archives += 1
        ranges: list[Row] = [[row[0], row[1], 0.0, 0.0] for row in self._heard]
        name = f"{self.name}.{self._archives}.tar"
        self.link.send(
            Archived(number=self._number, job=JOB, name=name, size=len(ranges), adler32="00000001", ranges=ranges)
        )
        self._heard = []


def run(folder: Path, nodes: int, batch: int) -> None:
    """Be so many nodes, which ask for twice as many ranges as a batch has, until the head lets all go.

    Their files are flushed side by side, as on nodes of their own.
    """
    found = [_Node(folder, name, batch) for name in names(nodes)]
    poll = select.epoll()
    for node in found:
        poll.register(node.link.fileno(), select.EPOLLIN)
    with ThreadPoolExecutor(nodes) as flushers:
        while not all(node.left for node in found):
            poll.poll(PAUSE_S)
            now = time.monotonic()
            for node in found:
                node.turn(now)
            for _ in flushers.map(os.fsync, [spool for node in found if (spool := node.write()) is not None]):
                pass
            for node in found:
                node.tell()
