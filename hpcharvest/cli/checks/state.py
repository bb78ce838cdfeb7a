"""Checks of what the controller keeps for itself: database and lease. They make and change nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from hpcharvest.cli.checks.finding import Finding, failure, ok, warning
from hpcharvest.cli.controller import Life, look
from hpcharvest.clock import SystemClock
from hpcharvest.config.schema import Configuration
from hpcharvest.engine.parts import database_file, folders_of
from hpcharvest.store.connections import connect
from hpcharvest.store.file_systems import NETWORK, file_system_of, mounts_here
from hpcharvest.store.upgrade import HEAD, version_of


def state_dir(configuration: Configuration) -> Iterator[Finding]:
    """Look whether the state folder may be written, and lies on a local disk if SQLite is to live there."""
    folder = configuration.controller.state_dir
    above = next(one for one in (folder, *folder.parents) if one.exists())
    try:
        with TemporaryDirectory(dir=above):
            pass  # tried, not asked: root may do anything, but not everywhere
    except OSError as error:
        yield failure(f"the state_dir {folder} cannot be written: {error.strerror}", f"look at {above}")
        return
    file = database_file(configuration)
    kind = file_system_of((file or folder).resolve(), mounts_here())
    if file is None or kind not in NETWORK:
        yield ok(f"{folder} can be written ({kind or 'unknown file system'})")
        return
    advice = "name a state_dir on a local disk that survives a reboot, or a PostgreSQL database"
    if configuration.controller.network_file_system == "refuse":
        yield failure(f"the database {file} would lie on a network file system ({kind})", advice)
    else:
        yield warning(f"the database {file} lies on a network file system ({kind}), and is slow there", advice)


def database(configuration: Configuration) -> Iterator[Finding]:
    """Open the database, if there is one, and compare its version with ours."""
    settings, file = configuration.controller, database_file(configuration)
    if file is not None and not file.exists():
        yield ok(f"there is no database {file} yet: the first `hpcharvest run` makes it")
        return
    connections = connect(settings.database, settings.network_file_system)
    try:
        with connections.reading() as connection:
            version = version_of(connection)
    finally:
        connections.close()
    yield _version(version, connections.name)


def _version(version: str | None, name: str) -> Finding:
    if version is None:
        return ok(f"database {name}: empty; the first `hpcharvest run` makes its tables")
    if version == HEAD:
        return ok(f"database {name}: version {version}")
    if version < HEAD:
        advice = "keep a copy, and let no older hpcharvest run with it: the next `hpcharvest run` upgrades it"
        return warning(f"database {name}: version {version}, and ours is {HEAD}", advice)
    advice = "install the hpcharvest that made it, or name another database"
    return failure(f"database {name}: version {version} is newer than ours, {HEAD}", advice)


def lease(configuration: Configuration) -> Iterator[Finding]:
    """Look who holds the lease."""
    path: Path = folders_of(configuration).lease
    controller = look(path, SystemClock().wall())
    if controller.life is Life.SILENT:
        advice = "look at that machine; `hpcharvest run --wait` takes over if the lease is not renewed while it watches"
        yield warning(controller.sentence, advice)
    else:
        yield ok(controller.sentence)
