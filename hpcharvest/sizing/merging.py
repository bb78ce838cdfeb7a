"""Which event ranges go together into which merged output. Pure.

Outputs have so many events each (`nEventsPerOutputFile`), inputs too (`nEventsPerInputFile`), and one of the two
numbers divides the other. An output that lacks a range fails alone, or is made of what there is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import ceil


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A finished range whose output is in an archive at its destination. Events are counted from 1 in each input."""

    id: str
    lfn: str
    start: int
    last: int
    archive: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """How the events of inputs, in their order, are cut into outputs. ValueError: they cannot be."""

    files: tuple[str, ...]
    per_input: int
    per_output: int
    _at: dict[str, int] = field(init=False, repr=False, compare=False, hash=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Check that outputs begin and end where inputs do, or the other way round."""
        large, small = max(self.per_input, self.per_output), min(self.per_input, self.per_output)
        if small < 1 or large % small:
            raise ValueError(
                f"inputs of {self.per_input} events cannot be cut into outputs of {self.per_output}: one of the two "
                "has to divide the other"
            )
        self._at.update({lfn: at for at, lfn in enumerate(self.files)})

    @property
    def outputs(self) -> int:
        """Number of outputs."""
        return ceil(len(self.files) * self.per_input / self.per_output)

    def output(self, piece: Piece) -> int | None:
        """Give the number of the output, from 1, in which a piece belongs; None: in none, or in more than one."""
        at = self._at.get(piece.lfn)
        if at is None or not 1 <= piece.start <= piece.last <= self.per_input:
            return None
        first, last = ((at * self.per_input + event - 1) // self.per_output for event in (piece.start, piece.last))
        return first + 1 if first == last else None

    def events(self, output: int) -> int:
        """Say how many events an output has when nothing is missing; the last one may have fewer."""
        return min(self.per_output, len(self.files) * self.per_input - (output - 1) * self.per_output)

    def place(self, piece: Piece) -> tuple[int, int, str]:
        """Give what brings the pieces of an output in the order of their events."""
        return self._at[piece.lfn], piece.start, piece.id


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """What one output is made of: the pieces in the order of their events, and the archives that they are in."""

    output: int
    pieces: tuple[Piece, ...]
    missing: int = 0
    """Number of events that are in none of them."""

    @property
    def archives(self) -> tuple[str, ...]:
        """Give the names of the archives, each once."""
        return tuple(dict.fromkeys(one.archive for one in self.pieces))


@dataclass(frozen=True, slots=True, kw_only=True)
class MergePlan:
    """What can be merged, and what never will be: outputs with events missing, by number."""

    groups: tuple[Group, ...] = ()
    short: dict[int, int] = field(default_factory=dict)


def plan_merges(cut: Cut, pieces: Iterable[Piece], *, over: bool = False, partial: bool = False) -> MergePlan:
    """Group pieces into outputs of which every event is there.

    `over`: no more pieces will come, so that what is not whole never will be; `partial`: then it is made of what there
    is, unless that is nothing.
    """
    found: dict[int, list[Piece]] = {}
    for piece in pieces:
        output = cut.output(piece)
        if output is not None:
            found.setdefault(output, []).append(piece)
    groups, short = [], {}
    for output in range(1, cut.outputs + 1) if over else sorted(found):
        here = sorted(found.get(output, ()), key=cut.place)
        missing = cut.events(output) - _covered(cut, here)
        if here and (not missing or (over and partial)):
            groups.append(Group(output=output, pieces=tuple(here), missing=missing))
        elif over:
            short[output] = missing
    return MergePlan(groups=tuple(groups), short=short)


def _covered(cut: Cut, pieces: Sequence[Piece]) -> int:
    """Count the events of pieces in order, each once: a range may come under two names."""
    total, before, done = 0, -1, 0
    for piece in pieces:
        at, _, _ = cut.place(piece)
        done = done if at == before else 0
        total += max(0, piece.last - max(done, piece.start - 1))
        before, done = at, max(done, piece.last)
    return total
