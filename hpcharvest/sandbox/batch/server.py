"""The daemon: one thread that sleeps until a client, an ended job, a signal or the clock wakes it."""

from __future__ import annotations

import json
import logging
import selectors
import signal
import socket
import struct
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpcharvest.sandbox.batch import wire
from hpcharvest.sandbox.batch.controller import Controller
from hpcharvest.sandbox.batch.errors import RefusedError
from hpcharvest.sandbox.batch.spool import Spool, write_durably

if TYPE_CHECKING:
    from collections.abc import Callable

    from hpcharvest.sandbox.batch.settings import Settings

log = logging.getLogger(__name__)

_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid; see SO_PEERCRED in unix(7)


class Server:
    """Serves one spool folder until it is told to stop. Jobs that run then go on."""

    def __init__(self, root: Path, settings: Settings) -> None:
        """Take the spool, adopt its jobs and listen; RefusedError if another daemon has it."""
        self._spool = Spool(root)
        self._selector = selectors.DefaultSelector()
        self._controller = Controller(
            spool=self._spool,
            settings=settings,
            watch=lambda handle, ended: self._on(handle, selectors.EVENT_READ, ended),
            unwatch=self._selector.unregister,
        )
        self._stopping = False
        self._cancelling = False
        self._farewells: list[Connection] = []
        self._listener = wire.listen(self._spool.root)
        self._on(self._listener.fileno(), selectors.EVENT_READ, self._accept)
        self._wakeup = _catch_signals()
        self._on(self._wakeup.fileno(), selectors.EVENT_READ, self._on_signal)

    def run(self, ready_file: Path | None = None) -> None:
        """Serve; `ready_file` appears as soon as clients can connect."""
        if ready_file is not None:
            write_durably(ready_file, b"ready\n")
        log.info("serving %s", self._spool.root)
        while not self._stopping or (self._cancelling and self._controller.running):
            wake_at = self._controller.tick(time.time())
            timeout_s = None if wake_at is None else max(0.0, wake_at - time.time())
            for key, _ in self._selector.select(timeout_s):
                key.data()
        self._leave()

    def _on(self, handle: int, events: int, callback: Callable[[], None]) -> None:
        self._selector.register(handle, events, callback)

    def _accept(self) -> None:
        with suppress(BlockingIOError):  # that client went away again
            connection, _ = self._listener.accept()
            Connection(connection, self._selector, self._answer)

    def _on_signal(self) -> None:
        caught = {signal.Signals(number).name for number in self._wakeup.recv(64)}
        log.info("caught %s", ", ".join(sorted(caught)))
        self._stopping = self._stopping or bool(caught & {"SIGTERM", "SIGINT"})

    def _answer(self, line: bytes, connection: Connection) -> dict[str, Any] | None:
        """Give the reply to one request, or None if it comes when the daemon leaves."""
        try:
            request = json.loads(line)
            if request["op"] == "stop":
                self._stop(cancel=request["cancel"])
                self._farewells.append(connection)
                return None
            return {"result": self._dispatch(request, connection.user())}
        except RefusedError as error:
            return {"error": str(error)}
        except OSError as error:
            log.exception("the spool cannot be used")
            return {"error": f"the batch system cannot use its spool: {error}"}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            log.exception("a request that makes no sense")
            return {"error": f"bad request: {error!r}"}

    def _dispatch(self, request: dict[str, Any], user: int) -> Any:
        controller = self._controller
        match request["op"]:
            case "submit" if self._stopping:
                raise RefusedError("the batch system is stopping")
            case "submit":
                return controller.submit(request, user)
            case "status":
                return controller.status(request.get("ids"), request.get("history_s"))
            case "cancel":
                return controller.cancel(request["ids"])
            case "preempt":
                return controller.preempt(request["id"], request.get("mode"))
            case "node":
                return controller.node(request["name"], up=request["up"])
            case "info":
                return controller.info()
            case unknown:
                raise RefusedError(f"no such operation: {unknown}")

    def _stop(self, *, cancel: bool) -> None:
        self._stopping = True
        self._cancelling = self._cancelling or cancel
        if cancel:
            self._controller.cancel_all()

    def _leave(self) -> None:
        log.info("leaving; running jobs go on" if self._controller.running else "leaving")
        (self._spool.root / wire.SOCKET_NAME).unlink(missing_ok=True)
        self._listener.close()
        self._spool.close()
        for connection in self._farewells:
            connection.farewell({"result": None})


class Connection:
    """One client, from its request to the last byte of the answer. Never waits for it."""

    def __init__(
        self,
        connection: socket.socket,
        selector: selectors.BaseSelector,
        answer: Callable[[bytes, Connection], dict[str, Any] | None],
    ) -> None:
        self._socket = connection
        self._selector = selector
        self._answer = answer
        self._request = bytearray()
        self._reply = memoryview(b"")
        connection.setblocking(False)
        selector.register(connection, selectors.EVENT_READ, self._read)

    def user(self) -> int:
        """Give the uid of the client, as the kernel vouches for it."""
        credentials = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        return int(_CREDENTIALS.unpack(credentials)[1])

    def reply(self, reply: dict[str, Any]) -> None:
        """Begin to send the answer."""
        self._reply = memoryview(json.dumps(reply).encode() + b"\n")
        self._selector.modify(self._socket, selectors.EVENT_WRITE, self._write)
        self._write()

    def farewell(self, reply: dict[str, Any]) -> None:
        """Send the answer that was held back until now, and close."""
        with self._socket, suppress(OSError):  # a client that did not wait misses nothing
            self._socket.send(json.dumps(reply).encode() + b"\n")

    def _read(self) -> None:
        try:
            received = self._socket.recv(1 << 20)
        except OSError:
            received = b""
        self._request += received
        if self._request.endswith(b"\n"):
            reply = self._answer(bytes(self._request), self)
            if reply is None:
                self._selector.unregister(self._socket)
            else:
                self.reply(reply)
        elif not received or len(self._request) > wire.MAX_REQUEST_BYTES:
            self._close()

    def _write(self) -> None:
        try:
            self._reply = self._reply[self._socket.send(self._reply) :]
        except BlockingIOError:
            return
        except OSError as error:
            log.info("a client did not wait for its answer: %s", error)
            self._reply = memoryview(b"")
        if not self._reply:
            self._close()

    def _close(self) -> None:
        self._selector.unregister(self._socket)
        self._socket.close()


def _catch_signals() -> socket.socket:
    """Give a socket on which caught signals arrive, as their numbers.

    All that may be inherited as ignored is caught or set back: jobs would inherit it too, and a shell cannot trap
    what it was born ignoring.
    """
    receiving, sending = socket.socketpair()
    for end in (receiving, sending):
        end.setblocking(False)
    signal.set_wakeup_fd(sending.detach())
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    for number in (signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    return receiving
