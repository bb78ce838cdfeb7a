"""The parts that need nothing but the configuration to be made: for the service, and for commands that only look."""

from __future__ import annotations

from pathlib import Path

from hpcharvest.apps.folders import Folders
from hpcharvest.config.schema import Configuration, Panda
from hpcharvest.errors import StoreError
from hpcharvest.panda.client import PandaClient
from hpcharvest.panda.credentials import ClientCertificate, Credentials, Nobody, TokenFile
from hpcharvest.panda.transport import Transport
from hpcharvest.store.database import Database


def folders_of(configuration: Configuration) -> Folders:
    """Give the folders of this harvester."""
    controller = configuration.controller
    return Folders(controller.work_dir / controller.harvester_id)


def open_database(configuration: Configuration) -> Database:
    """Open the database that the configuration names, made or upgraded if need be."""
    controller = configuration.controller
    try:
        controller.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StoreError(
            f"the state_dir {controller.state_dir} cannot be made: {error.strerror}; name one that you may write"
        ) from error
    return Database.open(controller.database, network_file_system=controller.network_file_system)


def credentials(panda: Panda) -> Credentials:
    """Give what we show to PanDA."""
    if panda.token_file:
        return TokenFile(panda.token_file, panda.origin)
    if panda.client_certificate:
        return ClientCertificate(panda.client_certificate, panda.client_key)
    return Nobody()


def client_of(configuration: Configuration) -> PandaClient:
    """Give a client that speaks to the PanDA server."""
    panda = configuration.panda
    transport = Transport(
        panda.url,
        credentials(panda),
        timeout_s=panda.timeout_s,
        max_answer_bytes=panda.max_answer_mb << 20,
        ca_bundle=panda.ca_bundle,
    )
    return PandaClient(transport, configuration.controller.harvester_id, chunk=panda.update_chunk)


def database_file(configuration: Configuration) -> Path | None:
    """Give the file of the database; None if it is on a server."""
    scheme, _, path = configuration.controller.database.partition(":///")
    return Path(path.partition("?")[0]) if scheme.startswith("sqlite") else None
