"""Who we are to the PanDA server. The secrets stay in their files: read when they are needed, and never kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from hpcharvest.errors import ConfigurationError


class Credentials(Protocol):
    """A way to prove who we are."""

    @property
    def secret_in_headers(self) -> bool:
        """Whether `headers` has a secret, which must never travel in the clear."""

    def certificate(self) -> tuple[str, str] | None:
        """Return the files of the client certificate and its key, if there is one."""

    def headers(self) -> dict[str, str]:
        """Return the headers that go with every request. Raises `OSError` or `ValueError` for a bad file."""

    def stamp(self) -> tuple[int, ...]:
        """Return something that changes when open connections would show an outdated identity. Raises `OSError`."""

    def check(self) -> None:
        """Raise `ConfigurationError` if they cannot be used as they are."""


@dataclass(frozen=True, slots=True)
class Nobody:
    """No credentials: enough for the calls that are open to everybody, and for the sandbox."""

    secret_in_headers = False

    def certificate(self) -> None:
        """Return none."""

    def headers(self) -> dict[str, str]:
        """Return none."""
        return {}

    def stamp(self) -> tuple[int, ...]:
        """Return always the same."""
        return ()

    def check(self) -> None:
        """Find nothing wrong."""


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """An X.509 certificate or proxy (PEM). `key` may be left out if it is in the certificate's file, as in a proxy."""

    path: Path = field(repr=False)
    key: Path | None = field(default=None, repr=False)

    secret_in_headers = False

    def certificate(self) -> tuple[str, str]:
        """Return the two files; the TLS library reads them when it connects."""
        return str(self.path), str(self.key or self.path)

    def headers(self) -> dict[str, str]:
        """Return none: the identity is the connection's."""
        return {}

    def stamp(self) -> tuple[int, ...]:
        """Return when the files were last changed: a renewed proxy wants new connections."""
        return tuple(Path(one).stat().st_mtime_ns for one in self.certificate())

    def check(self) -> None:
        """Raise `ConfigurationError` if a file cannot be read."""
        for one in self.certificate():
            _read(Path(one))


@dataclass(frozen=True, slots=True)
class TokenFile:
    """A file with an OIDC token, renewed by somebody else, and the `origin` ("<vo>:<role>") that goes with it."""

    path: Path = field(repr=False)
    origin: str

    secret_in_headers = True

    def certificate(self) -> None:
        """Return none."""

    def headers(self) -> dict[str, str]:
        """Return the token as it is in the file now, so that a renewal counts at once."""
        return {"Authorization": f"Bearer {self._token()}", "Origin": self.origin}

    def stamp(self) -> tuple[int, ...]:
        """Return always the same: the token goes with each request, not with the connection."""
        return ()

    def check(self) -> None:
        """Raise `ConfigurationError` if there is no token, no origin, or a token that cannot be in a header."""
        if not self.origin:
            raise ConfigurationError("a token needs an origin such as 'atlas:production': the server refuses it else")
        _read(self.path)
        try:
            self._token()
        except ValueError as problem:
            raise ConfigurationError(str(problem)) from None

    def _token(self) -> str:
        words = self.path.read_bytes().split()
        if len(words) != 1 or not words[0].isascii():
            raise ValueError(f"the token file {self.path} does not hold one token")
        return words[0].decode()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as problem:
        raise ConfigurationError(f"the credential file {path} cannot be read: {problem.strerror}") from problem
