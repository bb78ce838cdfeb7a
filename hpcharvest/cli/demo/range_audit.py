"""The audit of event ranges: every one finished exactly once in the server's books, and in exactly one archive. Pure.

A range may have been begun more often: with a lost allocation those go that were under way. What may not be is that its
outcome counts twice, or not at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from hpcharvest.cli.demo.findings import Content, Disagreement
from hpcharvest.model.words import counted
from hpcharvest.sandbox.states import EventState


@dataclass(frozen=True, slots=True, kw_only=True)
class EventOrder:
    """An event-service job as it was submitted; `log` is the name of the log that it may leave."""

    job: int
    process: str
    ranges: int
    events_per_range: int
    log: str

    @property
    def events(self) -> int:
        """How many collisions it is to make."""
        return self.ranges * self.events_per_range


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeBooked:
    """What the server's books say of a range."""

    name: str
    """Its last eventRangeID."""
    state: str
    archive: str
    """The archive in which it was reported; empty: in none."""
    finished: int
    """How often it was reported finished, under whatever name."""
    unanswered: int = 0
    """How often it was handed out and never heard of again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveSeen:
    """What an archive in the storage holds, read again from end to end."""

    content: Content
    ranges: Mapping[str, int]
    """How often each range is in it, by eventRangeID."""
    events: int
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeEvidence:
    """Everything that the audit of one event-service job looks at."""

    order: EventOrder
    booked: tuple[RangeBooked, ...]
    told: Mapping[str, Content]
    """What the server was told of each archive, by name."""
    archives: Mapping[str, ArchiveSeen]
    """What lies in the storage, by name."""
    begun: Mapping[str, int]
    """How often each range's payload began, by its own count and by eventRangeID."""
    allocations: int
    """In how many allocations ranges were done."""
    killed: tuple[str, ...] = ()
    """The numbers of the allocations that were killed on purpose."""
    accident: bool = True
    """Whether one was to be killed."""
    durable: frozenset[str] = frozenset()
    """The ranges that the nodes of killed allocations had told their spools of, by eventRangeID."""

    @property
    def again(self) -> int:
        """How many times a range had to be begun again."""
        return max(0, sum(self.begun.values()) - len(self.booked))

    @property
    def events(self) -> int:
        """How many collisions lie in the archives."""
        return sum(one.events for one in self.archives.values())


def audit_ranges(evidence: RangeEvidence) -> tuple[Disagreement, ...]:
    """Give every disagreement; none means that each range counts once, and that it was put to the proof."""
    return tuple(Disagreement(evidence.order.job, what) for check in _CHECKS for what in check(evidence))


def _proof(evidence: RangeEvidence) -> Iterator[str]:
    if evidence.accident and evidence.allocations < 2:
        yield f"its ranges were done in {counted(evidence.allocations, 'allocation')}, which proves little"
    if evidence.accident and not evidence.killed:
        yield "none of its allocations was killed, as one was to be"


def _number(evidence: RangeEvidence) -> Iterator[str]:
    if len(evidence.booked) != evidence.order.ranges:
        yield f"the server has {len(evidence.booked)} ranges of it, {evidence.order.ranges} were ordered"


def _once(evidence: RangeEvidence) -> Iterator[str]:
    """Each range is finished once; begun it was once at least, and only once if a killed node had kept its outcome."""
    done = EventState.DONE.name.lower()
    for one in evidence.booked:
        if one.state != done:
            yield f"the server has the range {one.name} as {one.state}"
        if one.finished != 1:
            yield f"the range {one.name} was reported finished {one.finished} times"
        began = evidence.begun.get(one.name, 0)
        if not began:
            yield f"the payload of the range {one.name} never began"
        if began > 1 and one.name in evidence.durable:
            yield f"the range {one.name} was done again, although its outcome was durable when its allocation died"
        if one.unanswered:
            yield f"the range {one.name} was handed out and not heard of again, {one.unanswered} times"


def _archived(evidence: RangeEvidence) -> Iterator[str]:
    """Compare, range by range, the archive that the server knows with the archives that hold it."""
    holders: dict[str, Counter[str]] = {}
    for archive, seen in evidence.archives.items():
        for name, count in seen.ranges.items():
            holders.setdefault(name, Counter())[archive] += count
    for one in evidence.booked:
        held = holders.pop(one.name, Counter())
        if held.total() != 1:
            yield f"the range {one.name} is {held.total()} times in the archives of the storage"
        elif one.archive not in held:
            yield f"the range {one.name} is in {next(iter(held))}, the server was told of {one.archive or 'none'}"
    for name in sorted(holders):
        yield f"the storage has the range {name}, which is none of it"


def _storage(evidence: RangeEvidence) -> Iterator[str]:
    for name, told in evidence.told.items():
        seen = evidence.archives.get(name)
        if seen is None:
            yield f"the server was told of {name}, which is not in the storage"
        elif seen.content != told:
            yield f"the server was told {told.shown()} of {name}, the storage has {seen.content.shown()}"
    for name in sorted(evidence.archives.keys() - evidence.told.keys()):
        yield f"the storage has {name}, of which the server was not told"


def _physics(evidence: RangeEvidence) -> Iterator[str]:
    for name, seen in evidence.archives.items():
        yield from (f"{name}: {problem}" for problem in seen.problems)
    if evidence.events != evidence.order.events:
        yield f"its archives have {evidence.events} events, {evidence.order.events} were asked for"


_CHECKS: tuple[Callable[[RangeEvidence], Iterator[str]], ...] = (_proof, _number, _once, _archived, _storage, _physics)
