"""HTTP to the PanDA server: one request, one answer, and for every failure whether it may have been carried out."""

from __future__ import annotations

import io
import json
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3

from hpcharvest import __version__
from hpcharvest.clock import Clock, SystemClock
from hpcharvest.errors import AnswerLost, AnswerNotUnderstood, ConfigurationError, ServerRefused, ServerUnreachable
from hpcharvest.panda.credentials import Credentials
from hpcharvest.panda.wire import decode_envelope
from hpcharvest.panda.wire.envelope import excerpt

_JSON = "application/json"
"""To the letter: with a charset after it the server takes the body for a form."""
_API = "/api/v1"
_CHUNK = 65536
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_NOT_ALLOWED = frozenset({401, 403, 404})


class Transport:
    """A way to the server, with one pooled session for each thread that uses it.

    `base_url` is `scheme://host:port`, with `/api/v1` behind it or not. `timeout_s` holds for connecting, for the
    first byte of the answer and for the rest of it, each. Certificates are always verified, against `ca_bundle` if
    there is one. Redirections are not followed: they could take a token elsewhere.
    """

    def __init__(
        self,
        base_url: str,
        credentials: Credentials,
        timeout_s: float = 60.0,
        max_answer_bytes: int = 256 * 2**20,
        *,
        ca_bundle: Path | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._base_url = _checked(base_url, credentials)
        self._credentials = credentials
        self._timeout_s = timeout_s
        self._max_answer_bytes = max_answer_bytes
        self._verify: str | bool = True if ca_bundle is None else str(ca_bundle)
        self._clock = clock or SystemClock()
        self._mine = threading.local()
        self._sessions: set[requests.Session] = set()
        self._lock = threading.Lock()

    def get(self, method: str, params: dict[str, Any] | None = None) -> Any:
        """Ask `method` ("module/name"), lists as repeated keys, and return the answer's data."""
        return decode_envelope(self._exchange("GET", method, params=params)).unwrap()

    def post(self, method: str, payload: dict[str, Any]) -> Any:
        """Send `payload` to `method` and return the answer's data."""
        return decode_envelope(self.post_raw(method, payload)).unwrap()

    def post_raw(self, method: str, payload: dict[str, Any]) -> bytes:
        """Send `payload` to `method` and return the answer's body as it came, whatever it says.

        `ServerUnreachable`: certainly not carried out. `AnswerLost`, `AnswerNotUnderstood`: perhaps carried out.
        `ServerRefused`: the server said no.
        """
        return self._exchange("POST", method, upload=_Upload(json.dumps(payload).encode()))

    def close(self) -> None:
        """Close every connection. A later request opens new ones."""
        with self._lock:
            for session in self._sessions:
                session.close()

    def _exchange(
        self, verb: str, method: str, *, upload: _Upload | None = None, params: dict[str, Any] | None = None
    ) -> bytes:
        call = f"{verb} {self._base_url}/{method}"
        try:
            answer = self._session().request(
                verb,
                f"{self._base_url}/{method}",
                params=params,
                data=upload,
                headers={"Content-Type": _JSON} if upload else None,
                timeout=self._timeout_s,
                verify=self._verify,
                allow_redirects=False,
                stream=True,
            )
        except (OSError, ValueError) as problem:
            raise _broken(call, problem, upload) from problem
        with answer:
            body = self._read(call, answer)
        _check_status(call, answer.status_code, body)
        return body

    def _read(self, call: str, answer: requests.Response) -> bytes:
        """Read the body as it comes, within its time and size."""
        body = bytearray()
        deadline = self._clock.steady() + self._timeout_s
        try:
            while chunk := answer.raw.read1(_CHUNK, decode_content=False):
                body += chunk
                if len(body) > self._max_answer_bytes:
                    raise AnswerNotUnderstood(f"{call}: the answer is longer than {self._max_answer_bytes} bytes")
                if self._clock.steady() > deadline:
                    raise AnswerLost(f"{call}: the answer was not complete within {self._timeout_s} s")
        except (OSError, urllib3.exceptions.HTTPError) as problem:
            raise AnswerLost(f"{call}: the answer broke off: {excerpt(str(problem))}") from problem
        return bytes(body)

    def _session(self) -> requests.Session:
        """Return this thread's session; a new one if the credentials in its connections are outdated."""
        stamp = self._credentials.stamp()
        session: requests.Session | None = getattr(self._mine, "session", None)
        if session is not None and self._mine.stamp == stamp:
            return session
        fresh = requests.Session()
        fresh.headers.clear()
        fresh.headers.update({"Accept": _JSON, "User-Agent": f"hpcharvest/{__version__}"})
        fresh.cert = self._credentials.certificate()
        fresh.auth = self._identify
        with self._lock:
            if session is not None:
                session.close()
                self._sessions.discard(session)
            self._sessions.add(fresh)
        self._mine.session, self._mine.stamp = fresh, stamp
        return fresh

    def _identify(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the credentials' headers. As the session's own hook, it also keeps a stray .netrc out."""
        request.headers.update(self._credentials.headers())
        return request


class _Upload(io.BytesIO):
    """A request's body that knows whether any of it was asked for: if not, the server has no whole request of us."""

    begun = False

    def read(self, size: int | None = -1, /) -> bytes:
        self.begun = True
        return super().read(size)


def _checked(base_url: str, credentials: Credentials) -> str:
    parts = urlsplit(base_url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise ConfigurationError(f"the PanDA server's address {base_url!r} is not like 'https://host:25443'")
    if parts.scheme == "http" and credentials.secret_in_headers and parts.hostname not in _LOOPBACK:
        raise ConfigurationError(f"a token would travel in the clear to {base_url!r}: use https")
    path = parts.path.rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{path or _API}"


def _broken(call: str, problem: Exception, upload: _Upload | None) -> ServerUnreachable | AnswerLost:
    """Tell apart what broke before any of the request's body left from what broke after.

    A GET carries nothing out, so that it is lost only if the server took its time over it.
    """
    begun = isinstance(problem, requests.ReadTimeout) if upload is None else upload.begun
    kind = AnswerLost if begun else ServerUnreachable
    return kind(f"{call}: {_root(problem)}")


def _root(problem: BaseException) -> str:
    """Say what lies at the bottom of a problem: the operating system's words, if it spoke."""
    seen: BaseException | None = problem
    while seen is not None:
        if isinstance(seen, OSError) and seen.strerror:
            return seen.strerror
        seen = seen.__cause__ or seen.__context__
    return excerpt(str(problem))


def _check_status(call: str, status: int, body: bytes) -> None:
    """Raise what an HTTP status other than 200 means.

    From 500 on the request may have been carried out: this server answers some calls so after its commit, and a proxy
    in front of it cannot know.
    """
    if status == requests.codes.ok:
        return
    text = f"{call}: HTTP {status}: {excerpt(body)}"
    if status >= requests.codes.server_error:
        raise AnswerLost(text)
    raise ServerRefused(text) if status in _NOT_ALLOWED else AnswerNotUnderstood(text)
