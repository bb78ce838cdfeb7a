"""The client over TLS: whom it trusts, and how it shows who it is."""

from __future__ import annotations

import os
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from hpcharvest.errors import PandaError, ServerUnreachable
from hpcharvest.panda.client import PandaClient
from hpcharvest.panda.credentials import ClientCertificate, Nobody
from hpcharvest.panda.transport import Transport

pytestmark = pytest.mark.needs("openssl")


class Server(ThreadingHTTPServer):
    """Greets whoever shows a certificate, and counts the connections."""

    daemon_threads = True
    connections = 0

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of those who were turned away."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def setup(self) -> None:
        self.request.do_handshake()
        super().setup()
        self.server.connections += 1

    def do_GET(self) -> None:
        body = b'{"success": true, "message": "", "data": null}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Keep the test's output clean."""


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with a key and a certificate of its own for 127.0.0.1, good for both sides."""
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    key = path.with_name("key.pem")
    options = "-x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=lab"
    made = subprocess.run(
        ["openssl", "req", *options.split(), "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key)],
        check=True,
        capture_output=True,
    )
    path.write_bytes(key.read_bytes() + made.stdout)
    return path


@pytest.fixture
def server(pem: Path) -> Iterator[Server]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    context.load_verify_locations(pem)
    context.verify_mode = ssl.CERT_REQUIRED
    with Server(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def url(server: Server) -> str:
    return f"https://127.0.0.1:{server.server_address[1]}"


def test_server_that_nobody_vouches_for_is_not_spoken_to(server: Server, pem: Path) -> None:
    transport = Transport(url(server), ClientCertificate(pem), 2.0)
    with pytest.raises(ServerUnreachable, match="certificate verify failed"):
        transport.post("a/b", {"secret": 1})
    transport.close()


def test_whoever_shows_no_certificate_is_turned_away(server: Server, pem: Path) -> None:
    transport = Transport(url(server), Nobody(), 2.0, ca_bundle=pem)
    with pytest.raises(PandaError):
        transport.get("a/b")
    transport.close()


def test_renewed_certificate_is_shown_in_a_new_connection(server: Server, pem: Path) -> None:
    transport = Transport(url(server), ClientCertificate(pem), 2.0, ca_bundle=pem)
    client = PandaClient(transport, "h")
    assert client.is_alive()
    assert client.is_alive()
    assert server.connections == 1
    os.utime(pem)
    assert client.is_alive()
    assert server.connections == 2
    transport.close()


def test_trust_that_was_configured_is_not_widened_by_the_surroundings(
    server: Server, pem: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere")
    transport = Transport(url(server), ClientCertificate(pem), 2.0, ca_bundle=pem)
    assert PandaClient(transport, "h").is_alive()
    transport.close()
