"""What a command works with: the configuration, the folders and the database of one harvester."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hpcharvest.apps.folders import Folders
from hpcharvest.cli.controller import Controller, look
from hpcharvest.clock import Clock, SystemClock
from hpcharvest.config.loader import load
from hpcharvest.config.schema import Configuration
from hpcharvest.engine.parts import database_file, folders_of
from hpcharvest.errors import StoreError
from hpcharvest.store.database import Database


@dataclass(frozen=True, slots=True)
class Harvest:
    """One harvester, with a database that is open."""

    configuration: Configuration
    folders: Folders
    database: Database
    clock: Clock

    def controller(self) -> Controller:
        """Look whether a controller runs."""
        return look(self.folders.lease, self.clock.wall())


@contextmanager
def opened(config: Path) -> Iterator[Harvest]:
    """Read a controller file and open its database, which must be there: looking at nothing makes nothing.

    Raises ConfigurationError or StoreError.
    """
    configuration = load(config)
    file = database_file(configuration)
    if file is not None and not file.exists():
        raise StoreError(f"there is no database {file} yet: the first `hpcharvest run` makes it")
    policy = configuration.controller.network_file_system
    database = Database.open(configuration.controller.database, network_file_system=policy, may_upgrade=False)
    try:
        yield Harvest(configuration, folders_of(configuration), database, SystemClock())
    finally:
        database.close()
