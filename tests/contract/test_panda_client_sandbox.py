"""The client against the embedded PanDA server, which runs as a program of its own and shares no code with it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests

from hpcharvest.errors import AnswerLost, AnswerNotUnderstood, PandaError, ServerRefused
from hpcharvest.model.allocation import Allocation
from hpcharvest.model.ids import AllocationId, Attempt, JobId
from hpcharvest.model.job import Job, JobSpec, PayloadOutcome, StoredFile
from hpcharvest.model.report import Report
from hpcharvest.model.shape import Shape
from hpcharvest.model.states import AllocationState, JobState, PayloadResult
from hpcharvest.panda.client import PandaClient
from hpcharvest.panda.credentials import Credentials, Nobody, TokenFile
from hpcharvest.panda.transport import Transport
from hpcharvest.panda.wire import decode_jobs, encode_update, encode_worker, settled
from hpcharvest.sandbox.jobs import InputFile, make_job

QUEUE = "LAB"
TOKEN = "sesame"  # noqa: S105 - it opens a server that lives as long as this test
NOW = 1795219200.0


def job_dictionaries() -> list[dict[str, Any]]:
    inputs = [InputFile(f"in.{n}", 10, "0000000a", f"guid-{n}", "lab") for n in (1, 2)]
    common: dict[str, Any] = {"site": QUEUE, "transformation": "Sim_tf.py", "job_pars": "--x", "inputs": inputs}
    return [make_job(n, **common, outputs=[f"out.{n}"], log=f"log.{n}.tgz") for n in (11, 12)]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    ready = tmp_path_factory.mktemp("sandbox") / "ready.json"
    arguments = ["--port", "0", "--ready-file", str(ready), "--require-token", TOKEN, "--adder-delay", "0"]
    process = subprocess.Popen([sys.executable, "-m", "hpcharvest.sandbox", *arguments])
    try:
        deadline = time.monotonic() + 120
        while not ready.exists():
            assert process.poll() is None, "the sandbox ended before it was ready"
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield json.loads(ready.read_text())["url"]
    finally:
        process.terminate()
        process.wait(10)


def control(url: str, path: str, content: Any) -> None:
    requests.post(f"{url}/sandbox/{path}", json=content, timeout=60).raise_for_status()


def client_of(url: str, credentials: Credentials) -> Iterator[PandaClient]:
    transport = Transport(url, credentials, 5.0)
    yield PandaClient(transport, "contract")
    transport.close()


@pytest.fixture
def client(url: str, tmp_path: Path) -> Iterator[PandaClient]:
    control(url, "reset", [])
    control(url, "faults", [])
    control(url, "jobs", job_dictionaries())
    path = tmp_path / "token"
    path.write_text(TOKEN)
    yield from client_of(url, TokenFile(path, "atlas:production"))


@pytest.fixture
def stranger(url: str) -> Iterator[PandaClient]:
    yield from client_of(url, Nobody())


def acquire(client: PandaClient, n_jobs: int = 5) -> bytes | None:
    return client.acquire(QUEUE, n_jobs, prod_source_label="managed", node="edge", computing_element="main")


def taken(client: PandaClient) -> list[JobSpec]:
    body = acquire(client)
    assert body is not None
    decoded = decode_jobs(body)
    assert not decoded.refused
    return list(decoded.jobs)


def told(spec: JobSpec, state: JobState, batch_id: str = "b") -> dict[str, Any]:
    outcome = PayloadOutcome(
        result=PayloadResult.DONE, exit_code=0, node="n1", started_at=NOW, ended_at=NOW + 9, cpu_s=8.5, metadata="{}"
    )
    stored = tuple(StoredFile(lfn=one.lfn, size=5, adler32="00000005") for one in spec.outputs)
    job = Job(spec=spec, queue=QUEUE, state=state, since=NOW, attempt=Attempt(1), outcome=outcome, stored=stored)
    report = Report(job=spec.panda_id, serial=1, status=state, final=state.final)
    return encode_update(job, report, harvester_id="contract", batch_id=batch_id)


def status(client: PandaClient, spec: JobSpec) -> str:
    return client.job_statuses([spec.panda_id])[spec.panda_id].status


def test_life_of_a_job(client: PandaClient) -> None:
    first, second = taken(client)
    assert [one.lfn for one in first.inputs] == ["in.1", "in.2"]
    assert acquire(client) is None
    for state in (JobState.RECEIVED, JobState.QUEUED, JobState.RUNNING, JobState.RAN):
        assert all(one.accepted for one in client.update_jobs([told(first, state), told(second, state)]))
    assert status(client, first) == "transferring"
    finished, failed = client.update_jobs([told(first, JobState.FINISHED), told(second, JobState.FAILED)])
    assert finished.accepted
    assert failed.accepted
    assert (status(client, first), status(client, second)) == ("finished", "failed")


def test_final_report_once_more_wants_the_job_stopped(client: PandaClient) -> None:
    spec, _ = taken(client)
    client.update_jobs([told(spec, JobState.FINISHED)])
    assert settled(status(client, spec))
    (again,) = client.update_jobs([told(spec, JobState.FINISHED)])
    assert again.accepted
    assert again.stop


def test_job_that_nobody_knows(client: PandaClient) -> None:
    spec = replace(taken(client)[0], panda_id=JobId(4711))
    (answer,) = client.update_jobs([told(spec, JobState.RUNNING)])
    assert answer.stop
    assert settled(status(client, spec))


def test_batch_id_that_changes_is_a_database_error(client: PandaClient) -> None:
    spec, _ = taken(client)
    client.update_jobs([told(spec, JobState.RUNNING, "a")])
    (answer,) = client.update_jobs([told(spec, JobState.RUNNING, "b")])
    assert (answer.accepted, answer.transient) == (False, True)


@pytest.mark.parametrize(
    ("fault", "error", "arrived"),
    [
        ("error_500", AnswerLost, False),
        ("drop_before", AnswerLost, False),
        ("drop_after_commit", AnswerLost, True),
        ("torn_body", AnswerLost, True),
        ("garbage", AnswerNotUnderstood, True),
        ("html", AnswerNotUnderstood, False),
    ],
)
def test_fate_of_a_report_in_transit_is_found_out(
    url: str, client: PandaClient, fault: str, error: type[PandaError], *, arrived: bool
) -> None:
    spec, _ = taken(client)
    client.update_jobs([told(spec, JobState.RAN)])
    control(url, "faults", [{"kind": fault, "method": "pilot/update_jobs_bulk", "count": 1}])
    with pytest.raises(error):
        client.update_jobs([told(spec, JobState.FINISHED)])
    assert settled(status(client, spec)) is arrived
    if not arrived:
        client.update_jobs([told(spec, JobState.FINISHED)])
    assert status(client, spec) == "finished"


def test_service_calls(url: str, client: PandaClient) -> None:
    assert client.is_alive()
    client.heartbeat(NOW, "1.0")
    allocation = Allocation(
        id=AllocationId(1),
        queue=QUEUE,
        shape=Shape(nodes=1, walltime_s=60),
        tag="t",
        jobs=((JobId(11), Attempt(1)),),
        state=AllocationState.RUNNING,
        since=NOW,
        created_at=NOW,
        batch_id="77",
    )
    assert client.update_workers([encode_worker(allocation, cores=8, host="edge")]) == (True,)
    control(url, "commands", {"harvester_id": "contract", "command": "KILL_WORKERS", "params": {"status": []}})
    (command,) = client.acquire_commands()
    assert command.verb == "KILL_WORKERS"
    client.acknowledge_commands([command.id])
    assert client.acquire_commands() == ()


def test_stranger_gets_nothing(client: PandaClient, stranger: PandaClient) -> None:
    assert stranger.is_alive()
    with pytest.raises(ServerRefused, match="SSL secure connection is required"):
        acquire(stranger)
    assert len(taken(client)) == 2
