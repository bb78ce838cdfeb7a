"""The record of one batch job: its shape, its life, and which changes of state are possible."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any, Self


class State(StrEnum):
    """Where a job stands, in the words of Slurm."""

    PENDING = "PENDING"  # accepted and on disk; also a job that was put back in the queue
    RUNNING = "RUNNING"  # holds its nodes; stays so until the last of its processes is gone
    COMPLETED = "COMPLETED"  # the script ended with 0
    FAILED = "FAILED"  # the script ended with something else, or could not be started
    TIMEOUT = "TIMEOUT"  # ended by us at its walltime
    CANCELLED = "CANCELLED"  # ended by somebody's command
    NODE_FAIL = "NODE_FAIL"  # lost with a node
    PREEMPTED = "PREEMPTED"  # had to make room and may not be requeued


TRANSITIONS: dict[State, frozenset[State]] = {
    State.PENDING: frozenset({State.RUNNING, State.CANCELLED}),
    State.RUNNING: frozenset(State) - {State.RUNNING},
    **{state: frozenset() for state in State if state not in {State.PENDING, State.RUNNING}},
}
LIVE = frozenset({State.PENDING, State.RUNNING})

_INTERNAL = frozenset(
    {"pid", "start_ticks", "warned", "ending", "kill_at", "killed", "warn_signal", "warn_before_s", "nodes_wanted"}
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One job. Times are seconds since the epoch, durations seconds.

    `exit_code` is what a shell sees: a script killed by signal n has 128+n there, and n in `signal` as well.
    While `ending` is set the job is being ended by us: what it will be once its processes are gone (PENDING for a
    job that goes back in the queue), with SIGKILL due at `kill_at`.
    """

    id: int
    user: int
    queue: str
    nodes_wanted: int
    walltime_s: float
    cwd: str
    submit_time: float
    name: str = ""
    comment: str = ""
    output: str | None = None
    error: str | None = None
    priority: int = 0
    requeue: bool = False
    warn_signal: int | None = None
    warn_before_s: float = 0.0
    state: State = State.PENDING
    reason: str = ""
    nodes: tuple[str, ...] = ()
    start_time: float | None = None
    end_time: float | None = None
    exit_code: int | None = None
    signal: int | None = None
    restart_count: int = 0
    pid: int | None = None
    start_ticks: int | None = None
    warned: bool = False
    ending: State | None = None
    kill_at: float | None = None
    killed: bool = False

    @property
    def deadline(self) -> float | None:
        """When its walltime is over, or None while it does not run."""
        return None if self.start_time is None else self.start_time + self.walltime_s

    def move(self, state: State, **changes: Any) -> Self:
        """Give the job in its next state; ValueError for a change that `TRANSITIONS` does not have."""
        if state not in TRANSITIONS[self.state]:
            raise ValueError(f"job {self.id} cannot go from {self.state} to {state}")
        return replace(self, state=state, **changes)

    def back_to_queue(self, reason: str) -> Self:
        """Give the running job as it waits for its next start, with nothing left of this one."""
        return self.move(
            State.PENDING,
            reason=reason,
            restart_count=self.restart_count + 1,
            nodes=(),
            start_time=None,
            pid=None,
            start_ticks=None,
            warned=False,
            ending=None,
            kill_at=None,
            killed=False,
        )

    def record(self) -> dict[str, Any]:
        """Give the whole record for the spool, as JSON values."""
        return asdict(self)

    def view(self) -> dict[str, Any]:
        """Give what `status` tells about the job, as JSON values."""
        return {key: value for key, value in self.record().items() if key not in _INTERNAL}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Self:
        """Read back what `record` gave; TypeError, KeyError or ValueError for anything else."""
        ending = record["ending"]
        return cls(
            **{
                **record,
                "nodes": tuple(record["nodes"]),
                "state": State(record["state"]),
                "ending": None if ending is None else State(ending),
            }
        )
