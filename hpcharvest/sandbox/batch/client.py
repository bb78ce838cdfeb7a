"""Asking the daemon: one question, one answer."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from hpcharvest.sandbox.batch import wire
from hpcharvest.sandbox.batch.errors import RefusedError, UnreachableError

DEFAULT_TIMEOUT_S = 30.0
WISHES = ("nodes", "walltime", "name", "comment", "signal", "requeue", "queue", "priority", "output", "error")


def ask(spool: Path, request: dict[str, Any], timeout_s: float = DEFAULT_TIMEOUT_S) -> Any:
    """Send a request and give its answer.

    RefusedError is the daemon's no. UnreachableError means that there was no answer within `timeout_s` seconds: if
    the connection stood already, the request may have been carried out all the same.
    """
    try:
        connection = wire.connect(spool, timeout_s)
    except OSError as error:
        raise UnreachableError(f"batch system unreachable: {error}") from error
    with connection:
        try:
            connection.sendall(json.dumps(request).encode() + b"\n")
            answer = b"".join(iter(lambda: connection.recv(1 << 20), b""))
        except OSError as error:
            raise UnreachableError(f"batch system unreachable: no answer to {request['op']}: {error}") from error
    if not answer.endswith(b"\n"):
        raise UnreachableError(f"batch system unreachable: it went away before it answered {request['op']}")
    reply = json.loads(answer)
    if "error" in reply:
        raise RefusedError(reply["error"])
    return reply["result"]


def submission(script: str | os.PathLike[str], **wishes: Any) -> dict[str, Any]:
    """Make the request for a new job of a script file, the present folder and the present environment.

    `wishes` are those of `WISHES`, as the command line has them, and also cwd and environment; None is no wish.
    OSError if the script cannot be read.
    """
    path = Path(script)
    return {
        "op": "submit",
        "script": path.read_bytes().decode(errors="surrogateescape"),
        "script_name": path.name,
        "cwd": str(Path.cwd()),
        "environment": dict(os.environ),
        **{key: value for key, value in wishes.items() if value is not None},
    }
