"""A slot on a node: one payload process, or a row of them, that takes event ranges of one job.

What is common to all kinds of payloads. A slot is driven by its node's loop: it never blocks and has no thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from hpcharvest.model.event_range import EventRange


@dataclass(frozen=True, slots=True)
class Leased:
    """A range that is to be done on this node."""

    index: int
    """In the job's feed."""
    range: EventRange


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A range whose payload ended well: exit code 0 or its word, output present, and nobody was stopping it."""

    leased: Leased
    output: str
    """Absolute path on the node; the node's archive takes it and removes it."""
    cpu_s: float
    wall_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A range whose payload failed. `ours`: it was stopped, or never started, without a fault of its own."""

    leased: Leased
    error: str
    """One line; the same cause gives the same words on another node: no paths, numbers of processes, or times."""
    wall_s: float
    ours: bool = False
    fatal: bool = False
    """Whether the payload itself says that the range would fail anywhere."""


Outcome = Done | Failed


class Slot(Protocol):
    """One payload process, or a row of them, that takes event ranges."""

    @property
    def room(self) -> int:
        """How many more ranges it would take now."""

    @property
    def held(self) -> Sequence[Leased]:
        """The ranges that it has."""

    @property
    def over(self) -> bool:
        """Whether it takes no more and has nothing left that runs."""

    def give(self, leased: Leased, now: float) -> None:
        """Let it do a range; `room` was more than 0. `now`: steady seconds, as everywhere here."""

    def filenos(self) -> Sequence[int]:
        """Give descriptors that become readable when there is something to serve. Ends of children ring otherwise."""

    def next_event(self) -> float:
        """Steady seconds when `serve` is to be called although nothing happened; infinity: never."""

    def serve(self, now: float) -> Sequence[Outcome]:
        """Do what is due, and give what came of ranges since."""

    def finish(self, now: float) -> None:
        """Say that no more ranges come: the payload may end what it has, and then itself."""

    def stop(self, ranges: Sequence[Leased], reason: str, now: float) -> None:
        """Stop these ranges (their outcomes are `ours`), and with them the process, if it cannot be helped.

        First asked, after a grace killed.
        """
