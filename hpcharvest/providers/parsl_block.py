"""A Parsl block as a batch job: what is remembered of it, and what an answer of the batch system changes. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from parsl.jobs.states import TERMINAL_STATES, JobState, JobStatus

from hpcharvest.errors import ConfigurationError
from hpcharvest.model.states import BatchState
from hpcharvest.providers.dialect import BatchStatus

_WALLTIME = re.compile(r"(\d+):([0-5]\d):([0-5]\d)")

MEANINGS: Final[Mapping[BatchState, tuple[JobState | None, str]]] = {
    BatchState.PENDING: (JobState.PENDING, "waits in the batch system"),
    BatchState.RUNNING: (JobState.RUNNING, "runs"),
    BatchState.COMPLETED: (JobState.COMPLETED, "ended"),
    BatchState.FAILED: (JobState.FAILED, "failed: its script, or what was to start it"),
    # Apart from FAILED: Parsl expects its blocks to reach their walltime, and calls an executor broken if blocks fail.
    BatchState.TIMED_OUT: (JobState.TIMEOUT, "reached its walltime"),
    BatchState.PREEMPTED: (JobState.FAILED, "was preempted: somebody more important needed the nodes"),
    BatchState.NODE_FAILED: (JobState.FAILED, "lost a node"),
    BatchState.OUT_OF_MEMORY: (JobState.FAILED, "took more memory than it had"),
    BatchState.LAUNCH_FAILED: (JobState.FAILED, "could not be started on its nodes"),
    BatchState.CANCELLED: (JobState.CANCELLED, "was cancelled"),
    BatchState.UNKNOWN: (None, "is in a state that we do not know"),
    BatchState.ABSENT: (None, "is not listed by the batch system"),
}
"""What each state is to Parsl (None: nothing new), and in our words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """What is remembered of a block. Times are steady seconds."""

    batch_id: str = ""
    """Empty: the answer to its submission was lost, and it is looked for by its tag."""
    tag: str = ""
    """Empty: it was submitted by another process."""
    folder: Path | None = None
    """Where its script, stdout and stderr lie; None: another process knows."""
    state: JobState = JobState.PENDING
    """The last that was known."""
    message: str = ""
    absent_since: float | None = None
    """Since when every answer of the batch system left it out; None: the last one did not."""
    lost: bool = False
    """Whether it was left out for so long that its state is a guess."""

    @property
    def ended(self) -> bool:
        """Whether the batch system said that it is over."""
        return self.state in TERMINAL_STATES

    def status(self) -> JobStatus:
        """Give it in Parsl's words; a new object each time, since Parsl writes into it."""
        return JobStatus(
            JobState.UNKNOWN if self.lost else self.state,
            message=self.message or None,
            stdout_path=str(self.folder / "stdout") if self.folder else None,
            stderr_path=str(self.folder / "stderr") if self.folder else None,
        )


def after(block: Block, said: BatchStatus | None, *, now: float, absent_s: float) -> Block:
    """Give the block as it is after an answer that says this of it; None: the answer leaves it out.

    To be left out is never an end: a batch job may be too new for the accounting, or too old for the queue. After
    `absent_s` seconds of nothing else the block is lost, which Parsl sees as UNKNOWN: such a block is still cancelled
    at the end, but no longer counted on. An end stays, unless the batch system says that the job is back in its queue.
    """
    if said is None or said.state is BatchState.ABSENT:
        return block if block.ended else _left_out(block, now, absent_s)
    state, meaning = MEANINGS[said.state]
    words = f" ({said.words})" if said.words else ""
    return replace(
        block,
        batch_id=block.batch_id or said.id,
        state=block.state if state is None else state,
        message=f"batch job {said.id} {meaning}{words}",
        absent_since=None,
        lost=False,
    )


def _left_out(block: Block, now: float, absent_s: float) -> Block:
    since = now if block.absent_since is None else block.absent_since
    _, meaning = MEANINGS[BatchState.ABSENT]
    return replace(
        block,
        message=f"batch job {block.batch_id or block.tag} {meaning}",
        absent_since=since,
        lost=now - since >= absent_s,
    )


def seconds(walltime: str | int) -> int:
    """Give the seconds of "HH:MM:SS", or of seconds. Raises ConfigurationError if it is neither, or no time at all."""
    found = _WALLTIME.fullmatch(walltime) if isinstance(walltime, str) else None
    total = int(found[1]) * 3600 + int(found[2]) * 60 + int(found[3]) if found else walltime
    if not isinstance(total, int) or total <= 0:
        raise ConfigurationError(f'walltime {walltime!r} is neither "HH:MM:SS" nor a number of seconds above 0')
    return total
