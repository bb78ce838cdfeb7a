"""The methods, called without HTTP."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest

from hpcharvest.sandbox.api import answer
from hpcharvest.sandbox.desk import Desk, Options
from hpcharvest.sandbox.faults import Kind, Plan, Rule
from hpcharvest.sandbox.jobs import make_job
from hpcharvest.sandbox.ledger import Criteria
from hpcharvest.sandbox.protocol import JSON, Request
from hpcharvest.sandbox.signatures import SIGNATURES, parse

Ask = Callable[..., Any]


@pytest.fixture
def desk() -> Desk:
    made = Desk(clock=lambda: 1000.0)
    made.books.add([make_job(1, site="Q", transformation="x", job_pars="", jobsetID=100, taskID=7)])
    made.events.make(1, 3)
    made.books.acquire(Criteria(site="Q"), 1, None, 1000.0)
    return made


@pytest.fixture
def ask(desk: Desk) -> Ask:
    def asked(method: str, **arguments: Any) -> Any:
        verb = SIGNATURES[method].verb
        status, body = answer(
            desk,
            Request(
                verb=verb,
                path=f"/api/v1/{method}",
                query=urlencode(arguments, doseq=True) if verb == "GET" else "",
                headers={"accept": JSON, "content-type": JSON},
                body=json.dumps(arguments).encode() if verb == "POST" else b"",
            ),
        )
        return json.loads(body) if status == 200 else (status, body.decode())

    return asked


def test_event_updates_are_committed_and_then_break(desk: Desk, ask: Ask) -> None:
    (one,) = ask("event/acquire_event_ranges", job_id=1, jobset_id=100, n_ranges=1)["data"]
    items = json.dumps([{"eventRangeID": one["eventRangeID"], "eventStatus": "finished"}])
    assert ask("event/update_event_ranges", event_ranges=items) == (500, "unhashable type: 'list'")
    assert desk.events.summary()["states"] == {"ready": 2, "finished": 1}
    assert ask("event/get_available_event_range_count", job_id=1, jobset_id=100, task_id=7)["data"] == 2


def test_event_updates_as_documented() -> None:
    desk = Desk(Options(event_update_500=False))
    for version, returns in ((1, [False]), (0, "[false]")):
        content = {"event_ranges": '[{"eventRangeID": "x"}]', "version": version}
        request = Request(
            verb="POST",
            path="/api/v1/event/update_event_ranges",
            headers={"content-type": JSON},
            body=json.dumps(content).encode(),
        )
        status, body = answer(desk, request)
        assert (status, json.loads(body)["data"]["Returns"]) == (200, returns)


def test_a_single_event_update(ask: Ask) -> None:
    (one,) = ask("event/acquire_event_ranges", job_id=1, jobset_id=100, n_ranges=1)["data"]
    given = {"event_range_id": one["eventRangeID"], "event_range_status": "finished"}
    assert ask("event/update_single_event_range", **given)["data"] == {"Command": '{"1": null}'}
    status, text = ask("event/update_single_event_range", **given, object_store_id=5)
    assert (status, text.startswith("isinstance() arg 2 must be a type")) == (500, True)
    unknown = {**given, "event_range_id": "7-9-1-1-3"}
    refused = ask("event/update_single_event_range", **unknown)
    assert refused["message"] == "database error in the PanDA server"
    pairs = json.dumps([{"task_id": 7, "panda_id": 1}])
    told = ask("event/get_event_range_statuses", job_task_ids=pairs)["data"]
    assert told["1"][one["eventRangeID"]]["status"] == "finished"
    documented = json.dumps([{"task_id": 7, "job_id": 1}])
    assert not ask("event/get_event_range_statuses", job_task_ids=documented)["success"]


def test_the_second_heartbeat_of_an_unknown_harvester_succeeds(desk: Desk, ask: Ask) -> None:
    beat = {"harvester_id": "h", "data": {"sw_version": "1"}}
    assert not ask("harvester/heartbeat", **beat)["success"]
    assert ask("harvester/heartbeat", **beat) == {"success": True, "message": "", "data": None}
    for data in ({"host": "x"}, None):
        assert not ask("harvester/heartbeat", harvester_id="h", data=data)["success"]
    assert desk.fleet.summary()["instances"] == {"h": {"sw_version": "1"}}


def test_a_final_worker_status_sticks(desk: Desk, ask: Ask) -> None:
    for status in ("running", "finished", "running"):
        ask("harvester/update_workers", harvester_id="h", workers=[{"workerID": 4, "status": status}])
    assert desk.fleet.workers["h"][4]["status"] == "finished"
    assert ask("harvester/get_current_worker_id", harvester_id="h")["data"] == 4


def test_bulk_stops_at_a_job_without_its_key_but_keeps_what_was_before(desk: Desk, ask: Ask) -> None:
    jobs = [{"job_id": 1, "job_status": "running"}, {"job_id": 1}]
    told = ask("pilot/update_jobs_bulk", job_list=jobs)
    assert told == {"success": False, "message": "failed with KeyError 'job_status'", "data": []}
    assert desk.books.status([1], 1000.0)[0]["status"] == "running"
    jobs = [{"job_id": 1, "job_status": "cancelled"}, {"job_id": 1, "job_status": "closed", "state": "x"}]
    first, second = ask("pilot/update_jobs_bulk", job_list=jobs)["data"]
    assert first["message"] == "Invalid job status: cancelled"
    assert first["data"] == {"StatusCode": 50}
    assert second["message"] == "Argument error: got an unexpected keyword argument 'state'"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"job_ids": ["1", "x"]}, "Type error: 'job_ids' with value '['1', 'x']' could not be casted to type List"),
        (
            {"job_ids": "1", "timeout": "soon"},
            "Type error: 'timeout' with value 'soon' could not be casted to type int",
        ),
        ({"job_ids": "1", "verbose": "1"}, "Argument error: got an unexpected keyword argument 'verbose'"),
    ],
)
def test_a_query_that_cannot_be_cast(ask: Ask, arguments: dict[str, Any], message: str) -> None:
    assert ask("job/get_status", **arguments)["message"].startswith(message)


def test_a_query_is_cast_by_way_of_a_float(ask: Ask) -> None:
    assert ask("job/get_status", job_ids="1.0", timeout="5.5")["data"][0]["status"] == "sent"


def test_the_first_wrong_type_of_the_signature_is_named(ask: Ask) -> None:
    told = ask("job/kill", code="9", job_ids=[1, "2"])
    assert told["message"] == "Type error: All elements in 'job_ids' must be int."
    told = ask("pilot/update_job", node=5, job_status=4, job_id=1)
    assert told["message"] == "Type error: 'job_status' must be of type str, got int."


def test_what_breaks_inside_is_status_500_with_its_text(ask: Ask) -> None:
    status, text = ask("harvester/add_dialogs", harvester_id="h", dialogs=[5])
    assert (status, "not a mapping" in text) == (500, True)


def test_a_signature_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="is not an argument"):
        parse("## a\n GET   b(!) [open]")


def test_faults_are_counted_and_seeded() -> None:
    rules = [
        {"kind": "latency", "seconds": 1.5, "method": "pilot/*"},
        {"kind": "error_500", "probability": 0.5},
        {"kind": "html", "count": 1},
    ]
    plans = []
    for _ in range(2):
        desk = Desk(Options(seed=3))
        desk.faults.add(Rule.of(rule) for rule in rules)
        plans.append([desk.faults.plan("pilot/acquire_jobs") for _ in range(40)])
        assert desk.faults.plan("job/kill").wait_s == 0
    assert plans[0] == plans[1]
    failures = [plan.failure for plan in plans[0]]
    assert failures.count(Kind.HTML) == 1
    assert 10 <= failures.count(Kind.ERROR_500) <= 30
    assert {plan.wait_s for plan in plans[0]} == {1.5}
    assert Desk().faults.plan("job/kill") == Plan()
