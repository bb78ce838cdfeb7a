"""Credentials: read when needed, renewed at once, never shown."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hpcharvest.errors import ConfigurationError
from hpcharvest.panda.credentials import ClientCertificate, Nobody, TokenFile
from hpcharvest.panda.transport import Transport


def test_renewed_token_counts_at_once(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("first\n")
    token = TokenFile(path, "atlas:production")
    assert token.headers() == {"Authorization": "Bearer first", "Origin": "atlas:production"}
    path.write_text("second\n")
    assert token.headers()["Authorization"] == "Bearer second"


@pytest.mark.parametrize("content", [b"", b"two words", b"evil\r\nHost: x", b"\xff"])
def test_file_that_holds_no_token_is_found(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "token"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="does not hold one token"):
        TokenFile(path, "atlas:production").check()


def test_missing_files_are_found(tmp_path: Path) -> None:
    for credentials in (TokenFile(tmp_path / "no", "o"), ClientCertificate(tmp_path / "no")):
        with pytest.raises(ConfigurationError, match="cannot be read"):
            credentials.check()
    with pytest.raises(ConfigurationError, match="origin"):
        TokenFile(tmp_path / "no", "").check()
    Nobody().check()


def test_renewed_proxy_wants_new_connections(tmp_path: Path) -> None:
    path = tmp_path / "proxy.pem"
    path.write_text("secret")
    proxy = ClientCertificate(path)
    before = proxy.stamp()
    assert proxy.certificate() == (str(path), str(path))
    os.utime(path, (1, 1))
    assert proxy.stamp() != before


def test_nothing_secret_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("secret")
    for shown in (repr(TokenFile(path, "atlas")), repr(ClientCertificate(path)), repr(Nobody())):
        assert "secret" not in shown
        assert str(path) not in shown


@pytest.mark.parametrize("address", ["ftp://h", "h:25443", "https://", "https://h?x=1", ""])
def test_address_that_cannot_work_is_refused(address: str) -> None:
    with pytest.raises(ConfigurationError, match="https://host:25443"):
        Transport(address, Nobody())


def test_token_never_travels_in_the_clear(tmp_path: Path) -> None:
    token = TokenFile(tmp_path / "token", "atlas")
    with pytest.raises(ConfigurationError, match="in the clear"):
        Transport("http://panda.example:25080", token)
    Transport("http://127.0.0.1:25080", token).close()
