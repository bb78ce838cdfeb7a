"""A PostgreSQL server of our own for tests: in a folder of its own, on a UNIX socket, gone afterwards.

Debian's `postgresql` package has the programs; root lends the server another user, because it will not run as root.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

_HOMES = "/usr/lib/postgresql"
_QUIET = ["-c", "fsync=off", "-c", "listen_addresses=", "-c", "max_connections=30", "-c", "shared_buffers=16MB"]


def available() -> str | None:
    """Tell why there can be no server; None if there can."""
    if _program("postgres") is None:
        return "PostgreSQL's server is not installed (apt-get install postgresql)"
    if os.geteuid() == 0 and _somebody() is None:
        return "PostgreSQL does not run as root, and there is neither a user postgres nor nobody"
    return None


@contextmanager
def cluster() -> Iterator[str]:
    """Run a server, and tell the URL of its database `postgres`; its user may make others (`new_database`)."""
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    somebody = _somebody()
    if somebody is not None:
        os.chown(folder, somebody.pw_uid, somebody.pw_gid)
    data = folder / "data"
    try:
        initialise = ["-A", "trust", "-U", "tester", "--no-sync", "-E", "UTF8", "--locale=C", "-D", str(data)]
        _start("initdb", initialise, folder, somebody).communicate(timeout=120)
        server = _start("postgres", ["-D", str(data), "-k", str(folder), *_QUIET], folder, somebody)
        try:
            url = f"postgresql://tester@/postgres?host={folder}"
            _wait(server, url, folder)
            yield url
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(timeout=60)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def new_database(url: str, name: str) -> str:
    """Make an empty database in the cluster of that URL, and tell its URL."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
    return url.replace("/postgres?", f"/{name}?")


def _start(
    program: str, arguments: list[str], folder: Path, somebody: pwd.struct_passwd | None
) -> subprocess.Popen[bytes]:
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            [str(_program(program)), *arguments],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            user=somebody.pw_uid if somebody else None,
            group=somebody.pw_gid if somebody else None,
            extra_groups=[] if somebody else None,
        )


def _wait(server: subprocess.Popen[bytes], url: str, folder: Path) -> None:
    for _ in range(300):
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError:
            if server.poll() is not None:
                break
            time.sleep(0.1)
        else:
            return
    raise RuntimeError("PostgreSQL does not come up:\n" + (folder / "log").read_text(errors="replace"))


def _program(name: str) -> Path | None:
    versions = sorted(Path(_HOMES).glob(f"*/bin/{name}"), key=lambda one: float(one.parts[-3]), reverse=True)
    elsewhere = shutil.which(name)
    return next(iter(versions), Path(elsewhere) if elsewhere else None)


def _somebody() -> pwd.struct_passwd | None:
    """Tell whom root lends the server to; None: it runs as we do, or there is nobody."""
    if os.geteuid() != 0:
        return None
    users = {one.pw_name: one for one in pwd.getpwall()}
    return users.get("postgres") or users.get("nobody")
