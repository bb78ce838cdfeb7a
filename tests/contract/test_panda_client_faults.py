"""The client against a server that misbehaves on purpose, on the loopback interface."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from hpcharvest.errors import AnswerLost, AnswerNotUnderstood, PandaError, ServerRefused, ServerUnreachable
from hpcharvest.model.ids import JobId
from hpcharvest.panda.client import PandaClient
from hpcharvest.panda.credentials import ClientCertificate, Credentials, Nobody, TokenFile
from hpcharvest.panda.transport import Transport
from hpcharvest.panda.wire import ServerJobStatus

TIMEOUT_S = 0.4
LIMIT = 100_000
FIRST_JOB = (Path(__file__).parents[1] / "recordings" / "panda" / "first_job.json").read_bytes()
NO_JOBS = {"success": False, "message": "No jobs in PanDA", "data": None}

Behaviour = Callable[["Handler"], None]


class Server(ThreadingHTTPServer):
    """Behaves for each request as it was told to, and remembers what it was asked."""

    daemon_threads = True
    script: list[Behaviour]
    requests: list[tuple[str, str, dict[str, str], Any]]
    connections: set[Any]
    over: threading.Event

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of connections that the test itself broke."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.requests.append((self.command, self.path, dict(self.headers), json.loads(body) if body else None))
        self.server.connections.add(self.client_address)
        self.server.script.pop(0)(self)

    do_GET = do_POST  # noqa: N815 - the base class looks for it under this name

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
        """Keep the test's output clean."""

    def send(self, body: bytes, status: int = 200, *, promised: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body) if promised is None else promised))
        self.end_headers()
        self.wfile.write(body)


def says(answer: Any) -> Behaviour:
    return lambda handler: handler.send(json.dumps(answer).encode())


def ok(data: Any) -> Behaviour:
    return says({"success": True, "message": "", "data": data})


def sends(body: bytes, status: int = 200) -> Behaviour:
    return lambda handler: handler.send(body, status)


def tears(handler: Handler) -> None:
    handler.send(b'{"success": true, ', promised=100)
    handler.close_connection = True


def resets(handler: Handler) -> None:
    """Hang up so that the other side gets an RST."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()
    handler.close_connection = True


def sleeps(handler: Handler) -> None:
    handler.server.over.wait(10)


def drips(handler: Handler) -> None:
    """Send a byte now and then, always within the time that one read may take."""
    handler.send(b"{", promised=1000)
    while not handler.server.over.wait(TIMEOUT_S / 4):
        handler.wfile.write(b" ")


def chunks(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    for part in (b'{"success":true,', b'"message":"","data":5}', b""):
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as server:
        server.script, server.requests, server.connections, server.over = [], [], set(), threading.Event()
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.over.set()
        server.shutdown()
        thread.join()


def address(server: Server, scheme: str = "http") -> str:
    return f"{scheme}://127.0.0.1:{server.server_address[1]}"


@pytest.fixture
def transport(server: Server) -> Iterator[Transport]:
    transport = Transport(address(server), Nobody(), TIMEOUT_S, LIMIT)
    yield transport
    transport.close()


@pytest.fixture
def client(transport: Transport) -> PandaClient:
    return PandaClient(transport, "h", chunk=2)


def failure(url: str, credentials: Credentials | None = None) -> PandaError:
    transport = Transport(url, credentials or Nobody(), TIMEOUT_S, LIMIT)
    with pytest.raises(PandaError) as caught:
        transport.post("a/b", {"x": 1})
    transport.close()
    return caught.value


def test_request_has_exactly_the_headers_that_the_server_understands(server: Server, transport: Transport) -> None:
    server.script = [ok(5), ok(6)]
    assert transport.post("a/b", {"x": 1}) == 5
    assert transport.get("c/d", {"job_ids": [1, 2]}) == 6
    (verb, path, headers, body), (verb2, path2, headers2, body2) = server.requests
    assert (verb, path, body) == ("POST", "/api/v1/a/b", {"x": 1})
    assert (verb2, path2, body2) == ("GET", "/api/v1/c/d?job_ids=1&job_ids=2", None)
    assert headers["Content-Type"] == headers["Accept"] == headers2["Accept"] == "application/json"
    assert "Content-Type" not in headers2
    assert "Authorization" not in headers
    assert len(server.connections) == 1


def test_chunked_answer_is_read(server: Server, transport: Transport) -> None:
    server.script = [chunks]
    assert transport.get("a/b") == 5


def test_nobody_listens() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        assert isinstance(failure(f"http://127.0.0.1:{port}"), ServerUnreachable)


def test_no_such_host() -> None:
    assert isinstance(failure("http://no.such.host.invalid"), ServerUnreachable)


def test_no_tls_on_the_other_side(server: Server) -> None:
    assert isinstance(failure(address(server, "https")), ServerUnreachable)
    assert not server.requests


def test_credentials_that_cannot_be_read_send_nothing(server: Server, tmp_path: Path) -> None:
    for credentials in (TokenFile(tmp_path / "no", "o"), ClientCertificate(tmp_path / "no")):
        assert isinstance(failure(address(server), credentials), ServerUnreachable)
    assert not server.requests


def test_token_goes_with_every_request_and_is_never_in_an_error(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "token"
    token = TokenFile(path, "atlas:production")
    path.write_text("sesame")
    server.script = [ok(None), sends(b"ERROR : Token authentication failed.", 403)]
    transport = Transport(address(server), token, TIMEOUT_S, LIMIT)
    transport.post("a/b", {})
    assert server.requests[0][2]["Authorization"] == "Bearer sesame"
    assert server.requests[0][2]["Origin"] == "atlas:production"
    with pytest.raises(ServerRefused, match="Token authentication failed") as caught:
        transport.post("a/b", {})
    assert "sesame" not in str(caught.value)
    path.write_text("open\r\nsesame")
    problem = failure(address(server), token)
    assert "sesame" not in f"{problem}{problem.__cause__}"
    transport.close()


@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [
        (resets, AnswerLost),
        (tears, AnswerLost),
        (sleeps, AnswerLost),
        (drips, AnswerLost),
        (sends(b"unhashable type: 'list'", 500), AnswerLost),
        (sends(b"<html>Bad Gateway</html>", 502), AnswerLost),
        (sends(b"<html>Service Unavailable</html>", 503), AnswerLost),
        (sends(b"<html>Welcome to the hotel</html>"), AnswerNotUnderstood),
        (sends(b""), AnswerNotUnderstood),
        (sends(b"{'success': True}"), AnswerNotUnderstood),
        (sends(b" " * (LIMIT + 1)), AnswerNotUnderstood),
        (sends(b"moved", 302), AnswerNotUnderstood),
        (sends(b"ERROR : method X is forbidden", 403), ServerRefused),
        (sends(b"not found", 404), ServerRefused),
        (says({"success": False, "message": "SSL secure connection is required", "data": None}), ServerRefused),
    ],
)
def test_every_misfortune_has_its_error(server: Server, behaviour: Behaviour, kind: type[PandaError]) -> None:
    server.script = [behaviour]
    problem = failure(address(server))
    assert type(problem) is kind, problem
    assert len(server.requests) == 1
    server.over.set()


def test_question_that_found_no_ear_is_told_from_one_that_took_too_long(server: Server, transport: Transport) -> None:
    server.script = [resets, sleeps]
    for kind in (ServerUnreachable, AnswerLost):
        with pytest.raises(kind):
            transport.get("a/b")


def test_after_a_misfortune_the_transport_goes_on(server: Server, transport: Transport) -> None:
    server.script = [tears, resets, sends(b" " * (LIMIT + 1)), ok("well")]
    for _ in range(3):
        with pytest.raises(PandaError):
            transport.post("a/b", {})
    assert transport.post("a/b", {}) == "well"


def test_each_thread_has_a_connection_of_its_own(server: Server, transport: Transport) -> None:
    server.script = [ok(1)] * 6
    barrier = threading.Barrier(2)

    def ask() -> int:
        barrier.wait(5)
        return sum(int(transport.get("a/b")) for _ in range(3))

    with ThreadPoolExecutor(2) as pool:
        assert [one.result() for one in [pool.submit(ask), pool.submit(ask)]] == [3, 3]
    assert len(server.connections) == 2


def test_jobs_come_as_they_were_sent(server: Server, client: PandaClient) -> None:
    server.script = [sends(FIRST_JOB), says(NO_JOBS), says(NO_JOBS | {"message": "no role"})]

    def ask() -> bytes | None:
        return client.acquire("LAB", 2, prod_source_label="managed", node="n", computing_element="ce")

    assert ask() == FIRST_JOB
    assert ask() is None
    with pytest.raises(ServerRefused, match="no role"):
        ask()
    assert server.requests[0][1] == "/api/v1/pilot/acquire_jobs"


def test_updates_go_in_chunks_and_come_back_in_order(server: Server, client: PandaClient) -> None:
    def answers(handler: Handler) -> None:
        entries = handler.server.requests[-1][3]["job_list"]
        done = [{"success": True, "data": {"StatusCode": 0, "command": f"c{one['job_id']}"}} for one in entries]
        ok(done)(handler)

    server.script = [answers] * 3
    told = client.update_jobs([{"job_id": number} for number in range(5)])
    assert [one.command for one in told] == [f"c{number}" for number in range(5)]
    assert [len(body["job_list"]) for *_, body in server.requests] == [2, 2, 1]
    assert client.update_jobs([]) == []


def test_call_that_fails_as_a_whole_is_an_error(server: Server, client: PandaClient) -> None:
    server.script = [says({"success": False, "message": "failed with KeyError 'job_id'", "data": []})]
    with pytest.raises(ServerRefused, match="KeyError"):
        client.update_jobs([{}])


def test_statuses_are_asked_a_hundred_at_a_time(server: Server, client: PandaClient) -> None:
    server.script = [ok([{"status": "running", "command": None}] * count) for count in (100, 50)]
    statuses = client.job_statuses(JobId(number) for number in range(150))
    assert statuses == dict.fromkeys(range(150), ServerJobStatus(status="running"))
    assert "job_ids=99" in server.requests[0][1]


def test_first_heartbeat_is_given_again(server: Server, client: PandaClient) -> None:
    server.script = [says({"success": False, "message": "database error in the PanDA server", "data": None}), ok(None)]
    client.heartbeat(1795219200.0, "1.0")
    assert server.requests[0][3] == server.requests[1][3]


def test_nothing_is_not_sent(server: Server, client: PandaClient) -> None:
    assert client.update_workers([]) == ()
    client.acknowledge_commands([])
    assert not server.requests


def test_workers_and_commands(server: Server, client: PandaClient) -> None:
    server.script = [
        ok([True]),
        ok([{"command_id": 3, "command": "KILL_WORKERS", "params": {}, "ack_requested": 1}]),
        ok(None),
        ok(None),
    ]
    assert client.update_workers([{"workerID": 1}]) == (True,)
    (command,) = client.acquire_commands()
    client.acknowledge_commands([command.id])
    assert client.is_alive()
    assert [path.removeprefix("/api/v1/") for _, path, *_ in server.requests] == [
        "harvester/update_workers",
        "harvester/acquire_commands",
        "harvester/acknowledge_commands",
        "system/is_alive",
    ]
    assert server.requests[2][3] == {"command_ids": [3]}
