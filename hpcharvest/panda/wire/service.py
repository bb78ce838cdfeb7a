"""What is said about ourselves: allocations (PanDA's "workers"), commands from the server, heartbeat."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from hpcharvest.errors import AnswerNotUnderstood
from hpcharvest.model.allocation import Allocation
from hpcharvest.model.states import AllocationOutcome, AllocationState
from hpcharvest.panda.wire.envelope import excerpt
from hpcharvest.panda.wire.fields import printable, utc

_STATUS: dict[AllocationState, str] = {
    AllocationState.INTENDED: "ready",
    AllocationState.SUBMITTED: "submitted",
    AllocationState.RUNNING: "running",
}
_FINAL_STATUS: dict[AllocationOutcome | None, str] = {
    AllocationOutcome.DONE: "finished",
    AllocationOutcome.PAYLOAD_FAILED: "finished",
    AllocationOutcome.INFRASTRUCTURE_FAILED: "failed",
    AllocationOutcome.TIMED_OUT: "failed",
    AllocationOutcome.PREEMPTED: "failed",
    AllocationOutcome.CANCELLED: "cancelled",
    AllocationOutcome.CANCELLED_BY_OTHERS: "cancelled",
    None: "failed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerCommand:
    """Something that the server wants us to do; it is delivered once."""

    id: int
    verb: str
    """In the server's words, e.g. KILL_WORKERS; what cannot be read is shown here as it came, under the id 0."""
    queue: str = ""
    """Whom it concerns; empty: it is told by the parameters."""
    params: dict[str, Any] = field(default_factory=dict)
    acknowledge: bool = False


def encode_worker(allocation: Allocation, *, cores: int, host: str = "", element: str = "") -> dict[str, Any]:
    """Word one allocation. `cores`: of all its nodes together; `host`: where we run; `element`: the queue's entrance.

    No error code is told and no synchronisation level: the server would blame the jobs for either, and their fate is
    told by their own reports.
    """
    ended = allocation.state is AllocationState.ENDED
    worker: dict[str, Any] = {
        "workerID": int(allocation.id),
        "batchID": allocation.batch_id,
        "queueName": allocation.queue,
        "computingSite": allocation.queue,
        "status": _FINAL_STATUS[allocation.outcome] if ended else _STATUS[allocation.state],
        "nCore": cores,
        "nJobs": len(allocation.jobs),
        "nodeID": printable(",".join(allocation.nodes), 80),
        "computingElement": element,
        "submissionHost": host,
        "harvesterHost": host,
        "nativeStatus": allocation.batch_state.value,
        "diagMessage": printable(allocation.batch_words, 500),
        "submitTime": _stamp(allocation.created_at),
        "startTime": _stamp(allocation.since if allocation.state is AllocationState.RUNNING else 0.0),
        "endTime": _stamp((allocation.batch_ended_at or allocation.since) if ended else 0.0),
        "pandaid_list": [int(job) for job, _ in allocation.jobs],
    }
    return _known(worker)


def encode_update_workers(workers: Sequence[dict[str, Any]], *, harvester_id: str) -> dict[str, Any]:
    """Word the call that carries the workers."""
    return {"harvester_id": harvester_id, "workers": list(workers)}


def encode_heartbeat(start_time: float, version: str, *, harvester_id: str) -> dict[str, Any]:
    """Word a sign of life. `start_time`: wall seconds when this process began. Any other key is an error there."""
    return {"harvester_id": harvester_id, "data": _known({"startTime": _stamp(start_time), "sw_version": version})}


def encode_acquire_commands(n_commands: int, *, harvester_id: str) -> dict[str, Any]:
    """Word the request for at most `n_commands` commands."""
    return {"harvester_id": harvester_id, "n_commands": n_commands}


def encode_acknowledge_commands(ids: Iterable[int]) -> dict[str, Any]:
    """Word that the commands are done."""
    return {"command_ids": list(ids)}


def decode_commands(data: Any) -> tuple[ServerCommand, ...]:
    """Read the commands. The queue stands in the word itself, after a colon."""
    if not isinstance(data, list):
        raise AnswerNotUnderstood(f"the PanDA server gave {excerpt(data)} as a list of commands")
    return tuple(_decode_command(raw) for raw in data)


def decode_flags(data: Any, count: int) -> tuple[bool, ...]:
    """Read `count` answers of yes or no."""
    if not isinstance(data, list) or len(data) != count or not all(isinstance(one, bool) for one in data):
        raise AnswerNotUnderstood(f"the PanDA server answered {excerpt(data)}, expected {count} truths")
    return tuple(data)


def _decode_command(raw: Any) -> ServerCommand:
    """Read one command. It is delivered once, with others: an unreadable one must not cost us those."""
    if not isinstance(raw, dict) or type(raw.get("command_id")) is not int or not isinstance(raw.get("command"), str):
        return ServerCommand(id=0, verb=excerpt(raw))
    verb, _, queue = raw["command"].partition(":")
    params = raw.get("params")
    return ServerCommand(
        id=raw["command_id"],
        verb=verb,
        queue=queue,
        params=params if isinstance(params, dict) else {},
        acknowledge=bool(raw.get("ack_requested")),
    )


def _known(fields: dict[str, Any]) -> dict[str, Any]:
    """Leave out what is not known."""
    return {key: value for key, value in fields.items() if value is not None and value not in ("", [])}


def _stamp(wall: float) -> str | None:
    """Word wall seconds so that the server reads a time and not a text; None for no time at all."""
    moment = utc(wall)
    return None if moment is None else f"datetime/{moment:%Y-%m-%d %H:%M:%S.%f}"
