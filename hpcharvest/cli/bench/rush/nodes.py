"""The nodes' side: they lease ranges, note them in a file that is flushed to the disk, tell of them, and are heard.

They do nothing else: their outputs are empty. All are in one process, each with its own link and file.
"""

from __future__ import annotations

import json
import os
import select
import time
from collections import deque
from pathlib import Path
from typing import Final

from hpcharvest.cli.bench.rush.head import JOB, names
from hpcharvest.jumbo.links.messages import Ack, Archived, Ask, Bye, HeadMessage, Hello, Lease, Leave, Row, Stop, Told
from hpcharvest.jumbo.links.sockets import SocketNode
from hpcharvest.messenger.ranges import LINK, NODES

ARCHIVE: Final = 5_000
"""Ranges in an archive."""


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
        self._tell()
        if self._stopping and not self._told:
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

    def _tell(self) -> None:
        """Make durable what was done, and tell of it, batch by batch."""
        rows, self._leased = self._leased, []
        if not rows:
            return
        done: list[Row] = [[row[0], 0.0, 0.0] for row in rows]
        for first in range(0, len(done), self._batch):
            line = json.dumps(done[first : first + self._batch], separators=(",", ":"))
            os.write(self._spool, line.encode("ascii") + b"\n")
        os.fsync(self._spool)
        for first in range(0, len(done), self._batch):
            self._number += 1
            batch = done[first : first + self._batch]
            self._told.append((self._number, rows[first : first + self._batch]))
            self.link.send(Told(number=self._number, job=JOB, done=batch))

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
    """Be so many nodes, which ask for twice as many ranges as a batch has, until the head lets all go."""
    found = {node.link.fileno(): node for node in (_Node(folder, name, batch) for name in names(nodes))}
    poll = select.epoll()
    for fileno in found:
        poll.register(fileno, select.EPOLLIN)
    while not all(node.left for node in found.values()):
        poll.poll(0.05)
        now = time.monotonic()
        for node in found.values():
            node.turn(now)
