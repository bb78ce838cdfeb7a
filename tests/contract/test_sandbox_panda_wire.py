"""The manners of the wire: paths, headers, bodies, rights, faults and control endpoints, over real HTTP."""

import gzip
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from hpcharvest.sandbox.desk import Options
from hpcharvest.sandbox.jobs import make_job
from hpcharvest.sandbox.server import SandboxServer

JSON = {"Accept": "application/json"}
QUEUE = "SANDBOX"
LOG = "log.tgz"
REPORT = json.dumps({LOG: {"guid": "g", "fsize": 1, "adler32": "0badc0de"}})


@pytest.fixture
def server() -> Iterator[SandboxServer]:
    with SandboxServer() as running:
        yield running


def job(panda_id: int, **extra: Any) -> dict[str, Any]:
    return make_job(panda_id, site=QUEUE, transformation="x.py", job_pars="--x", log=LOG, **extra)


def control(server: SandboxServer, name: str, content: Any) -> dict[str, Any]:
    response = requests.post(f"{server.url}/sandbox/{name}", json=content, timeout=60)
    response.raise_for_status()
    answer: dict[str, Any] = response.json()
    return answer


def books(server: SandboxServer) -> dict[str, Any]:
    account: dict[str, Any] = requests.get(f"{server.url}/sandbox/books", timeout=60).json()
    return account


def call(server: SandboxServer, method: str, content: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = requests.post(f"{server.url}/api/v1/{method}", json=content, timeout=60).json()
    return answer


def acquire(server: SandboxServer, n_jobs: int = 1, **criteria: Any) -> list[int]:
    answer = call(server, "pilot/acquire_jobs", {"site_name": QUEUE, "n_jobs": n_jobs, **criteria})
    return [job["PandaID"] for job in answer["data"]["jobs"]] if answer["success"] else []


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/api/v1/pilot/steal_jobs", "steal_jobs"),
        ("/api/v1/nobody/acquire_jobs", "acquire_jobs"),
        ("/api/v1/pilot/deep/acquire_jobs", "acquire_jobs"),
        ("/api/v7/system/is_alive", "is_alive"),
        ("/server/panda/getJob", "getJob"),
    ],
)
def test_a_path_that_leads_nowhere_is_forbidden(server: SandboxServer, path: str, method: str) -> None:
    response = requests.get(server.url + path, timeout=60)
    assert (response.status_code, response.text) == (403, f"ERROR : method {method} is forbidden")
    assert response.headers["content-type"] == "text/plain"


def test_latest_is_a_version(server: SandboxServer) -> None:
    assert requests.get(f"{server.url}/api/latest/system/is_alive", headers=JSON, timeout=60).json()["success"]


@pytest.mark.parametrize("accept", ["*/*", "application/json; charset=utf-8"])
def test_without_the_exact_accept_the_answer_is_python(server: SandboxServer, accept: str) -> None:
    response = requests.get(f"{server.url}/api/v1/system/is_alive", headers={"Accept": accept}, timeout=60)
    assert response.text == "{'success': True, 'message': '', 'data': None}"


def test_handed_out_jobs_can_be_python_too(server: SandboxServer) -> None:
    control(server, "jobs", [job(1)])
    response = requests.post(f"{server.url}/api/v1/pilot/acquire_jobs", data={"site_name": QUEUE}, timeout=60)
    assert response.text.startswith("{'success': True, 'message': '', 'data': {'StatusCode': 0, 'jobs': [{")


def test_another_content_type_is_read_as_a_form(server: SandboxServer) -> None:
    url = f"{server.url}/api/v1/pilot/acquire_jobs"
    headers = {**JSON, "Content-Type": "application/json; charset=utf-8"}
    body = requests.post(url, data=b'{"site_name": "X"}', headers=headers, timeout=60).json()
    assert body["message"] == "Argument error: missing a required argument: 'site_name'"
    body = requests.post(url, data={"site_name": "X", "n_jobs": "1"}, headers=JSON, timeout=60).json()
    assert body["message"] == "Type error: 'n_jobs' must be of type int, got str."


def test_a_gzipped_body_is_read(server: SandboxServer) -> None:
    control(server, "jobs", [job(1)])
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    data = gzip.compress(json.dumps({"site_name": QUEUE}).encode())
    url = f"{server.url}/api/v1/pilot/acquire_jobs"
    assert requests.post(url, data=data, headers=headers, timeout=60).json()["success"]
    assert requests.post(url, data=b"no gzip", headers=headers, timeout=60).status_code == 500


def test_invalid_json_is_status_500(server: SandboxServer) -> None:
    headers = {"Content-Type": "application/json"}
    response = requests.post(f"{server.url}/api/v1/pilot/acquire_jobs", data=b"{", headers=headers, timeout=60)
    assert response.status_code == 500
    assert response.text.startswith("ERROR : received invalid JSON : ")


def token_headers(token: str, origin: str | None) -> dict[str, str]:
    return {**JSON, "Authorization": f"Bearer {token}", **({"Origin": origin} if origin else {})}


def test_a_required_token_decides_who_may_what() -> None:
    with SandboxServer(Options(require_token="sesame")) as server:  # noqa: S106 - a token of this test
        alive = requests.get(f"{server.url}/api/v1/system/is_alive", headers=JSON, timeout=60)
        assert alive.json()["success"]
        url = f"{server.url}/api/v1/harvester/acquire_commands"
        content = {"harvester_id": "h", "n_commands": 1}

        def ask(headers: dict[str, str]) -> requests.Response:
            return requests.post(url, json=content, headers=headers, timeout=60)

        assert ask(JSON).json()["message"] == "SSL secure connection is required"
        assert ask(token_headers("sesame", "atlas.production")).json()["success"]
        assert ask(token_headers("sesame", "atlas:production")).json()["success"]
        assert ask(token_headers("sesame", "atlas")).json()["message"] == "production or pilot role required"
        for token, origin in [("sesame", None), ("wrong", "atlas.production"), ("sesame", "cms.production")]:
            assert ask(token_headers(token, origin)).status_code == 403
        jobs = requests.post(
            f"{server.url}/api/v1/pilot/acquire_jobs",
            json={"site_name": QUEUE},
            headers=token_headers("sesame", "atlas"),
            timeout=60,
        )
        assert jobs.json()["message"] == "no production/pilot role in VOMS FQANs or non pilot owner"


def test_a_whole_life_is_in_the_books() -> None:
    with SandboxServer(Options(adder_delay_s=1.0)) as server:
        follow_a_whole_life(server)


def follow_a_whole_life(server: SandboxServer) -> None:
    control(server, "jobs", [job(1), job(2, currentPriority=1000)])
    assert acquire(server, 2, scheduler_id="harvester-h") == [2, 1]
    updates = [{"job_id": 1, "job_status": "running", "attempt_nr": 1, "n_events": 5}]
    answer = call(server, "pilot/update_jobs_bulk", {"job_list": updates, "harvester_id": "h"})
    assert answer["data"][0]["data"] == {"StatusCode": 0, "command": "NULL"}
    final = {"job_id": 1, "job_status": "finished", "attempt_nr": 1, "job_output_report": REPORT}
    call(server, "pilot/update_job", final)
    url = f"{server.url}/api/v1/job/get_status"
    ask = {"job_ids": [1, 2, 3]}
    seen = requests.get(url, params=ask, headers=JSON, timeout=60).json()["data"]
    assert seen == [
        {"command": None, "status": "holding"},
        {"command": None, "status": "sent"},
        {"command": "tobekilled", "status": "unknown"},
    ]
    time.sleep(1.0)
    account = books(server)
    assert account["states"] == {"finished": 1, "sent": 1}
    assert (account["acquired"], account["redelivered"], account["final_reports"]) == (2, 0, 1)
    assert account["requests"]["pilot/acquire_jobs"] == 1
    assert account["latency_s"]["median"] >= 0
    assert account["cpu_s"] > 0
    (detail,) = requests.get(f"{server.url}/sandbox/jobs?state=finished", timeout=60).json()
    assert [update["status"] for update in detail["updates"]] == ["running", "finished"]
    assert detail["acquisitions"][0]["scheduler"] == "harvester-h"
    assert detail["output_report"] == REPORT
    assert detail["fields"]["n_events"] == 5


def test_an_answer_lost_after_the_commit_leads_to_a_double_report(server: SandboxServer) -> None:
    control(server, "jobs", [job(1)])
    acquire(server)
    control(server, "faults", [{"method": "pilot/update_*", "kind": "drop_after_commit", "count": 1}])
    final = {"job_id": 1, "job_status": "finished", "job_output_report": REPORT}
    with pytest.raises(requests.ConnectionError):
        call(server, "pilot/update_job", final)
    assert books(server)["double_reports"] == 0
    call(server, "pilot/update_job", final)
    account = books(server)
    assert (account["final_reports"], account["double_reports"]) == (2, 1)
    assert account["double_reported_jobs"] == [1]
    assert account["faults"] == {"drop_after_commit": 1}


def test_a_request_dropped_before_the_commit_changes_nothing(server: SandboxServer) -> None:
    control(server, "jobs", [job(1)])
    control(server, "faults", [{"kind": "drop_before", "method": "pilot/acquire_jobs", "count": 1}])
    with pytest.raises(requests.ConnectionError):
        acquire(server)
    assert books(server)["states"] == {"activated": 1}
    assert acquire(server) == [1]


def test_a_client_that_goes_away_in_the_middle_of_its_request_changes_nothing(server: SandboxServer) -> None:
    control(server, "jobs", [job(1)])
    host, _, port = server.url.removeprefix("http://").partition(":")
    head = "POST /api/v1/pilot/acquire_jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(f'{head}Content-Length: 50\r\n\r\n{{"site_name"'.encode())
    account = books(server)
    assert (account["acquired"], account["requests"]) == (0, {})


def test_a_lost_job_is_handed_out_again_and_counted_apart() -> None:
    with SandboxServer(Options(redeliver_after_s=1.0)) as server:
        control(server, "jobs", [job(1), job(2)])
        control(server, "faults", [{"kind": "torn_body", "method": "pilot/acquire_jobs", "count": 1}])
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            acquire(server)
        assert acquire(server) == [2]
        call(server, "pilot/update_job", {"job_id": 2, "job_status": "starting"})
        time.sleep(1.1)
        assert acquire(server, 5) == [1]
        account = books(server)
    assert (account["acquired"], account["deliveries"], account["redelivered"]) == (2, 3, 1)


@pytest.mark.parametrize(("kind", "status", "acquired"), [("error_500", 500, 0), ("html", 200, 0), ("garbage", 200, 1)])
def test_answers_that_are_no_answers(server: SandboxServer, kind: str, status: int, acquired: int) -> None:
    control(server, "jobs", [job(1)])
    control(server, "faults", [{"kind": kind}])
    url = f"{server.url}/api/v1/pilot/acquire_jobs"
    response = requests.post(url, json={"site_name": QUEUE}, timeout=60)
    assert response.status_code == status
    with pytest.raises(requests.JSONDecodeError):
        response.json()
    assert books(server)["acquired"] == acquired
    control(server, "faults", [])
    assert requests.get(f"{server.url}/api/v1/system/is_alive", timeout=60).status_code == 200


def test_latency_waits_and_goes_on(server: SandboxServer) -> None:
    control(server, "faults", [{"kind": "latency", "seconds": 0.2}])
    began = time.monotonic()
    assert requests.get(f"{server.url}/api/v1/system/is_alive", headers=JSON, timeout=60).json()["success"]
    assert time.monotonic() - began >= 0.2


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("jobs", [{"PandaID": 1}]),
        ("jobs", [job(1), job(1)]),
        ("jobs", "no job"),
        ("events", [{"job_id": 77, "n_ranges": 1}]),
        ("commands", [{"command": "KILL_WORKERS"}]),
        ("faults", [{"kind": "sulk"}]),
        ("faults", [{"kind": "latency", "minutes": 1}]),
        ("faults", [{"kind": "latency", "probability": 2}]),
    ],
)
def test_what_is_wrong_with_a_control_request_is_said(server: SandboxServer, path: str, content: Any) -> None:
    response = requests.post(f"{server.url}/sandbox/{path}", json=content, timeout=60)
    assert response.status_code == 400
    assert response.json()["error"]


def test_reset_forgets(server: SandboxServer) -> None:
    control(server, "jobs", [job(1)])
    control(server, "reset", [])
    assert books(server)["jobs"] == 0


def test_many_jobs_go_through_in_bulk(server: SandboxServer) -> None:
    control(server, "jobs", [job(panda_id) for panda_id in range(1, 2001)])
    got = acquire(server, 1000) + acquire(server, 1500)
    assert got == list(range(1, 2001))
    finals = [{"job_id": panda_id, "job_status": "finished", "job_output_report": REPORT} for panda_id in got]
    answer = call(server, "pilot/update_jobs_bulk", {"job_list": finals})
    assert len(answer["data"]) == 2000
    account = books(server)
    assert (account["final_reports"], account["double_reports"]) == (2000, 0)


def test_the_process_says_when_it_listens_and_ends_cleanly(tmp_path: Path) -> None:
    ready, jobs_file = tmp_path / "ready.json", tmp_path / "jobs.json"
    jobs_file.write_text(json.dumps([job(1)]))
    command = [sys.executable, "-m", "hpcharvest.sandbox", "--ready-file", str(ready)]
    process = subprocess.Popen([*command, "--jobs-file", str(jobs_file)])
    try:
        deadline = time.monotonic() + 120
        while not ready.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        told = json.loads(ready.read_text())
        assert told["pid"] == process.pid
        account = requests.get(f"{told['url']}/sandbox/books", timeout=60).json()
        assert account["states"] == {"activated": 1}
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def test_every_event_range_and_every_archive_can_be_looked_at(server: SandboxServer) -> None:
    control(server, "events", {"job": job(5, taskID=7, jobsetID=9), "n_ranges": 3, "jumbo": True})
    assert acquire(server) == [5]
    asked = {"job_id": 5, "jobset_id": 9, "task_id": 7, "n_ranges": 2}
    names = [one["eventRangeID"] for one in call(server, "event/acquire_event_ranges", asked)["data"]]
    done = [{"eventRangeID": names[0], "eventStatus": "finished"}]
    chunk = {"zipFile": {"lfn": "a.tar", "objstoreID": 1}, "eventRanges": done}
    said = requests.post(
        f"{server.url}/api/v1/event/update_event_ranges",
        json={"event_ranges": json.dumps([chunk]), "version": 1},
        timeout=60,
    )
    assert said.status_code == 500
    told = requests.get(f"{server.url}/sandbox/events", timeout=60).json()
    assert sorted(one["state"] for one in told["ranges"]) == ["finished", "ready", "sent"]
    assert [(one["lfn"], one["reports"]) for one in told["zips"]] == [("a.tar", 1)]
    sent = requests.get(f"{server.url}/sandbox/events?state=sent", timeout=60).json()["ranges"]
    assert [one["name"] for one in sent] == [names[1]]
