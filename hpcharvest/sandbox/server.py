"""Starts the sandbox: in a thread of this process (`SandboxServer`) or as the process itself (`serve`)."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import threading
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from hpcharvest.sandbox import control
from hpcharvest.sandbox.desk import Desk, Options
from hpcharvest.sandbox.events import MAX_UPDATES
from hpcharvest.sandbox.wire import Api, DroppableProtocol

KEEP_ALIVE_S = 60
SHUTDOWN_S = 2
START_S = 30.0


def build_app(desk: Desk) -> Starlette:
    """Make the ASGI application of one server: the control endpoints, and the API everywhere else."""
    return Starlette(routes=[*control.routes(desk), Mount("/", app=Api(desk))])


class _Server(uvicorn.Server):
    """A uvicorn server that says when it listens, and leaves signals to whoever starts it."""

    def __init__(self, desk: Desk, on_ready: Callable[[], None]) -> None:
        config = uvicorn.Config(
            build_app(desk),
            http=DroppableProtocol,
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=SHUTDOWN_S,
        )
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started:
            self._on_ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def _listen(host: str, port: int) -> tuple[socket.socket, str]:
    """Bind, and give the socket with the base URL of the server.

    The socket must say that it is TCP: only then does asyncio send small answers at once, instead of 40 ms later.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    shown = f"[{host}]" if ":" in host else host
    return listener, f"http://{shown}:{listener.getsockname()[1]}"


class SandboxServer:
    """A server in a thread, for tests: `with SandboxServer() as server: ... server.url, server.desk`."""

    def __init__(self, options: Options | None = None, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.desk = Desk(options)
        self._ready = threading.Event()
        self._server = _Server(self.desk, self._ready.set)
        self._listener, self.url = _listen(host, port)
        self._thread = threading.Thread(target=self._run, name="sandbox", daemon=True)

    def _run(self) -> None:
        self._server.run(sockets=[self._listener])

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(START_S):
            raise TimeoutError(f"sandbox did not listen at {self.url} within {START_S} s; see the log for the cause")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._listener.close()


def serve(
    *,
    host: str,
    port: int,
    ready_file: Path | None,
    jobs_file: Path | None = None,
    redeliver_after_s: float | None = 60.0,
    adder_delay_s: float = 0.2,
    require_token: str | None = None,
    event_update_500: bool = True,
    max_event_updates: int = MAX_UPDATES,
    seed: int = 0,
    listens: Callable[[str], None] = lambda _url: None,
) -> None:
    """Serve until SIGTERM or SIGINT. Must be called in the main thread.

    `port` 0 takes a free one. Once the server listens, `listens` gets its URL, and `ready_file` `{"url", "pid"}`.
    `jobs_file` has a JSON list of job dictionaries (`jobs.make_job`) that are activated before; ValueError says what is
    wrong with them. The rest is explained at `desk.Options`.
    """
    options = Options(
        redeliver_after_s=redeliver_after_s,
        adder_delay_s=adder_delay_s,
        require_token=require_token,
        event_update_500=event_update_500,
        max_event_updates=max_event_updates,
        seed=seed,
    )
    desk = Desk(options)
    if jobs_file is not None:
        desk.books.add(json.loads(jobs_file.read_text(encoding="utf-8")))
    listener, url = _listen(host, port)

    def ready() -> None:
        listens(url)
        if ready_file is not None:
            _write(ready_file, {"url": url, "pid": os.getpid()})

    server = _Server(desk, ready)
    with contextlib.closing(listener), _ended_by_signal(server):
        server.run(sockets=[listener])


@contextlib.contextmanager
def _ended_by_signal(server: uvicorn.Server) -> Iterator[None]:
    """Let SIGTERM and SIGINT end the server in good order."""

    def end(_signal: int, _frame: FrameType | None) -> None:
        server.should_exit = True

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _write(path: Path, content: dict[str, Any]) -> None:
    """Put a file in place whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(content), encoding="utf-8")
    temporary.replace(path)
