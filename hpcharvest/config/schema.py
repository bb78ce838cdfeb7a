"""The controller file, and with it the whole configuration: its root model is what the loader returns."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationInfo, field_validator

from hpcharvest.config.base import (
    FROZEN,
    AbsolutePath,
    DatabaseUrl,
    NearPath,
    PositiveCount,
    PositiveSeconds,
    Seconds,
    Section,
    WebUrl,
    not_below,
)
from hpcharvest.config.container import Container
from hpcharvest.config.event_ranges import EventRanges
from hpcharvest.config.queue import Payload, Queue, Storage
from hpcharvest.config.site import (
    About,
    AllocationLimits,
    Batch,
    Dialect,
    Launcher,
    LauncherName,
    Nodes,
    Site,
    Software,
)

__all__ = [
    "About",
    "AllocationLimits",
    "Batch",
    "Configuration",
    "Container",
    "Controller",
    "Dialect",
    "EventRanges",
    "Launcher",
    "LauncherName",
    "Nodes",
    "Panda",
    "Patience",
    "Payload",
    "Queue",
    "Site",
    "Software",
    "Storage",
]

HarvesterId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,49}$")]
QueueName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$")]
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class Patience(Section):
    """How long we wait for what, and how often we try."""

    batch_poll_s: PositiveSeconds = 16.0
    """Every how many seconds the batch system is asked about our batch jobs, by one command for all of them: no more
    than four commands a minute."""
    journal_poll_s: PositiveSeconds = 0.1
    """Seconds between two looks at an allocation's journal while it moves."""
    journal_poll_max_s: PositiveSeconds = 2.0
    """Seconds between two looks at an allocation's journal that has been quiet for long."""
    batch_grace_s: Seconds = 60.0
    """Seconds between the batch system's word that an allocation ended and our winning its end."""
    heartbeat_s: PositiveSeconds = 5.0
    """Every how many seconds the runner in an allocation gives a sign of life, and looks whether a payload is to be
    stopped."""
    heartbeat_stale_s: PositiveSeconds = 180.0
    """After how many seconds without a sign of life a runner is taken to be gone, if the batch system says so too."""
    retry_first_s: PositiveSeconds = 5.0
    """Seconds before something that failed for a transient reason is tried for the second time; then ever longer."""
    retry_max_s: PositiveSeconds = 600.0
    """Seconds between two tries at the most."""
    stage_tries: PositiveCount = 10
    """Number of tries at staging a job in, or out, before the job fails."""
    infrastructure_losses: PositiveCount = 20
    """Number of allocations that a job may lose under it before it fails."""
    refusals: PositiveCount = 300
    """Number of allocations that a job may belong to which never start, before it fails: with the pauses in between,
    two days."""

    @field_validator("journal_poll_max_s")
    @classmethod
    def _polls_in_order(cls, value: float, info: ValidationInfo) -> float:
        return not_below(value, info, "journal_poll_s")

    @field_validator("heartbeat_stale_s")
    @classmethod
    def _several_heartbeats(cls, value: float, info: ValidationInfo) -> float:
        beat = info.data.get("heartbeat_s")
        if beat is not None and value < 2 * beat:
            raise ValueError(f"heartbeat_stale_s ({value:g}) is less than two heartbeats (heartbeat_s is {beat:g})")
        return value

    @field_validator("retry_max_s")
    @classmethod
    def _retries_in_order(cls, value: float, info: ValidationInfo) -> float:
        return not_below(value, info, "retry_first_s")


def state_below_work(data: dict[str, Any]) -> Path:
    """Return `<work_dir>/<harvester_id>/state`."""
    return Path(data["work_dir"]) / str(data["harvester_id"]) / "state"


def sqlite_in_state(data: dict[str, Any]) -> str:
    """Return `sqlite:///<state_dir>/hpcharvest.sqlite`."""
    return f"sqlite:///{data['state_dir']}/hpcharvest.sqlite"


class Controller(Section):
    """The controller itself."""

    harvester_id: HarvesterId
    """The name under which PanDA knows this harvester: 1 to 50 letters, digits, dots, dashes and underscores, not
    beginning with a dot or dash."""
    work_dir: AbsolutePath
    """The folder in which jobs and allocations have theirs, on the file system that the nodes share."""
    state_dir: AbsolutePath = Field(default_factory=state_below_work)
    """The folder of the database. The default keeps all in one place; where work_dir is on a network file
    system, name a folder on a local disk that survives a reboot, since SQLite is at home there only."""
    database: DatabaseUrl = Field(default_factory=sqlite_in_state)
    """The database's URL, without a password: `sqlite:////folder/file` or `postgresql://user@host/name`."""
    network_file_system: Literal["refuse", "rollback_journal"] = "refuse"
    """What to do if an SQLite database lies on a network file system: refuse to start, or use SQLite's slower rollback
    journal."""
    log_file: NearPath | None = None
    """The file of the log, by its path from this file's folder; none: standard error."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """The least important lines that are logged."""
    dag_window: PositiveCount = 500
    """Number of jobs whose DAGs Parsl has in hand at once."""
    stage_threads: PositiveCount = 4
    """Number of threads that move files."""
    loop_batch: PositiveCount = 500
    """Number of facts that the loop takes into one transaction at the most."""
    lease_s: PositiveSeconds = 60.0
    """After how many seconds without renewal another controller of the same harvester_id may take over."""
    retention_days: PositiveCount = 30
    """How many days final records and their folders are kept."""
    patience: Patience = Patience()
    """How long we wait for what, and how often we try."""


class Panda(Section):
    """The conversation with the PanDA server."""

    url: WebUrl
    """The server's URL, such as `https://pandaserver.cern.ch:25443`."""
    timeout_s: PositiveSeconds = 60.0
    """After how many seconds without an answer a request is given up."""
    ca_bundle: NearPath | None = None
    """The file, or folder, of the certificates of the authorities to trust; none: the system's."""
    client_certificate: NearPath | None = None
    """The file of our X.509 certificate or proxy."""
    client_key: NearPath | None = None
    """The file of the certificate's key; none: it is in the certificate's file."""
    token_file: NearPath | None = None
    """The file of our bearer token, read anew whenever it changes."""
    origin: str = ""
    """The virtual organisation and role that go with a token, such as `atlas:production`."""
    max_answer_mb: PositiveCount = 200
    """The largest answer that is read, in MB."""
    update_chunk: PositiveCount = 200
    """Number of jobs whose status goes into one request at the most."""
    fetch_interval_s: PositiveSeconds = 5.0
    """Seconds before PanDA is asked for jobs again when it had fewer than we asked for; else it is asked at once."""
    report_interval_s: PositiveSeconds = 0.5
    """Seconds for which reports are gathered into one request."""
    heartbeat_interval_s: PositiveSeconds = 300.0
    """Every how many seconds PanDA hears of a job whose status did not change."""

    @field_validator("client_key")
    @classmethod
    def _key_of_something(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if value is not None and info.data.get("client_certificate", value) is None:
            raise ValueError("client_key is of no use without client_certificate")
        return value

    @field_validator("token_file")
    @classmethod
    def _one_identity(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if value is not None and info.data.get("client_certificate") is not None:
            raise ValueError("token_file and client_certificate are two identities; keep one of them")
        url = urlsplit(info.data.get("url", ""))
        if value is not None and url.scheme == "http" and url.hostname not in LOOPBACK:
            raise ValueError("a token would be readable on its way to an http:// URL; use https://")
        return value


class Configuration(Section):
    """All that was configured: the controller file with the site files that it names."""

    controller: Controller
    """The controller itself."""
    panda: Panda
    """The conversation with the PanDA server."""
    queues: Annotated[Mapping[QueueName, Queue], *FROZEN]
    """The PanDA queues that we serve, by their names in PanDA."""

    @field_validator("queues")
    @classmethod
    def _some_queue(cls, value: Mapping[str, Queue]) -> Mapping[str, Queue]:
        if not value:
            raise ValueError("no queue is named, so there is nothing to harvest")
        return value

    @field_validator("queues")
    @classmethod
    def _seen_in_containers(cls, value: Mapping[str, Queue], info: ValidationInfo) -> Mapping[str, Queue]:
        controller = info.data.get("controller")
        for name, queue in value.items():
            places = [queue.payload.transformation_dir, *([controller.work_dir] if controller else [])]
            odd = [str(place) for place in places if {":", ","} & set(str(place))]
            if odd and queue.site.container.engine != "none":
                raise ValueError(f"{name}: no container engine can be told of {odd[0]}, with its colon or comma")
        return value
