"""HTTP: the API as an ASGI application, and a uvicorn protocol whose connections can be dropped on purpose."""

from __future__ import annotations

import asyncio
import os
from typing import ClassVar

from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from hpcharvest.sandbox.api import answer
from hpcharvest.sandbox.desk import Desk
from hpcharvest.sandbox.faults import Kind
from hpcharvest.sandbox.protocol import ProtocolError, Request

GARBAGE_BYTES = 256
WEB_PAGE = b"<!DOCTYPE html><html><head><title>Proxy</title></head><body>Please log in.</body></html>"


class DroppableProtocol(H11Protocol):
    """HTTP/1.1 whose open connections are known by the address of the peer."""

    _open: ClassVar[dict[tuple[str, int], asyncio.Transport]] = {}

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as upstream
        """Note the connection."""
        super().connection_made(transport)
        if self.client is not None:
            self._open[self.client] = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        if self.client is not None:
            self._open.pop(self.client, None)
        super().connection_lost(exc)

    @classmethod
    def drop(cls, client: tuple[str, int]) -> None:
        """Close a connection, after what was written to it."""
        transport = cls._open.get(client)
        if transport is not None:
            transport.close()


class Api:
    """The ASGI application of API v1: counts, fails if it is told to, and answers."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; a client that goes away before its request is complete changes nothing."""
        body = await _read(receive)
        if body is None:
            return
        request = Request(
            verb=scope["method"],
            path=scope["path"],
            query=scope["query_string"].decode("latin-1"),
            headers={key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]},
            body=body,
        )
        name = _name(request)
        self._desk.requests[name] += 1
        plan = self._desk.faults.plan(name)
        if plan.wait_s:
            await asyncio.sleep(plan.wait_s)
        if plan.failure is None:
            status, body = answer(self._desk, request)
            await _respond(send, status, body)
        else:
            await self._fail(plan.failure, request, scope, receive, send)

    async def _fail(self, failure: Kind, request: Request, scope: Scope, receive: Receive, send: Send) -> None:
        """Do it wrong, in the given way."""
        if failure is Kind.ERROR_500:
            await _respond(send, 500, b"ORA-03113: end-of-file on communication channel")
        elif failure is Kind.HTML:
            await _respond(send, 200, WEB_PAGE, content_type=b"text/html")
        elif failure is Kind.GARBAGE:
            answer(self._desk, request)
            await _respond(send, 200, b"\xff" + os.urandom(GARBAGE_BYTES))
        else:
            if failure is not Kind.DROP_BEFORE:
                status, body = answer(self._desk, request)
                if failure is Kind.TORN_BODY:
                    await _start(send, status, len(body))
                    await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
            DroppableProtocol.drop(scope["client"])
            await _gone(receive)


def _name(request: Request) -> str:
    """Give `module/method`, or the path of a request that leads nowhere."""
    try:
        return request.method()
    except ProtocolError:
        return request.path


async def _read(receive: Receive) -> bytes | None:
    """Give the whole body, or None if the client went away first."""
    chunks: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunks.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(chunks)


async def _gone(receive: Receive) -> None:
    """Wait until the connection is closed, so that nothing more is written to it."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _start(send: Send, status: int, length: int, content_type: bytes = b"text/plain") -> None:
    headers = [(b"content-type", content_type), (b"content-length", str(length).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def _respond(send: Send, status: int, body: bytes, content_type: bytes = b"text/plain") -> None:
    await _start(send, status, len(body), content_type)
    await send({"type": "http.response.body", "body": body})
