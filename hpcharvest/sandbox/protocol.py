"""The wire manners of API v1: how a request is read and checked, how an answer is written.

Source: recordings of panda-server 1.0.3. Nearly every failure is HTTP 200 with `success` false; the content type is
always text/plain; an answer is JSON only if the client asked for it, else the repr of a Python dictionary.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from hpcharvest.sandbox.signatures import Argument, Signature

JSON = "application/json"
DATABASE_ERROR = "database error in the PanDA server"
NO_IDENTITY = "SSL secure connection is required"
NO_ROLE = "production or pilot role required"


class ProtocolError(Exception):
    """An answer outside the envelope: a status other than 200, with plain text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class Reply(NamedTuple):
    """The envelope. `raw`: `data` is JSON text already, which is written as it is."""

    success: bool
    message: str = ""
    data: Any = None
    raw: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Give the envelope as it is nested in the answer to a bulk call."""
        data = json.loads(self.data) if self.raw else self.data
        return {"success": self.success, "message": self.message, "data": data}

    def encode(self, *, as_json: bool) -> bytes:
        """Write the body."""
        if not as_json:
            return repr(self.as_dict()).encode()
        if not self.raw:
            return json.dumps(self.as_dict()).encode()
        head = f'{{"success": {json.dumps(self.success)}, "message": {json.dumps(self.message)}, "data": '
        return f"{head}{self.data}}}".encode()


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One request: `headers` with lower-case names, `path` without the query."""

    verb: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def wants_json(self) -> bool:
        """Whether the answer is JSON: the exact type is accepted, or was sent."""
        return JSON in (self.headers.get("accept"), self.headers.get("content-type"))

    def method(self) -> str:
        """Give `module/method`; the path has exactly the fields `/api/<version>/<module>/<method>`.

        Raises ProtocolError (403) for any other path.
        """
        fields = self.path.split("/")
        if len(fields) != 5 or fields[1] != "api" or fields[2] not in {"v1", "latest"}:
            raise forbidden(self.path)
        return f"{fields[3]}/{fields[4]}"

    def arguments(self) -> dict[str, Any]:
        """Give what was sent, not yet checked: of a GET the query, of a POST the JSON object or the form.

        Raises ProtocolError (500) for a body that is not what its headers say.
        """
        if self.verb != "POST":
            return _form(self.query)
        try:
            body = gzip.decompress(self.body) if self.headers.get("content-encoding") == "gzip" else self.body
        except (OSError, EOFError, zlib.error) as error:
            raise ProtocolError(500, str(error)) from error
        if self.headers.get("content-type") != JSON:
            return _form(body.decode("utf-8", "replace"))
        try:
            arguments = json.loads(body) if body else {}
        except ValueError as error:
            raise ProtocolError(500, f"ERROR : received invalid JSON : {error}") from error
        if not isinstance(arguments, dict):
            kind = type(arguments).__name__
            raise ProtocolError(500, f"argument after ** must be a mapping, not {kind}")
        return arguments


def forbidden(path: str) -> ProtocolError:
    """Make the answer to a path that leads nowhere."""
    return ProtocolError(403, f"ERROR : method {path.rstrip('/').rpartition('/')[2]} is forbidden")


def _form(text: str) -> dict[str, Any]:
    """Read a form or query: a repeated key is a list, everything else a string."""
    pairs = parse_qs(text, keep_blank_values=True)
    return {key: values[0] if len(values) == 1 else values for key, values in pairs.items()}


def check(signature: Signature, given: dict[str, Any]) -> str | None:
    """Say what is wrong with the arguments, in the server's words, or nothing.

    For a GET the values in `given` are cast in place. First come missing and unknown keys, then types in the order of
    the signature. A value equal to the default is not looked at, and so null is right only where it is the default.
    """
    for name in signature.required:
        if name not in given:
            return f"Argument error: missing a required argument: '{name}'"
    known = signature.arguments
    for name in given:
        if name not in known:
            return f"Argument error: got an unexpected keyword argument '{name}'"
    if signature.verb == "GET":
        return _cast(signature, given)
    wrong = [known[name] for name, value in given.items() if not _fits(known[name], value)]
    if not wrong:
        return None
    first = min(wrong, key=lambda argument: argument.position)
    return _type_error(first, given[first.name])


def _fits(argument: Argument, value: Any) -> bool:
    """Tell whether a value passes."""
    if not argument.types or value == argument.default:
        return True
    if argument.item is not None and isinstance(value, list):
        return all(isinstance(one, argument.item) for one in value)
    return isinstance(value, argument.types)


def _type_error(argument: Argument, value: Any) -> str:
    """Word the refusal of a value that does not fit."""
    if isinstance(value, argument.types) and argument.item is not None:
        return f"Type error: All elements in '{argument.name}' must be {argument.item.__name__}."
    got = type(value).__name__
    return f"Type error: '{argument.name}' must be of type {argument.type_name}, got {got}."


def _cast(signature: Signature, given: dict[str, Any]) -> str | None:
    """Turn the strings of a query into the annotated types; say which one cannot be."""
    for name, argument in signature.arguments.items():
        value = given.get(name, argument.default)
        if value == argument.default or not argument.types:
            continue
        if argument.types == (list,) and isinstance(value, str):
            value = [value]
        try:
            given[name] = _cast_one(argument, value)
        except (ValueError, TypeError, AttributeError):
            wanted = "List" if argument.types == (list,) else argument.type_name
            return (
                f"Type error: '{name}' with value '{value}' could not be casted to type {wanted} "
                f"from {type(value).__name__}."
            )
        if not isinstance(given[name], argument.types) and given[name] is not argument.default:
            return _type_error(argument, given[name])
    return None


def _cast_one(argument: Argument, value: Any) -> Any:
    """Cast one value: an integer by way of a float, as a courtesy of the server's."""
    if value == "None" and argument.default is None:
        return None
    if argument.types == (list,):
        convert = _CASTS.get(argument.item or str, str)
        return [convert(one) for one in value]
    if argument.types == (str,):
        return value
    return _CASTS[argument.types[0]](value)


_CASTS: dict[type, Callable[[str], Any]] = {
    int: lambda text: int(float(text)),
    float: float,
    bool: lambda text: text.lower() in {"true", "1"},
    str: str,
}
