"""What a node's agent asks of whoever keeps the outcomes of its ranges. Nothing here ever blocks."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from hpcharvest.jumbo.links.messages import Row
from hpcharvest.jumbo.slots.slot import Done, Leased
from hpcharvest.model.ids import JobId


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Outcomes that are durable now; rows as in `messages.Told`."""

    job: JobId
    done: tuple[Row, ...] = ()
    failed: tuple[Row, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shut:
    """An archive that is closed and durable now; rows as in `messages.Archived`."""

    job: JobId
    name: str
    size: int
    adler32: str
    ranges: tuple[Row, ...]


class Outputs(Protocol):
    """Archives and spool of a node, filled behind the agent's back."""

    @property
    def full(self) -> bool:
        """Whether so much waits that nothing new may be begun."""

    @property
    def idle(self) -> bool:
        """Whether all that was asked for is done, as far as it can be now, and was taken."""

    def fileno(self) -> int:
        """Give a descriptor that becomes readable when there is something to take; -1: there is none."""

    def next_event(self) -> float:
        """Steady seconds when `take` is to be called although nothing rang; infinity: never."""

    def add_done(self, job: JobId, done: Done) -> None:
        """Keep an output, and note that its range is done."""

    def add_failed(self, job: JobId, leased: Leased, error: str) -> None:
        """Note that a range failed."""

    def settle(self, job: JobId, indices: Collection[int], void: Collection[int]) -> None:
        """Learn that the head acknowledged these outcomes, and that of these some do not count.

        An archive whose ranges are all acknowledged may be closed; what is void is taken out of it.
        """

    def seal(self, job: JobId) -> None:
        """Let the job's archives be closed as soon as all that is in them was acknowledged: no more is to come in."""

    def take(self, now: float) -> Sequence[Kept | Shut]:
        """Take what has become durable since, in order."""
