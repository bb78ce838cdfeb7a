"""Ends what payloads left behind outside of their process groups: known by the mark that they inherited."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Mapping
from typing import Final

from hpcharvest.jumbo import kin

PASSES: Final = 5
"""A process may have started another while one looked."""


class Sweep:
    """The marks of one node's payloads, in one life of its agent. A mark is `tag/restart/ranges/node/life.serial`."""

    def __init__(self, tag: str, restart: int, node: str, life: int) -> None:
        self.tag = tag
        self._node = node
        self._start = f"{kin.node_mark(tag, restart)}/{node}/{life}"
        self._serial = itertools.count(1)
        self._alive: set[str] = set()

    def next_mark(self) -> str:
        """Give a process a mark of its own."""
        mark = f"{self._start}.{next(self._serial)}"
        self._alive.add(mark)
        return mark

    def bury(self, mark: str) -> None:
        """Learn that a process ended."""
        self._alive.discard(mark)

    def of_this_node(self, marks: Mapping[int, str]) -> dict[int, str]:
        """Choose this node's payloads, of any life, among live processes with their marks."""
        return {pid: mark for pid, mark in marks.items() if mark.split("/")[2:-1] == ["ranges", self._node]}

    def sweep(self, marks: Mapping[int, str]) -> int:
        """Kill what is of this node's payloads, and whose first process ended; tell how many."""
        left = self._left(marks)
        if left:  # some may only just have ended, by themselves
            left &= self._left(kin.marks_of(self.tag))
            kin.send(left, signal.SIGKILL)
        return len(left)

    def end_all(self) -> int:
        """Kill every process of this node's payloads, also those that are started meanwhile; tell how many."""
        self._alive.clear()
        ended = 0
        for _ in range(PASSES):
            found = self.sweep(kin.marks_of(self.tag))
            ended += found
            if not found:
                break
        return ended

    def _left(self, marks: Mapping[int, str]) -> set[int]:
        return {pid for pid, mark in self.of_this_node(marks).items() if mark not in self._alive}
