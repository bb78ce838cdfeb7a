"""Ends what payloads left behind outside of their process groups: known by the mark that they inherited."""

from __future__ import annotations

import itertools
import signal

from hpcharvest.jumbo import kin
from hpcharvest.jumbo.kin import Mark
from hpcharvest.messenger.ranges import EventTask


class Sweep:
    """The marks of one node's payloads, in one life of its agent."""

    def __init__(self, tag: str, restart: int, node: str, life: int) -> None:
        self._tag, self._restart = tag, restart
        self._node, self._life = node, life
        self._serial = itertools.count(1)
        self._alive: set[str] = set()

    def next_mark(self, task: EventTask) -> Mark:
        """Give a process a mark of its own."""
        part = f"{self._node}/{self._life}.{next(self._serial)}"
        mark = Mark(self._tag, self._restart, task.job, task.attempt, part)
        self._alive.add(str(mark))
        return mark

    def bury(self, mark: Mark) -> None:
        """Learn that a process ended."""
        self._alive.discard(str(mark))

    def sweep(self) -> int:
        """Kill every process of this node's payloads, of any life, whose first process ended; tell how many."""
        found = kin.marks_of(self._tag)
        left = {pid for pid, mark in found.items() if self._is_of_this_node(mark) and mark not in self._alive}
        kin.send(left, signal.SIGKILL)
        return len(left)

    def end_all(self) -> int:
        """Kill every process of this node's payloads; tell how many."""
        self._alive.clear()
        return self.sweep()

    def _is_of_this_node(self, mark: str) -> bool:
        return mark.split("/")[3:-1] == [self._node]
