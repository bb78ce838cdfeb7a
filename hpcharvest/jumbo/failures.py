"""Event ranges whose payloads failed: where they are tried again, and when that is in vain. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

MOST_NODES: Final = 3
"""On so many nodes a range is tried."""
BLACK_HOLE: Final = 8
"""So many failures without a success, where others succeed, are the node's own."""


class Verdict(StrEnum):
    """What follows from the failures of a range."""

    AGAIN = "again"
    """It is tried on another node."""
    FAILED = "failed"
    """It is given up here; it may go well elsewhere."""
    FATAL = "fatal"
    """It fails wherever it runs."""


def judge(tried: Mapping[str, str], proven: Collection[str], able: Iterable[str]) -> Verdict:
    """Judge a range by its errors on the nodes where it was `tried`.

    `proven`: nodes that finished other ranges of its job, where a failure is not the node's; `able`: those that could
    still try one. The same error on two proven nodes is the range's own.
    """
    errors = [error for node, error in tried.items() if node in proven]
    if len(set(errors)) < len(errors):
        return Verdict.FATAL
    if len(tried) < MOST_NODES and any(node not in tried for node in able):
        return Verdict.AGAIN
    return Verdict.FAILED


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenUp:
    """A range that is not tried again."""

    index: int
    error: str
    node: str
    fatal: bool


class Failures:
    """The failures of one job's ranges, and the ranges that wait for a node that has not tried them."""

    def __init__(self, nodes: Iterable[str]) -> None:
        self._nodes = frozenset(nodes)
        self._able = set(self._nodes)
        self._proven: set[str] = set()
        self._failed_on: dict[str, int] = {}
        self._tried: dict[int, dict[str, str]] = {}
        self._waiting: dict[frozenset[str], dict[int, None]] = {}
        self.waiting = 0
        """How many ranges wait."""

    def succeeded(self, node: str) -> None:
        """Note that a node finished a range."""
        self._proven.add(node)

    def trusts(self, node: str) -> bool:
        """Tell whether failures on this node may be the ranges' own: it is no black hole."""
        return node in self._proven or not self._proven or self._failed_on.get(node, 0) < BLACK_HOLE

    def came(self, node: str) -> None:
        """Note that a node is there; one that never gets a range changes nothing."""
        if node in self._nodes:
            self._able.add(node)

    def went(self, node: str) -> None:
        """Note that a node is there no longer, or that nobody believes any more that it will come."""
        self._able.discard(node)

    def failed(self, index: int, node: str, error: str) -> GivenUp | None:
        """Note a failure. None: the range is to be tried again."""
        tried = self._tried.setdefault(index, {})
        tried[node] = error
        self._failed_on[node] = self._failed_on.get(node, 0) + 1
        return self._judge(index, node, error)

    def was_tried(self, index: int) -> bool:
        """Tell whether a range failed before, so that it must `wait` for another node."""
        return index in self._tried

    def settled(self, indices: Iterable[int]) -> None:
        """Forget the failures of ranges that went well after all."""
        if self._tried:
            for index in indices:
                self._tried.pop(index, None)

    def wait(self, index: int) -> None:
        """Let a range wait that is to be tried again."""
        self._waiting.setdefault(frozenset(self._tried[index]), {})[index] = None
        self.waiting += 1

    def withdraw(self, index: int) -> None:
        """Take out a range that waits."""
        del self._waiting[frozenset(self._tried[index])][index]
        self.waiting -= 1

    def take(self, node: str, want: int) -> list[int]:
        """Take out at most `want` ranges that wait and that this node has not tried."""
        taken: list[int] = []
        for tried, waiting in list(self._waiting.items()):
            while waiting and node not in tried and len(taken) < want:
                taken.append(waiting.popitem()[0])
            if not waiting:
                del self._waiting[tried]
        self.waiting -= len(taken)
        return taken

    def hopeless(self) -> list[GivenUp]:
        """Take out the ranges that wait for nobody, as the nodes that had not tried them are gone, or black holes."""
        given_up = []
        for tried, waiting in list(self._waiting.items()):
            if all(node in tried for node in self._candidates()):
                del self._waiting[tried]
                given_up += [self._give_up(index) for index in waiting]
        self.waiting -= len(given_up)
        return given_up

    def _candidates(self) -> Iterator[str]:
        return (node for node in self._able if self.trusts(node))

    def _judge(self, index: int, node: str, error: str) -> GivenUp | None:
        verdict = judge(self._tried[index], self._proven, self._candidates())
        if verdict is Verdict.AGAIN:
            return None
        del self._tried[index]
        return GivenUp(index=index, error=error, node=node, fatal=verdict is Verdict.FATAL)

    def _give_up(self, index: int) -> GivenUp:
        tried = self._tried.pop(index)
        node, error = next(reversed(tried.items()))
        return GivenUp(index=index, error=error, node=node, fatal=False)
