"""The endpoints beside the API, under `/sandbox`: JSON in, JSON out, status 400 with `error` for what is wrong.

| | |
|---|---|
| `GET /sandbox/books` | the account: jobs by state, deliveries, reports, requests, latency, `cpu_s` |
| `GET /sandbox/jobs?state=` | every job in detail; all states without `state` |
| `POST /sandbox/jobs` | a list of dictionaries as `jobs.make_job` makes them, to be activated |
| `GET /sandbox/events?state=` | every event range with its reports, all states without `state`, and every archive |
| `POST /sandbox/events` | a list of `{job_id or job, n_ranges, jumbo?, events_per_range?}`; a `job` is activated |
| `POST /sandbox/commands` | a list of `{harvester_id, command, params?, ack_requested?}` |
| `POST /sandbox/faults` | a list of rules (`faults.Rule`), put in force after the others; an empty list ends all |
| `POST /sandbox/reset` | forget everything |
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from hpcharvest.sandbox.desk import Desk
from hpcharvest.sandbox.faults import Rule

Endpoint = Callable[[Request], Awaitable[JSONResponse]]


def routes(desk: Desk) -> list[Route]:
    """Make the endpoints of one server."""

    async def books(_request: Request) -> JSONResponse:
        return JSONResponse(desk.summary())

    async def jobs(request: Request) -> JSONResponse:
        return JSONResponse(desk.books.details(request.query_params.get("state", ""), desk.clock()))

    async def events(request: Request) -> JSONResponse:
        desk.books.settle(desk.clock())
        return JSONResponse(desk.events.details(request.query_params.get("state", "")))

    return [
        Route("/sandbox/books", books, methods=["GET"]),
        Route("/sandbox/jobs", jobs, methods=["GET"]),
        Route("/sandbox/jobs", _taker(lambda items: add_jobs(desk, items)), methods=["POST"]),
        Route("/sandbox/events", events, methods=["GET"]),
        Route("/sandbox/events", _taker(lambda items: add_events(desk, items)), methods=["POST"]),
        Route("/sandbox/commands", _taker(lambda items: add_commands(desk, items)), methods=["POST"]),
        Route("/sandbox/faults", _taker(lambda items: set_faults(desk, items)), methods=["POST"]),
        Route("/sandbox/reset", _taker(lambda _items: reset(desk)), methods=["POST"]),
    ]


def add_jobs(desk: Desk, items: list[Any]) -> dict[str, Any]:
    """Activate jobs; ValueError, and none added, if one is incomplete or known."""
    return {"added": desk.books.add(items)}


def add_events(desk: Desk, items: list[Any]) -> dict[str, Any]:
    """Make jobs event-service jobs, known ones and new ones; ValueError names one that cannot be made."""
    for item in items:
        more = {key: item[key] for key in ("jumbo", "events_per_range") if key in item}
        try:
            if "job" in item:
                desk.events.order(item["job"], item["n_ranges"], **more)
            else:
                desk.events.make(item["job_id"], item["n_ranges"], **more)
        except KeyError as error:
            raise ValueError(f"events of {item}: {error} is missing or not known") from error
    return {"added": sum(item["n_ranges"] for item in items)}


def add_commands(desk: Desk, items: list[Any]) -> dict[str, Any]:
    """Queue commands for harvesters and give their ids."""
    try:
        ids = [
            desk.fleet.add_command(
                item["harvester_id"],
                item["command"],
                item.get("params", {}),
                ack_requested=item.get("ack_requested", 1),
                now=desk.clock(),
            )
            for item in items
        ]
    except KeyError as error:
        raise ValueError(f"command without {error}") from error
    return {"command_ids": ids}


def set_faults(desk: Desk, items: list[Any]) -> dict[str, Any]:
    """Put rules in force; none ends all of them."""
    rules = [Rule.of(item) for item in items]
    if not rules:
        desk.faults.clear()
    desk.faults.add(rules)
    return {"added": len(rules)}


def reset(desk: Desk) -> dict[str, Any]:
    """Forget everything."""
    desk.reset()
    return {}


def _taker(take: Callable[[list[Any]], dict[str, Any]]) -> Endpoint:
    """Make an endpoint that takes one item or a list of them."""

    async def endpoint(request: Request) -> JSONResponse:
        try:
            given = json.loads(await request.body() or b"[]")
            return JSONResponse(take(given if isinstance(given, list) else [given]))
        except (ValueError, TypeError, AttributeError) as error:
            return JSONResponse({"error": str(error)}, status_code=400)

    return endpoint
