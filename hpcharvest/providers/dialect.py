"""What a batch system is to us: text. A dialect renders scripts, builds command lines, reads answers; it runs nothing.

The life of a batch job, in the order of the hooks: `directives` and `environment` go into the script, `submit_argv`
hands it over and `read_submitted` finds the id in the answer; `status_argv` asks once for all jobs of ours and
`read_status` gives what was said about each, by id; `accounting_argv` asks, where there is accounting, what became of
those that left the queue; `cancel_argv` ends some of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from hpcharvest.model.shape import Shape
from hpcharvest.model.states import BatchState

SCRIPT = "script.sh"
"""The batch script's name in an allocation's folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRequest:
    """What is asked of a batch system."""

    tag: str
    """The batch job's name; unique, by which it is found again."""
    shape: Shape
    folder: Path
    """Where its script, stdout and stderr lie."""
    account: str = ""
    qos: str = ""
    options: tuple[str, ...] = ()
    """More directives, as the operator wrote them."""
    gpus_per_node: int = 0
    """GPUs to ask for on each node; 0: for none, or for what comes with the node by itself."""
    signal_before_end_s: int = 0
    """Ask for a warning signal this long before the walltime; 0: for none."""

    @property
    def script(self) -> Path:
        """The batch script."""
        return self.folder / SCRIPT


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """What a command of the batch system answered."""

    exit_code: int
    out: str
    err: str = ""

    def said(self, but: re.Pattern[str] | None = None) -> str:
        """Give what it said, in one line, errors first. `but`: what lines have in them that are left out."""
        lines = map(str.strip, (self.err.strip() or self.out.strip()).splitlines())
        told = [line for line in lines if line and not (but and but.search(line))]
        return "; ".join(told) or f"exit code {self.exit_code} without a word"


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchStatus:
    """What the batch system says about one batch job."""

    id: str
    state: BatchState
    words: str
    """Its own words, for people."""
    tag: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """Shell expressions, valid inside a batch job, for what the runner must know."""

    nodes: str
    batch_id: str
    restart: str
    deadline: str
    """Seconds since the epoch; may be empty: then the start plus the walltime is taken."""


NEVER_RUNS = "(as it is, it will never run)"
"""Stands in the words about a batch job that waits in vain, unless somebody changes it or the cluster."""

Gone = Mapping[str, Path | None]
"""Batch jobs that left the queue, by id, each with its folder, in which some batch systems leave how it ended."""


class Dialect(Protocol):
    """One batch system's language."""

    environment: Environment

    def directives(self, request: BatchRequest) -> Sequence[str]:
        """Give the lines that go to the top of the batch script."""

    def submit_argv(self, request: BatchRequest) -> Sequence[str]:
        """Give the command that submits `request.script`."""

    def read_submitted(self, spoken: Spoken) -> str:
        """Find the batch id. Raise SubmissionRefused with the system's words, BatchFull, or BatchUnreachable."""

    def status_argv(self) -> Sequence[str]:
        """Give the one command that asks for all batch jobs of ours."""

    def read_status(self, spoken: Spoken) -> Mapping[str, BatchStatus]:
        """Give what was said, by id. Raise BatchUnreachable if it says nothing about any job."""

    def accounting_argv(self, gone: Gone) -> Sequence[str]:
        """Give the one command that asks what became of batch jobs that left the queue; empty if there is none."""

    def read_accounting(self, spoken: Spoken) -> Mapping[str, BatchStatus]:
        """Give what was said, by id, leaving out what it does not know. Raise BatchUnreachable as `read_status`."""

    def cancel_argv(self, ids: Sequence[str]) -> Sequence[str]:
        """Give the command that ends these batch jobs."""


class NoAccounting:
    """For a dialect whose batch system has no memory beside its queue, or none that could be asked."""

    def accounting_argv(self, gone: Gone) -> Sequence[str]:
        """Give none."""
        del gone
        return ()

    def read_accounting(self, spoken: Spoken) -> Mapping[str, BatchStatus]:
        """Give nothing: nothing is asked."""
        del spoken
        return {}


def clock(seconds: int) -> str:
    """Give a length of time as most batch systems take it, such as 25:01:01."""
    minutes, rest = divmod(seconds, 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest:02}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """A batch system's words for states: a table, so that a variant is a row. An unlisted word is UNKNOWN."""

    words: Mapping[str, BatchState] = field(default_factory=dict)

    def translate(self, word: str) -> BatchState:
        """Give our state for the batch system's word."""
        return self.words.get(word, BatchState.UNKNOWN)
