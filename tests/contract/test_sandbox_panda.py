"""The sandbox against the recordings of a real panda-server: the same questions, the same answers.

Every recorded request of a method that the sandbox has is replayed, in order, on a server brought to the state in
which it was recorded; status, content type and body must be the same up to times.
"""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import requests

from hpcharvest.sandbox.jobs import ROUTING_KEY, InputFile, make_job
from hpcharvest.sandbox.server import SandboxServer
from hpcharvest.sandbox.signatures import SIGNATURES, TABLE

RECORDINGS = Path(__file__).parent.parent / "recordings" / "panda"
NOT_HERE = {
    "creds/get_access_token",
    "creds/get_key_pair",
    "creds/get_proxy",
    "creds/get_token_key",
    "metaconfig/get_site_specs",
    "pilot/update_worker_node",
}
QUEUE = "LAB_HPC_ES"


class Exchange(NamedTuple):
    """One recorded request with its answer; the body is a JSON value, or text where it is none."""

    verb: str
    method: str
    arguments: dict[str, Any]
    status: int
    body: Any


def exchanges(name: str) -> Iterator[Exchange]:
    text = (RECORDINGS / name).read_text(encoding="utf-8")
    for block in re.split(r"^### ", text, flags=re.MULTILINE)[1:]:
        head, _, rest = block.partition("\n")
        verb, method, *arguments = head.split(" ", 2)
        match = re.match(r"(\d{3}) text/plain\s*", rest)
        status, body = (int(match[1]), rest[match.end() :]) if match else (200, rest)
        answer = json.JSONDecoder().raw_decode(body)[0] if body.startswith("{") else body.strip()
        yield Exchange(verb, method, json.loads(arguments[0]) if arguments else {}, status, answer)


def ask(url: str, exchange: Exchange) -> requests.Response:
    address = f"{url}/api/v1/{exchange.method}"
    headers = {"Accept": "application/json"}
    if exchange.verb == "GET":
        return requests.get(address, params=exchange.arguments, headers=headers, timeout=60)
    return requests.post(address, json=exchange.arguments, headers=headers, timeout=60)


def timeless(value: Any) -> Any:
    """Give the value with every time replaced."""
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?", "TIME", json.dumps(value))
    return json.loads(text)


def post(server: SandboxServer, path: str, content: Any) -> None:
    requests.post(f"{server.url}{path}", json=content, timeout=60).raise_for_status()


def simple_job(panda_id: int, site: str = QUEUE) -> dict[str, Any]:
    return make_job(panda_id, site=site, transformation="Sim_tf.py", job_pars="--x", log=f"log.{panda_id}.tgz")


def sent(server: SandboxServer, ids: list[int]) -> None:
    post(server, "/sandbox/jobs", [simple_job(panda_id) for panda_id in ids])
    asked = {"site_name": QUEUE, "n_jobs": len(ids)}
    post(server, "/api/v1/pilot/acquire_jobs", asked)


def before_edge(server: SandboxServer) -> None:
    sent(server, [31])


def before_harvester(server: SandboxServer) -> None:
    command = {"harvester_id": "lab_harvester", "command": f"REPORT_WORKER_STATS:{QUEUE}"}
    post(server, "/sandbox/commands", [command])


def before_misc(server: SandboxServer) -> None:
    sent(server, [8, 9, 1, 2, 3, 4, 5])
    post(server, "/api/v1/pilot/update_job", {"job_id": 9, "job_status": "running"})
    post(server, "/sandbox/jobs", [simple_job(6), simple_job(7)])


SCENES: dict[str, Callable[[SandboxServer], None]] = {
    "edge.txt": before_edge,
    "harvester.txt": before_harvester,
    "misc.txt": before_misc,
    "types.txt": before_edge,
}


@pytest.mark.parametrize("name", SCENES)
def test_answers_as_recorded(name: str) -> None:
    replayed = 0
    with SandboxServer() as server:
        SCENES[name](server)
        for exchange in exchanges(name):
            if exchange.method in NOT_HERE:
                continue
            response = ask(server.url, exchange)
            answer = response.json() if isinstance(exchange.body, dict) else response.text
            got = (response.status_code, response.headers["content-type"], timeless(answer))
            assert got == (exchange.status, "text/plain", timeless(exchange.body)), exchange
            replayed += 1
    assert replayed >= 7


def recorded_lines() -> dict[str, str]:
    lines, module = {}, ""
    for line in (RECORDINGS / "api_list.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            module = line[3:]
        else:
            lines[f"{module}/{line.split('(')[0].split()[-1]}"] = line
    return lines


def own_lines() -> dict[str, str]:
    lines, module = {}, ""
    for line in TABLE.splitlines():
        if line.startswith("## "):
            module = line[3:]
        elif line:
            lines[f"{module}/{line.split('(')[0].split()[-1]}"] = line
    return lines


@pytest.mark.parametrize("method", SIGNATURES)
def test_signature_is_the_recorded_one(method: str) -> None:
    """The listing cuts long signatures short, so it must be the beginning of ours, with the same rights."""
    recorded, own = recorded_lines()[method], own_lines()[method]
    call, _, rights = recorded.partition(") [")
    assert own.startswith(call)
    assert own.endswith(f") [{rights}")
    if len(call) < 200:
        assert own == recorded


def test_every_method_of_the_table_is_answered() -> None:
    with SandboxServer() as server:
        for name, signature in SIGNATURES.items():
            other = "GET" if signature.verb == "POST" else "POST"
            body = requests.request(other, f"{server.url}/api/v1/{name}", json={}, timeout=60).json()
            message = f"expecting {signature.verb}, received {other}"
            assert body == {"success": False, "message": message, "data": None}


def test_a_job_is_served_with_the_recorded_keys_types_and_lists() -> None:
    recorded = json.loads((RECORDINGS / "first_job.json").read_text(encoding="utf-8"))
    (job,) = recorded["data"]["jobs"]
    names, sizes = job["inFiles"].split(","), job["fsize"].split(",")
    guids, sums = job["GUID"].split(","), job["checksum"].split(",")
    made = make_job(
        job["PandaID"],
        site=QUEUE,
        transformation=job["transformation"],
        job_pars=job["jobPars"],
        inputs=[
            InputFile(lfn, int(size), checksum.removeprefix("ad:"), guid, "lab")
            for lfn, size, checksum, guid in zip(names, sizes, sums, guids, strict=True)
        ],
        outputs=["lab.HITS.10._000001.root"],
        log=job["logFile"],
        core_count=8,
        max_walltime=7200,
        memory=16000,
    )
    with SandboxServer() as server:
        post(server, "/sandbox/jobs", [made])
        asked = {"site_name": QUEUE, "n_jobs": 1}
        answer = requests.post(f"{server.url}/api/v1/pilot/acquire_jobs", json=asked, timeout=60).json()
    (served,) = answer["data"]["jobs"]
    assert {key: answer[key] for key in ("success", "message")} == {"success": True, "message": ""}
    assert answer["data"]["StatusCode"] == 0
    assert list(served) == list(job)
    assert {key: type(value) for key, value in served.items()} == {key: type(value) for key, value in job.items()}
    for key, value in job.items():
        if isinstance(value, str):
            assert served[key].count(",") == value.count(","), key
    ours = {"swRelease", "homepackage", "jobName", "cloud", "destinationDblock", "prodDBlocks", "realDatasets"}
    ours |= {"realDatasetsIn", "logGUID", "prodUserID", "maxCpuCount", "maxDiskCount", "cmtConfig", "taskID"}
    assert {key: served[key] for key in job.keys() - ours} == {key: job[key] for key in job.keys() - ours}
    assert ROUTING_KEY not in served


def test_optional_keys_of_a_recorded_merge_job_can_be_made() -> None:
    text = (RECORDINGS / "merge.txt").read_text(encoding="utf-8")
    (job,) = json.loads(text.partition("\n")[2])["data"]["jobs"]
    given = {key: value for key, value in job.items() if key != "transformation"}
    made = make_job(24, site=QUEUE, transformation=job["transformation"], job_pars="--x", **given)
    assert {key: value for key, value in made.items() if key != ROUTING_KEY} == job
