"""The event ranges of one job in an allocation: which are ready, who has which, what became of them. Pure and compact.

A range is known by its index in the job's feed. Each is in one place only, so that none is lost, none counts twice, and
none is leased to two nodes that are there: whatever the order in which messages, deaths and returns come.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from typing import Any, Final

from hpcharvest.errors import MessageNotUnderstood
from hpcharvest.jumbo.failures import Failures, GivenUp
from hpcharvest.jumbo.shelves import READY, TAKEN, Shelves, runs
from hpcharvest.messenger.ranges import Feed

# Where a range is: one byte for each. READY and LEASED are those of the shelves.
ABSENT: Final = 0
"""Its feed file could not be read."""
LEASED: Final = TAKEN
DONE: Final = 3
"""Its output is in an open archive of the node that has it."""
WAITING: Final = 4
"""It failed, and waits for a node that has not tried it."""
LIMBO: Final = 5
"""Its node was lost, and what is in that node's files is not known yet."""
ARCHIVED: Final = 6
GIVEN_UP: Final = 7

WIDEST_GAP: Final = 10_000_000
"""A feed file that begins so much later than the last one ended is no file of this feed."""


@dataclass(slots=True)
class Taken:
    """What a node's words amount to."""

    void: list[int] = field(default_factory=list)
    """Done in vain: somebody else has them, or had."""
    given_up: list[GivenUp] = field(default_factory=list)


class RangePool:
    """All ranges of one job that were fed to this allocation. Nodes are known by name; what a stranger says is void."""

    def __init__(self, nodes: Iterable[str]) -> None:
        self._where = bytearray()
        self._ids: list[str] = []
        self._start = array("q")
        self._last = array("q")
        self._file = array("I")
        self._files: list[list[str]] = []
        self._numbers: dict[tuple[str, str, str], int] = {}
        self._shelves = Shelves(self._where)
        self._failures = Failures(nodes)
        self._leased: dict[str, dict[int, None]] = {}
        self._done: dict[str, set[int]] = {}
        self._brought: dict[str, set[int]] = {}
        self._known: set[str] = set()
        self.fed = 0
        self.leased = 0
        self.done = 0
        self.limbo = 0
        self.archived = 0
        self.given_up = 0

    # What is there

    @property
    def ready(self) -> int:
        """How many could be leased, be it not to every node."""
        return self._shelves.total + self._failures.waiting

    @property
    def outcomes(self) -> int:
        """How many have an outcome, of which the archives may still be open."""
        return self.done + self.archived + self.given_up

    @property
    def under_way(self) -> int:
        """How many are in somebody's hands: leased, done and not archived, or in the files of a lost node."""
        return self.leased + self.done + self.limbo

    def leased_by(self, node: str) -> int:
        """How many ranges a node got here and has not told of. Of what it came with, nobody knows how much is done."""
        brought = self._brought.get(node)
        leased = self._leased.get(node, ())
        return len(leased) if brought is None else sum(index not in brought for index in leased)

    def trusts(self, node: str) -> bool:
        """Tell whether a node gets ranges: not if it fails all where others succeed."""
        return self._failures.trusts(node)

    def able(self, node: str, *, able: bool) -> None:
        """Hear whether a node can do ranges, or may be able to soon."""
        if able:
            self._failures.came(node)
        else:
            self._failures.went(node)

    def id(self, index: int) -> str:
        """Give the id of a range."""
        return self._ids[index]

    # The feed

    def know(self, ids: Iterable[str]) -> None:
        """Hear of ranges that the journal has an outcome of already, before they are fed."""
        self._known.update(ids)

    def feed(self, feed: Feed) -> None:
        """Take in a file of the feed. MessageNotUnderstood: it does not follow; nothing was taken in."""
        size = len(self._where)
        ranges = feed.ranges
        if not size <= feed.first <= size + WIDEST_GAP:
            raise MessageNotUnderstood(f"feed {feed.job}.{feed.number} begins at {feed.first}, but {size} were fed")
        try:
            starts = array("q", [one.start for one in ranges])
            lasts = array("q", [one.last for one in ranges])
        except (TypeError, OverflowError) as error:
            raise MessageNotUnderstood(f"feed {feed.job}.{feed.number}: events are no numbers: {error}") from error
        self._pad(feed.first - size)
        self._where.extend(bytes([READY]) * len(ranges))
        self._ids += [one.id for one in ranges]
        self._start += starts
        self._last += lasts
        self.fed += len(ranges)
        first = feed.first
        for key, group in groupby(ranges, key=attrgetter("lfn", "guid", "scope")):
            number = self._numbers.setdefault(key, len(self._files))
            if number == len(self._files):
                self._files.append(list(key))
            count = sum(1 for _ in group)
            self._file.extend([number] * count)
            if not self._known:
                self._shelves.add(number, first, first + count)
            first += count
        if self._known:
            self._shelve(self._unknown(range(feed.first, first)))

    def _pad(self, gap: int) -> None:
        self._where.extend(bytes(gap))
        self._ids += [""] * gap
        for row in (self._start, self._last, self._file):
            row.frombytes(bytes(gap * row.itemsize))

    def _unknown(self, fresh: range) -> list[int]:
        """Give those that have no outcome yet; count the others."""
        unknown = []
        for index in fresh:
            if self._ids[index] in self._known:
                self._known.discard(self._ids[index])
                self._where[index] = ARCHIVED
                self.archived += 1
            else:
                unknown.append(index)
        return unknown

    # Leases

    def lease(self, node: str, want: int) -> list[int]:
        """Give at most `want` ranges to a node; nobody else gets them until it gives them back, or is lost."""
        taken = self._failures.take(node, want) if self._failures.waiting else []
        for index in taken:
            self._where[index] = LEASED
        taken += self._shelves.take(node, want - len(taken))
        self._leased.setdefault(node, {}).update(dict.fromkeys(taken))
        if node in self._brought:
            self._brought[node].difference_update(taken)
        self.leased += len(taken)
        return taken

    def rows(self, indices: Iterable[int]) -> tuple[list[list[Any]], dict[str, list[Any]]]:
        """Give ranges and their files as `messages.Lease` has them."""
        ids, start, last, file = self._ids, self._start, self._last, self._file
        rows: list[list[Any]] = [[index, ids[index], start[index], last[index], str(file[index])] for index in indices]
        return rows, {name: list(self._files[int(name)]) for name in {row[4] for row in rows}}

    def excess(self, node: str, keep: int) -> list[int]:
        """Name the ranges of a node but for the first `keep` that it got: those that it has hardly begun."""
        return list(self._leased.get(node, ()))[keep:]

    # What nodes say

    def held(self, node: str, indices: Collection[int]) -> list[int]:
        """Let a node that is there (again) have what it says it has; give those that are not its own (any more).

        A range that is ready becomes the node's: a new head knows no leases, and an old one may have taken them back.
        What was leased to it and it does not have was lost on the way, and is ready again.
        """
        self._failures.came(node)
        leased, done = self._leased.setdefault(node, {}), self._done.setdefault(node, set())
        named = set(indices)
        missing = [index for index in leased if index not in named]
        for index in missing:
            self._let_go(node, index)
        self._make_ready(missing)
        fresh = [index for index in indices if index not in leased and index not in done]
        brought = {index for index in fresh if self._claim(node, index)}
        if brought:
            self._brought.setdefault(node, set()).update(brought)
        return [index for index in fresh if index not in brought]

    def told(
        self,
        node: str,
        done: Iterable[int] = (),
        failed: Iterable[tuple[int, str]] = (),
        back: Iterable[int] = (),
    ) -> Taken:
        """Take in what became of ranges. May be repeated: what is known already changes nothing."""
        taken = Taken(void=self._finish(node, done))
        for index, error in failed:
            if self._let_go(node, index):
                given_up = self._failures.failed(index, node, error)
                if given_up is None:
                    self._where[index] = WAITING
                    self._failures.wait(index)
                else:
                    self._drop(given_up, taken.given_up)
        returned = [index for index in back if self._let_go(node, index)]
        self._make_ready(returned)
        return taken

    def archived_by(self, node: str, indices: Iterable[int]) -> list[int]:
        """Take in that a node closed an archive; give the ranges in it that count, in its order."""
        leased, done = self._leased.setdefault(node, {}), self._done.setdefault(node, set())
        where = self._where
        counted = []
        closed = 0
        for index in indices:
            if index in done:
                done.remove(index)
                closed += 1
            elif index in leased or self._claim(node, index):
                self._let_go(node, index)
            else:
                continue
            where[index] = ARCHIVED
            counted.append(index)
        self.done -= closed
        self.archived += len(counted)
        self._failures.settled(counted)
        return counted

    def hopeless(self) -> list[GivenUp]:
        """Give up the ranges that wait for another node, where there is none left."""
        given_up: list[GivenUp] = []
        for one in self._failures.hopeless() if self._failures.waiting else ():
            self._drop(one, given_up)
        return given_up

    # Deaths

    def part(self, node: str) -> list[int]:
        """Take from a lost node all that it has, and give it: it is in limbo until `settle`."""
        self._failures.went(node)
        self._shelves.forget(node)
        self._brought.pop(node, None)
        leased, done = self._leased.pop(node, {}), self._done.pop(node, set())
        self.leased -= len(leased)
        self.done -= len(done)
        limbo = [*leased, *done]
        for index in limbo:
            self._where[index] = LIMBO
        self.limbo += len(limbo)
        return limbo

    def settle(
        self,
        limbo: Collection[int],
        node: str = "",
        saved: Collection[str] = (),
        failed: Mapping[str, str] | None = None,
    ) -> tuple[list[str], list[GivenUp]]:
        """End a limbo. `saved`: ids of ranges that are in archives now; `failed`: errors of those that failed, by id.

        Give the ids that count, in the order of `saved`, and the ranges that are given up; all else is ready again.
        """
        by_id = {self._ids[index]: index for index in limbo} if saved or failed else {}
        counted = [name for name in dict.fromkeys(saved) if name in by_id]
        self.limbo -= len(limbo)
        rest = dict.fromkeys(limbo)
        for name in counted:
            index = by_id[name]
            del rest[index]
            self._where[index] = ARCHIVED
        self.archived += len(counted)
        given_up: list[GivenUp] = []
        for name, error in (failed or {}).items():
            if name in by_id and by_id[name] in rest:
                found = self._failures.failed(by_id[name], node, error)
                if found is not None:
                    del rest[found.index]
                    self._drop(found, given_up)
        self._make_ready(rest)
        return counted, given_up

    # Within

    def _finish(self, node: str, indices: Iterable[int]) -> list[int]:
        leased, done = self._leased.setdefault(node, {}), self._done.setdefault(node, set())
        where = self._where
        void: list[int] = []
        finished = []
        for index in indices:
            if index in leased or (index not in done and self._claim(node, index)):
                del leased[index]
                done.add(index)
                where[index] = DONE
                finished.append(index)
            elif index not in done:
                void.append(index)
        self.leased -= len(finished)
        self.done += len(finished)
        if finished:
            self._failures.succeeded(node)
            self._failures.settled(finished)
        return void

    def _claim(self, node: str, index: int) -> bool:
        """Lease a certain range to a node, if nobody has it."""
        where = self._where[index] if 0 <= index < len(self._where) else ABSENT
        if where == READY:
            self._shelves.withdrawn(self._file[index])
        elif where == WAITING:
            self._failures.withdraw(index)
        else:
            return False
        self._where[index] = LEASED
        self._leased[node][index] = None
        self.leased += 1
        return True

    def _let_go(self, node: str, index: int) -> bool:
        """Take a range from a node; False: it has it not."""
        if index in self._leased.get(node, ()):
            del self._leased[node][index]
            self.leased -= 1
            return True
        if index in self._done.get(node, ()):
            self._done[node].remove(index)
            self.done -= 1
            return True
        return False

    def _drop(self, one: GivenUp, into: list[GivenUp]) -> None:
        self._where[one.index] = GIVEN_UP
        self.given_up += 1
        into.append(one)

    def _make_ready(self, indices: Iterable[int]) -> None:
        """Let ranges be leased again; those that failed somewhere, elsewhere."""
        plain = []
        for index in indices:
            if self._failures.was_tried(index):
                self._where[index] = WAITING
                self._failures.wait(index)
            else:
                self._where[index] = READY
                plain.append(index)
        self._shelve(plain, soon=True)

    def _shelve(self, indices: Iterable[int], *, soon: bool = False) -> None:
        for file, first, stop in runs(indices, self._file):
            self._shelves.add(file, first, stop, soon=soon)
