"""The methods of the module `event`."""

from __future__ import annotations

import json
from typing import Any

from hpcharvest.sandbox.books import DatabaseError
from hpcharvest.sandbox.desk import Call
from hpcharvest.sandbox.protocol import ProtocolError, Reply

UNSERIALISABLE = "Type not serializable for {'Returns', 'Commands', 'E', '\"'} (<class 'set'>)"
UNHASHABLE = "unhashable type: 'list'"


def acquire_event_ranges(
    call: Call, *, job_id: int, jobset_id: int, task_id: int | None = None, n_ranges: int = 10, **_: Any
) -> Reply:
    """Hand out ranges, as a bare list."""
    call.desk.books.settle(call.now)
    return Reply(True, data=call.desk.events.acquire(job_id, jobset_id, task_id, n_ranges))


def get_available_event_range_count(call: Call, *, job_id: int, jobset_id: int, task_id: int, **_: Any) -> Reply:
    """Count what could be handed out."""
    call.desk.books.settle(call.now)
    return Reply(True, data=call.desk.events.available(job_id, jobset_id, task_id))


def get_event_range_statuses(call: Call, *, job_task_ids: str) -> Reply:
    """Tell where ranges are. The items need the key `panda_id`, not the documented `job_id`."""
    try:
        wanted = [int(item["panda_id"]) for item in json.loads(job_task_ids)]
    except (ValueError, KeyError, TypeError) as error:
        raise DatabaseError(f"job_task_ids without panda_id: {error}") from error
    call.desk.books.settle(call.now)
    return Reply(True, data=call.desk.events.statuses(wanted))


def update_event_ranges(call: Call, *, event_ranges: str, version: int = 0, **_: Any) -> Reply:
    """Take reports about ranges; the answer is status 500 after the commit, unless that fault is switched off."""
    flawed = call.desk.options.event_update_500
    try:
        items = json.loads(event_ranges)
    except ValueError as error:
        if flawed:
            raise ProtocolError(500, UNSERIALISABLE) from error
        return Reply(True, data={"Returns": '"', "Commands": "E"})
    call.desk.books.settle(call.now)
    returns, commands = call.desk.events.update(items, version, call.now)
    if flawed:
        raise ProtocolError(500, UNHASHABLE)
    if version == 0:
        return Reply(True, data={"Returns": json.dumps(returns), "Commands": json.dumps(commands)})
    return Reply(True, data={"Returns": returns, "Commands": commands})


def update_single_event_range(
    call: Call,
    *,
    event_range_id: str,
    event_range_status: str,
    core_count: int | None = None,
    cpu_consumption_time: float | None = None,
    object_store_id: Any = None,
    **_: Any,
) -> Reply:
    """Take one report; an `object_store_id` breaks the call, as its annotation on the real server is no type."""
    if object_store_id is not None:
        raise ProtocolError(500, "isinstance() arg 2 must be a type, a tuple of types, or a union")
    item = {
        "eventRangeID": event_range_id,
        "eventStatus": event_range_status,
        "coreCount": core_count,
        "cpuConsumptionTime": cpu_consumption_time,
    }
    call.desk.books.settle(call.now)
    returns, commands = call.desk.events.update([item], 0, call.now)
    if returns[0] is False:
        raise DatabaseError(f"event range {event_range_id}: malformed, or its job is not active")
    return Reply(True, data={"Command": json.dumps(commands)})
