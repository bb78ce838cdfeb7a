"""Ready event ranges, by input file: which node takes which. Pure, and compact: runs of indices, not objects.

A node keeps its file, so that it opens few; without one it takes a file that nobody works on; and only when there is
none it shares the file of which most is left.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from typing import Final

READY: Final = 1
"""What `where` says of a range that may be taken here,"""
TAKEN: Final = 2
"""and of one that was."""


class Shelves:
    """Hands out indices. `where` has a byte for each range and is the owner's: a range is ready if it says READY.

    An index whose byte has changed meanwhile is passed over, so that nothing has to be searched and taken out.
    """

    def __init__(self, where: bytearray) -> None:
        self._where = where
        self._runs: dict[int, deque[tuple[int, int]]] = {}
        self._rest: Counter[int] = Counter()
        self._fresh: dict[int, None] = {}
        self._home: dict[str, int] = {}
        self._users: Counter[int] = Counter()
        self._largest: list[tuple[int, int]] = []
        self.total = 0
        """How many are ready."""

    def add(self, file: int, first: int, stop: int, *, soon: bool = False) -> None:
        """Put a run of ready indices of one file on its shelf; `soon`: in front. Their bytes say READY already."""
        runs = self._runs.setdefault(file, deque())
        (runs.appendleft if soon else runs.append)((first, stop))
        self._rest[file] += stop - first
        self.total += stop - first
        heapq.heappush(self._largest, (-self._rest[file], file))
        if not self._users[file]:
            self._fresh[file] = None

    def withdrawn(self, file: int) -> None:
        """Hear that one ready index of this file is ready no longer: its byte has changed."""
        self._rest[file] -= 1
        self.total -= 1

    def take(self, node: str, want: int) -> list[int]:
        """Take at most `want` ready indices for a node. Their bytes say TAKEN then."""
        taken: list[int] = []
        while len(taken) < want and self.total:
            file = self._file_for(node)
            found = self._take_from(self._runs[file], want - len(taken))
            self._rest[file] -= len(found)
            self.total -= len(found)
            taken += found
        return taken

    def forget(self, node: str) -> None:
        """Let a node have no file."""
        file = self._home.pop(node, None)
        if file is None:
            return
        self._users[file] -= 1
        if not self._users[file] and self._rest[file] > 0:
            self._fresh[file] = None

    def _take_from(self, runs: deque[tuple[int, int]], want: int) -> list[int]:
        found: list[int] = []
        where = self._where
        while runs and len(found) < want:
            first, stop = runs.popleft()
            end = min(stop, first + want - len(found))
            fresh: Sequence[int] = range(first, end)
            if where.count(READY, first, end) < end - first:
                fresh = [index for index in fresh if where[index] == READY]
            for index in fresh:
                where[index] = TAKEN  # an index may lie here twice
            found += fresh
            if end < stop:
                runs.appendleft((end, stop))
        return found

    def _file_for(self, node: str) -> int:
        """Choose the file of a node; there is one, as something is ready."""
        home = self._home.get(node)
        if home is not None and self._rest[home] > 0:
            return home
        self.forget(node)
        file = self._untouched()
        if file is None:
            file = self._with_most()
        self._home[node] = file
        self._users[file] += 1
        return file

    def _untouched(self) -> int | None:
        while self._fresh:
            file = next(iter(self._fresh))
            del self._fresh[file]
            if self._rest[file] > 0 and not self._users[file]:
                return file
        return None

    def _with_most(self) -> int:
        """Find the file with the largest rest: what the heap says of a file may be out of date, and is put right."""
        while True:
            said, file = self._largest[0]
            rest = self._rest[file]
            if rest == -said:
                return file
            if rest > 0 and rest < -said:
                heapq.heapreplace(self._largest, (-rest, file))
            else:  # nothing is left, or another entry says that more is
                heapq.heappop(self._largest)


def runs(indices: Iterable[int], files: Sequence[int]) -> Iterable[tuple[int, int, int]]:
    """Put indices together to runs within one file: `(file, first, stop)`."""
    first = stop = -1
    file = -1
    for index in sorted(indices):
        if index == stop and files[index] == file:
            stop += 1
            continue
        if stop > first:
            yield file, first, stop
        first, stop, file = index, index + 1, files[index]
    if stop > first:
        yield file, first, stop
