"""Bringing a database to the newest version of the tables.

Alembic is asked only where there is something to do: importing it costs a tenth of a second and ten megabytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Connection, func, inspect, select, text

from hpcharvest.errors import StoreError
from hpcharvest.store.connections import Connections
from hpcharvest.store.schema import metadata

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0002"
"""The newest version that we know; a test compares it with alembic's head."""

_LOCK = 0x6870_6368
"""PostgreSQL's advisory lock of those who upgrade."""


def upgrade(connections: Connections, *, may_upgrade: bool) -> None:
    """Make the tables of a fresh database, or upgrade those of an older one, in one transaction.

    Raises `StoreError` for a database that a newer hpcharvest made. Several processes may do this at the same time:
    all but the first find nothing left to do.
    """
    with connections.reading() as connection:
        version = version_of(connection)
    if version == HEAD:
        return
    if not may_upgrade:
        raise StoreError(
            f"database {connections.name} is of version {version or 'none'}, and this hpcharvest works with {HEAD}: "
            "`hpcharvest run` of this version makes it so; stop a controller of another version first"
        )
    with connections.writing() as connection:
        if connections.dialect == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
        version = version_of(connection)
        if version is None:
            _make(connection)
        elif version != HEAD:
            _upgrade(connection, connections.name, version)


def version_of(connection: Connection) -> str | None:
    """Tell the version of a database; None: it has no tables of ours."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.scalars(text("SELECT version_num FROM alembic_version")).one_or_none()


def configuration() -> Config:
    """Tell alembic where the migrations are."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "hpcharvest.store:migrations")
    config.set_main_option("path_separator", "os")
    return config


def _make(connection: Connection) -> None:
    """Make the newest tables at once; a test sees to it that the migrations lead to the very same."""
    metadata.create_all(connection, checkfirst=False)
    key = "CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)"
    connection.execute(text(f"CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, {key})"))
    connection.execute(text("INSERT INTO alembic_version (version_num) VALUES (:head)"), {"head": HEAD})


def _upgrade(connection: Connection, name: str, version: str) -> None:
    from alembic import command
    from alembic.script import ScriptDirectory

    config = configuration()
    known = {one.revision for one in ScriptDirectory.from_config(config).walk_revisions()}
    if version not in known:
        raise StoreError(
            f"database {name}: its version {version} is newer than {HEAD}, the newest that this hpcharvest knows: "
            "install the hpcharvest that made it, or name another database"
        )
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
