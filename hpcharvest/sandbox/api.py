"""From a request to an answer: finds the method, checks rights and arguments, calls it.

The methods are in `api_pilot`, `api_events` and `api_harvester`, one function each, by the name of the method.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from hpcharvest.sandbox import api_events, api_harvester, api_pilot
from hpcharvest.sandbox.books import DatabaseError
from hpcharvest.sandbox.desk import Call, Caller, Desk
from hpcharvest.sandbox.protocol import (
    DATABASE_ERROR,
    NO_IDENTITY,
    NO_ROLE,
    ProtocolError,
    Reply,
    Request,
    check,
    forbidden,
)
from hpcharvest.sandbox.signatures import SIGNATURES, Signature

log = logging.getLogger(__name__)

METHODS: Mapping[str, Callable[..., Reply]] = {
    "event/acquire_event_ranges": api_events.acquire_event_ranges,
    "event/get_available_event_range_count": api_events.get_available_event_range_count,
    "event/get_event_range_statuses": api_events.get_event_range_statuses,
    "event/update_event_ranges": api_events.update_event_ranges,
    "event/update_single_event_range": api_events.update_single_event_range,
    "harvester/acknowledge_commands": api_harvester.acknowledge_commands,
    "harvester/acquire_commands": api_harvester.acquire_commands,
    "harvester/add_dialogs": api_harvester.add_dialogs,
    "harvester/add_sweep_command": api_harvester.add_sweep_command,
    "harvester/get_current_worker_id": api_harvester.get_current_worker_id,
    "harvester/get_worker_statistics": api_harvester.get_worker_statistics,
    "harvester/heartbeat": api_harvester.heartbeat,
    "harvester/report_worker_statistics": api_harvester.report_worker_statistics,
    "harvester/update_service_metrics": api_harvester.update_service_metrics,
    "harvester/update_workers": api_harvester.update_workers,
    "job/get_status": api_pilot.get_status,
    "job/kill": api_pilot.kill,
    "job/set_command": api_pilot.set_command,
    "metaconfig/get_resource_types": api_harvester.get_resource_types,
    "pilot/acquire_jobs": api_pilot.acquire_jobs,
    "pilot/get_job_status": api_pilot.get_job_status,
    "pilot/update_job": api_pilot.update_job,
    "pilot/update_jobs_bulk": api_pilot.update_jobs_bulk,
    "pilot/update_worker_status": api_harvester.update_worker_status,
    "statistics/active_job_stats_by_site": api_pilot.active_job_stats_by_site,
    "system/is_alive": api_harvester.is_alive,
}


def answer(desk: Desk, request: Request) -> tuple[int, bytes]:
    """Give the status and the body for a request; whatever breaks is status 500 with the error's text."""
    try:
        reply = _reply(desk, request)
    except ProtocolError as error:
        return error.status, error.text.encode()
    except Exception as error:  # the border of the server: as the real one, it says what broke and goes on
        log.exception("%s %s failed", request.verb, request.path)
        return 500, str(error).encode()
    return 200, reply.encode(as_json=request.wants_json)


def _reply(desk: Desk, request: Request) -> Reply:
    name = request.method()
    caller = desk.identify(request.headers)
    if name not in METHODS:
        raise forbidden(request.path)
    arguments = request.arguments()
    signature = SIGNATURES[name]
    refusal = _refusal(signature, caller, request.verb) or check(signature, arguments)
    if refusal is not None:
        return Reply(False, refusal)
    call = Call(desk=desk, caller=caller, now=desk.clock())
    try:
        return METHODS[name](call, **arguments)
    except DatabaseError as error:
        log.info("%s answered with a database error: %s", name, error)
        return Reply(False, DATABASE_ERROR)


def _refusal(signature: Signature, caller: Caller, verb: str) -> str | None:
    """Say why somebody may not call a method, or not so."""
    if signature.secure and not caller.dn:
        return NO_IDENTITY
    if signature.production and not caller.production:
        return NO_ROLE
    if verb != signature.verb:
        return f"expecting {signature.verb}, received {verb}"
    return None
