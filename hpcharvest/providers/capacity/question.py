"""A question to a batch system: topics, a command line, and a pure reader of its answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

from hpcharvest.errors import BatchUnreachable
from hpcharvest.model.capacity import Statement, Topic
from hpcharvest.model.shape import NodeShape, Shape
from hpcharvest.providers.dialect import Spoken

Reader = Callable[[Spoken], Sequence[Statement]]
"""Gives what was said. Raises BatchUnreachable, and nothing else, for an answer that says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One command, and what its answer is about."""

    topics: tuple[Topic, ...]
    argv: tuple[str, ...]
    read: Reader
    daemon: str = ""
    """Who answers: of those that have one in common, if it is away, only the first is waited for."""

    @property
    def command(self) -> tuple[str, ...]:
        """The program's own words, without the variables that are put before it."""
        words = list(self.argv)
        if words[:1] == ["env"]:
            words = words[1:]
            while words and "=" in words[0]:
                words = words[1:]
        return tuple(words)

    def is_forbidden(self, forbidden: Sequence[str]) -> bool:
        """Tell whether the site forbids it: by its name, or by some of its words too (`sbatch --test-only`)."""
        program, *words = self.command
        for one in forbidden:
            name, *more = one.split()
            if PurePath(program).name == name and set(more) <= set(words):
                return True
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """Who asks, and about what: all that questions depend on."""

    user: str
    account: str = ""
    qos: str = ""
    partition: str = ""
    options: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    """The words that begin each command, for the embedded batch system."""
    shape: NodeShape = field(default_factory=lambda: NodeShape(cores=1))
    """A node as configured, for batch systems that do not tell."""
    shapes: tuple[Shape, ...] = ()
    """Batch jobs whose start is to be estimated."""


def refuse(spoken: Spoken) -> None:
    """Raise BatchUnreachable, in the batch system's words, for an answer with an exit code."""
    if spoken.exit_code != 0:
        raise BatchUnreachable(said(spoken))


def said(spoken: Spoken) -> str:
    """Give what it said, in one line that is not endless, errors first."""
    return spoken.said()[:500]
