"""What a payload that speaks panda-harvester's files has of one job: asked for, given, handed over, told. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from hpcharvest.jumbo.slots.slot import Failed, Leased
from hpcharvest.messenger.harvester_files import Entry, Kind, Status

REPORTED: Final = {
    Status.FAILED: "the payload says that it failed",
    Status.FATAL: "the payload says that it would fail anywhere",
}
_OUTPUTS: Final = {Kind.RANGE_OUTPUT, Kind.ZIP, None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The payload says that these ranges are finished, and where their output is. To be looked at."""

    ranges: tuple[Leased, ...]
    path: str
    """As the payload wrote it."""
    size: int | None
    checksum: str
    packed: bool
    """Whether it is an archive with the outputs of these ranges; else there is one range."""
    cpu_s: float
    wall_s: float


@dataclass(slots=True, kw_only=True)
class _Out:
    """A range that the payload has."""

    leased: Leased
    handed_at: float
    running_at: float | None = None
    cpu_s: float = 0.0


class Ledger:
    """The ranges of one job in one worker. `lanes`: how many the payload does at a time. Times: steady seconds."""

    def __init__(self, lanes: int) -> None:
        self.asked = 0
        """How many ranges the open request wants; 0: there is none."""
        self.heard = False
        """Whether anything ever came of a range."""
        self._lanes = max(1, lanes)
        self._waiting: dict[str, Leased] = {}
        self._out: dict[str, _Out] = {}
        self._finished_without: dict[str, None] = {}
        self._told_at = 0.0

    @property
    def room(self) -> int:
        """How many ranges were asked for and not given yet."""
        return max(0, self.asked - len(self._waiting))

    @property
    def waiting(self) -> Sequence[Leased]:
        """The ranges that were given, and not handed over yet."""
        return list(self._waiting.values())

    @property
    def held(self) -> Sequence[Leased]:
        """The ranges that wait, and those that the payload has."""
        return [*self._waiting.values(), *(one.leased for one in self._out.values())]

    def give(self, leased: Leased) -> None:
        """Take a range, to be handed over."""
        self._waiting[leased.range.id] = leased

    def hand_over(self, now: float) -> None:
        """Note that the payload has from now on what waited, and that its request is served."""
        handed, self._waiting, self.asked = self.waiting, {}, 0
        self._out |= {leased.range.id: _Out(leased=leased, handed_at=now) for leased in handed}

    def withdraw(self, names: set[str]) -> Sequence[Leased]:
        """Take back those of these ranges that were not handed over."""
        return [self._waiting.pop(name) for name in names & self._waiting.keys()]

    def has_out(self, names: set[str]) -> bool:
        """Tell whether the payload has one of these ranges."""
        return bool(names & self._out.keys())

    def hear(self, entries: Sequence[Entry], now: float) -> tuple[Sequence[Claim], Sequence[Failed]]:
        """Take in what the payload says in one file. What is said of ranges that it does not have is passed over."""
        finished: dict[str, list[str]] = {}
        failed = []
        claims = {entry.path: entry for entry in entries if entry.path and entry.kind in _OUTPUTS}
        for entry in entries:
            one = self._out.get(entry.range)
            if one is None:
                continue
            one.cpu_s = entry.cpu_s or one.cpu_s
            if entry.status in REPORTED:
                failed.append(self._failed(self._out.pop(entry.range), entry.status, now))
            elif entry.status is Status.RUNNING:
                one.running_at = now if one.running_at is None else one.running_at
            elif entry.path in claims:
                finished.setdefault(entry.path, []).append(entry.range)
            elif not entry.path:
                self._finished_without[entry.range] = None
        self._fill_zip(entries, finished)
        counted = self._counted(finished)
        total = sum(len(some) for _, some in counted)
        made = [self._claim(claims[path], some, total, now) for path, some in counted]
        if made or failed:
            self.heard, self._told_at = True, now
        return made, failed

    def end(self, now: float, error: str, *, blame: bool) -> Sequence[Failed]:
        """Give what becomes of all that is left when the payload is gone.

        `blame`: it ended by its own doing. Then the ranges that were said to run answer for it, and where nothing ever
        came of any range, the first one does, so that a payload that always dies cannot be started for ever.
        """
        left, self._out = list(self._out.values()), {}
        waiting, self._waiting, self.asked = list(self._waiting.values()), {}, 0
        guilty = [one for one in left if one.running_at is not None] if blame else []
        if blame and not guilty and not self.heard:
            guilty = left[:1]
        names = {one.leased.range.id for one in guilty}
        outcomes = [
            Failed(leased=one.leased, error=error, wall_s=_wall(one, now), ours=one.leased.range.id not in names)
            for one in left
        ]
        return [*outcomes, *(Failed(leased=leased, error=error, wall_s=0.0, ours=True) for leased in waiting)]

    def _fill_zip(self, entries: Sequence[Entry], finished: dict[str, list[str]]) -> None:
        """Find the ranges of a zip that names none: those that were finished without an output, if there is one zip."""
        zips = {entry.path for entry in entries if entry.kind is Kind.ZIP and not entry.range and entry.path}
        orphans = [name for name in self._finished_without if name in self._out]
        if len(zips) == 1 and orphans:
            finished.setdefault(zips.pop(), []).extend(orphans)
            self._finished_without.clear()

    def _counted(self, finished: dict[str, list[str]]) -> Sequence[tuple[str, Sequence[_Out]]]:
        """Take the ranges out, each once."""
        taken = [(path, [self._out.pop(name) for name in ids if name in self._out]) for path, ids in finished.items()]
        return [(path, some) for path, some in taken if some]

    def _claim(self, entry: Entry, some: Sequence[_Out], total: int, now: float) -> Claim:
        """Make a claim; `total`: how many ranges are told to be finished at once.

        Where the payload did not say when it began, each of them took its share of the time since it told last.
        """
        measured = [now - one.running_at for one in some if one.running_at is not None]
        handed_at = min(one.handed_at for one in some)
        share = (now - max(self._told_at, handed_at)) * self._lanes / total
        return Claim(
            ranges=tuple(one.leased for one in some),
            path=entry.path,
            size=entry.size,
            checksum=entry.checksum,
            packed=entry.kind is Kind.ZIP or len(some) > 1,
            cpu_s=sum(one.cpu_s for one in some) / len(some),
            wall_s=max(measured) if measured else min(share, now - handed_at),
        )

    @staticmethod
    def _failed(one: _Out, status: Status, now: float) -> Failed:
        return Failed(leased=one.leased, error=REPORTED[status], wall_s=_wall(one, now), fatal=status is Status.FATAL)


def _wall(one: _Out, now: float) -> float:
    return now - (one.handed_at if one.running_at is None else one.running_at)
