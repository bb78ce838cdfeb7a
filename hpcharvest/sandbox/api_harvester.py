"""The methods of the module `harvester`, and those of others that concern workers or nobody in particular."""

from __future__ import annotations

import json
from typing import Any

from hpcharvest.sandbox.books import DatabaseError
from hpcharvest.sandbox.desk import Call
from hpcharvest.sandbox.protocol import Reply

WORKER_STATES = ("started", "finished")
RESOURCE_TYPES = [
    {
        "resource_name": name,
        "mincore": mincore,
        "maxcore": maxcore,
        "minrampercore": minram,
        "maxrampercore": maxram,
    }
    for name, mincore, maxcore, minram, maxram in (
        ("Undefined", 1, None, None, None),
        ("SCORE", 1, 1, None, 2000),
        ("SCORE_HIMEM", 1, 1, 2001, None),
        ("MCORE", 2, None, None, 2000),
        ("MCORE_HIMEM", 2, None, 2001, None),
    )
]


def is_alive(_call: Call) -> Reply:
    """Tell that the server is there."""
    return Reply(True)


def get_resource_types(_call: Call) -> Reply:
    """Tell the bounds of the resource types: cores, and MB for each core."""
    return Reply(True, data=RESOURCE_TYPES)


def heartbeat(call: Call, *, harvester_id: str, data: dict[str, Any] | None = None) -> Reply:
    """Take a sign of life; the first of an unknown harvester is refused."""
    call.desk.fleet.heartbeat(harvester_id, data)
    return Reply(True)


def update_workers(call: Call, *, harvester_id: str, workers: list[Any]) -> Reply:
    """Take the states of workers."""
    return Reply(True, data=call.desk.fleet.update_workers(harvester_id, workers, call.now))


def get_current_worker_id(call: Call, *, harvester_id: str) -> Reply:
    """Tell the highest worker id."""
    return Reply(True, data=call.desk.fleet.current_worker_id(harvester_id))


def acquire_commands(call: Call, *, harvester_id: str, n_commands: int, **_: Any) -> Reply:
    """Hand out commands."""
    return Reply(True, data=call.desk.fleet.acquire_commands(harvester_id, n_commands))


def acknowledge_commands(call: Call, *, command_ids: list[int], **_: Any) -> Reply:
    """Take acknowledgements."""
    call.desk.fleet.acknowledge(command_ids)
    return Reply(True)


def add_sweep_command(
    call: Call, *, panda_queue: str, status_list: list[str], ce_list: list[str], submission_host_list: list[str]
) -> Reply:
    """Queue the killing of workers."""
    params = {
        "status": status_list,
        "computingSite": [panda_queue],
        "computingElement": ce_list,
        "submissionHost": submission_host_list,
    }
    call.desk.fleet.sweep(panda_queue, params, call.now)
    return Reply(True)


def report_worker_statistics(call: Call, *, harvester_id: str, panda_queue: str, statistics: str) -> Reply:
    """Take the counts of workers by job type, resource type and state."""
    try:
        counts = json.loads(statistics)
    except ValueError as error:
        raise DatabaseError(f"statistics are no JSON: {error}") from error
    call.desk.fleet.statistics.setdefault(panda_queue, {})[harvester_id] = counts
    return Reply(True, "OK")


def get_worker_statistics(call: Call) -> Reply:
    """Tell the counts of workers by queue and harvester."""
    return Reply(True, data=call.desk.fleet.statistics)


def add_dialogs(call: Call, *, harvester_id: str, dialogs: list[Any]) -> Reply:
    """Take messages for the operators."""
    call.desk.fleet.dialogs.extend({"harvester_id": harvester_id, **dialog} for dialog in dialogs)
    return Reply(True)


def update_service_metrics(call: Call, *, harvester_id: str, metrics: list[Any]) -> Reply:
    """Take measurements of the harvester's host."""
    call.desk.fleet.metrics.extend([harvester_id, *metric] for metric in metrics)
    return Reply(True, data=[True] * len(metrics))


def update_worker_status(call: Call, *, worker_id: Any, harvester_id: Any, status: Any, **_: Any) -> Reply:
    """Take the pilot's view of its worker; the server has no types here."""
    if status not in WORKER_STATES:
        return Reply(False, f"Invalid worker state. The worker state has to be in {WORKER_STATES}")
    call.desk.fleet.pilot_workers[str(harvester_id), str(worker_id)] = status
    return Reply(True)
