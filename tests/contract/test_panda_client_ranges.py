"""The client's calls about event ranges, against the embedded server: as documented, and with the status 500."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from hpcharvest.errors import AnswerLost
from hpcharvest.model.event_range import Bundle, EventRange, RangeOutcome
from hpcharvest.model.ids import AllocationId, BundleId, JobId
from hpcharvest.model.job import JobSpec
from hpcharvest.model.states import RangeState
from hpcharvest.panda.client import PandaClient
from hpcharvest.panda.credentials import Nobody
from hpcharvest.panda.transport import Transport
from hpcharvest.panda.wire import decode_jobs, decode_ranges, fatal_name
from hpcharvest.sandbox.desk import Options
from hpcharvest.sandbox.jobs import InputFile, make_job
from hpcharvest.sandbox.server import SandboxServer

NUMBER = 11


def a_job() -> dict[str, Any]:
    inputs = [InputFile(f"in.{n}", 10, "0000000a", f"guid-{n}", "lab") for n in (1, 2)]
    return make_job(NUMBER, site="LAB", transformation="x", job_pars="", inputs=inputs, jobsetID=5, taskID=1003)


def bundle(number: int, ranges: tuple[EventRange, ...]) -> Bundle:
    return Bundle(
        id=BundleId(number),
        job=JobId(NUMBER),
        allocation=AllocationId(1),
        archive=f"{number}.tar",
        size=9,
        adler32="00000009",
        ranges=len(ranges),
    )


def done(ranges: tuple[EventRange, ...], state: RangeState = RangeState.FINISHED) -> tuple[RangeOutcome, ...]:
    return tuple(RangeOutcome(id=one.id, state=state, cpu_s=2.0) for one in ranges)


@pytest.fixture(params=["as documented", "status 500"])
def server(request: pytest.FixtureRequest) -> Iterator[SandboxServer]:
    with SandboxServer(Options(event_update_500=request.param == "status 500", adder_delay_s=0.0)) as running:
        requests.post(f"{running.url}/sandbox/jobs", json=[a_job()], timeout=60).raise_for_status()
        events = [{"job_id": NUMBER, "n_ranges": 12, "events_per_range": 5}]
        requests.post(f"{running.url}/sandbox/events", json=events, timeout=60).raise_for_status()
        yield running


@pytest.fixture
def client(server: SandboxServer) -> Iterator[PandaClient]:
    transport = Transport(server.url, Nobody(), 5.0)
    yield PandaClient(transport, "contract")
    transport.close()


@pytest.fixture
def spec(client: PandaClient) -> JobSpec:
    body = client.acquire("LAB", 1, prod_source_label="managed", node="edge", computing_element="main")
    assert body is not None
    (found,) = decode_jobs(body).jobs
    return found


def taken(client: PandaClient, spec: JobSpec, number: int) -> tuple[EventRange, ...]:
    body = client.acquire_ranges(spec, number)
    assert body is not None
    decoded = decode_ranges(body)
    assert not decoded.refused
    return decoded.ranges


def report(client: PandaClient, *bundles: tuple[Bundle, tuple[RangeOutcome, ...]]) -> tuple[bool | None, ...] | None:
    """Report bundles; None: the server took them, and said 500."""
    try:
        return client.update_ranges(bundles, objstore_id=5).taken
    except AnswerLost:
        return None


def test_ranges_are_handed_out_until_there_are_no_more(client: PandaClient, spec: JobSpec) -> None:
    assert spec.event_service
    assert client.available_ranges(spec) == 12
    first, rest = taken(client, spec, 7), taken(client, spec, 100)
    assert (len(first), len(rest)) == (7, 5)
    assert client.acquire_ranges(spec, 1) is None
    assert client.available_ranges(spec) == 0
    assert len({one.id for one in first + rest}) == 12
    assert {one.last - one.start for one in first + rest} == {4}
    assert {(one.lfn, one.guid, one.scope) for one in rest} <= {("in.1", "guid-1", "lab"), ("in.2", "guid-2", "lab")}


def test_what_was_told_is_known_afterwards_whatever_the_answer_was(client: PandaClient, spec: JobSpec) -> None:
    ranges = taken(client, spec, 6)
    finished, failed, silent = ranges[:3], ranges[3:5], ranges[5:]
    failures = done(failed[:1], RangeState.FAILED) + done(failed[1:], RangeState.FATAL)
    nameless = Bundle(id=BundleId(2), job=JobId(NUMBER), allocation=AllocationId(1), ranges=2)
    answer = report(client, (bundle(1, finished), done(finished)), (nameless, failures))
    assert answer in {None, (True,) * 5}
    told = client.range_statuses(spec)
    names = {one.id: fatal_name(one.id) if one is failed[1] else one.id for one in ranges}
    assert told == {names[one.id]: one not in silent for one in ranges}  # it gives a fatal range another name


def test_the_server_counts_what_is_told_of_ranges_once(
    client: PandaClient, spec: JobSpec, server: SandboxServer
) -> None:
    ranges = taken(client, spec, 4)
    report(client, (bundle(1, ranges), done(ranges)))
    books = requests.get(f"{server.url}/sandbox/books", timeout=60).json()["events"]
    assert (books["finished_reports"], books["finished_again"]) == (4, 0)
    assert books["states"] == {"finished": 4, "ready": 8}


def test_a_report_about_a_job_that_the_server_does_not_know_is_refused(client: PandaClient, spec: JobSpec) -> None:
    (one,) = taken(client, spec, 1)
    stranger = EventRange(id="1003-999-1-1-3", start=1, last=1, lfn="in.1")
    answer = report(client, (bundle(1, (one, stranger)), done((one, stranger))))
    assert answer in {None, (True, False)}
    assert client.range_statuses(spec) == {one.id: True}
