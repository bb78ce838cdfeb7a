"""A PanDA queue: which jobs are fetched for it, how their payloads are run, where their files are."""

from __future__ import annotations

from math import floor
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from hpcharvest.config.base import (
    Context,
    Count,
    Environment,
    Location,
    Locations,
    NearPath,
    PositiveCount,
    Section,
    Strings,
    Text,
    check_placeholders,
)
from hpcharvest.config.container import ImageText, check_engine
from hpcharvest.config.event_ranges import EventRanges
from hpcharvest.config.site import Site

PAYLOAD_PLACEHOLDERS = frozenset({"panda_id", "attempt", "nodes", "ranks", "ranks_per_node", "cores"})


class Payload(Section):
    """How a job's payload is run."""

    transformation_dir: NearPath
    """The only folder from which a job's transformation is run, as the nodes see it."""
    transformation_in_image: bool = False
    """Whether that folder is one of the container image, and not one that the nodes share."""
    interpreter: Strings = ()
    """The words before the transformation, such as `["python3"]`; empty: it is a program itself."""
    mpi: bool = False
    """Whether the site's launcher starts the payload as ranks; else it is one process."""
    ranks_per_node: Count = 0
    """Number of ranks on each node; 0: as many as the node has cores."""
    gpus: Count = 0
    """Number of GPUs that a payload needs on each of its nodes, and has for itself alone."""
    image: ImageText = ""
    """The container image of jobs that name none themselves, as `container.image` of the site; empty: the site's."""
    default_walltime_s: PositiveCount = 3600
    """The walltime, in seconds, of a job of which the server did not say one."""
    environment: Environment = Field(default={})
    """Environment variables for the payload; no secrets."""
    arguments: Strings = ()
    """Further arguments after the job's own; they may have {panda_id}, {attempt}, {nodes}, {ranks}, {ranks_per_node}
    and {cores}."""
    event_ranges: EventRanges | None = None
    """How the event ranges of event-service jobs are run; without this section, such jobs are refused."""
    harvester_files: bool = False
    """Whether the payload of a whole job is a pilot, or the like, that finds its job in panda-harvester's files in its
    folder, and says by them what became of it (`docs/harvester-files.md`)."""

    @field_validator("harvester_files")
    @classmethod
    def _files_are_for_one_process(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("mpi"):
            raise ValueError("harvester_files = true, but with mpi = true each rank would be a pilot of the same job")
        return value

    @property
    def speaks_files(self) -> bool:
        """Whether any payload is to see the server's own dictionary of its job."""
        return self.harvester_files or (self.event_ranges is not None and self.event_ranges.kind == "files")

    @field_validator("ranks_per_node")
    @classmethod
    def _ranks_need_mpi(cls, value: int, info: ValidationInfo) -> int:
        if value and info.data.get("mpi") is False:
            raise ValueError(f"ranks_per_node ({value}) has no effect without mpi = true")
        return value

    @field_validator("arguments")
    @classmethod
    def _arguments_are_known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        check_placeholders(value, PAYLOAD_PLACEHOLDERS)
        return value


class Storage(Section):
    """Where a queue's files come from and go to: absolute folders or URLs, without passwords."""

    inputs: Location
    """The folder or URL below which the inputs lie."""
    outputs: Location
    """The folder or URL below which outputs and logs are put, unless their storage element is one of `endpoints`."""
    layout: Literal["scope/lfn", "lfn"] = "scope/lfn"
    """Where a file lies below its folder or URL: in a folder named by its scope, or at once."""
    endpoints: Locations = Field(default={})
    """The folder or URL of each storage element, by the name under which PanDA knows it."""


def _site(value: object, info: ValidationInfo) -> object:
    """Put the site that a name stands for in its place."""
    if isinstance(value, Site):
        return value
    if not isinstance(value, str) or not isinstance(info.context, Context) or info.context.site is None:
        raise ValueError("expected the name of a site file (a string)")
    return info.context.site(value)


def _fits_slots(value: EventRanges, site: Site) -> None:
    """Raise ValueError if a slot is larger than the site's nodes, or an allocation than the site allows."""
    node, limits = site.nodes, site.allocation
    for name, wanted, there in (
        ("cores", value.cores, node.cores),
        ("gpus", value.gpus, node.gpus),
        ("memory_mb", value.memory_mb, node.memory_mb or value.memory_mb),
        ("nodes", value.nodes, limits.max_nodes),
        ("nodes_per_slot", value.nodes_per_slot, value.nodes or limits.max_nodes),
        ("walltime_s", value.walltime_s, limits.max_walltime_s),
    ):
        if wanted > there:
            raise ValueError(f"event_ranges.{name} = {wanted}, but the site {site.name} has, or allows, {there}")
    if value.walltime_s and value.walltime_s <= limits.margin_s:
        raise ValueError(
            f"event_ranges.walltime_s = {value.walltime_s} leaves nothing of margin_s ({limits.margin_s:g})"
        )
    if value.kind == "mpi" and not site.launcher.starts_ranks:
        raise ValueError(f'event_ranges.kind = "mpi", but the site {site.name} has no launcher to start ranks with')


class Queue(Section):
    """A PanDA queue that we serve, with the site that serves it."""

    site: Annotated[Site, BeforeValidator(_site), Field(json_schema_extra={"written": "string"})]
    """The site file: by its path from this file's folder, or by its name in the site_configs that come with
    hpcharvest, such as `generic/local.toml`."""
    enabled: bool = True
    """Whether jobs are fetched; what was fetched before is finished in any case."""
    prod_source_label: Text = "managed"
    """Which kind of jobs to ask PanDA for."""
    max_jobs: PositiveCount = 1000
    """Number of unfinished jobs that we hold at the most."""
    fetch_chunk: PositiveCount = 200
    """Number of jobs that we ask PanDA for at once at the most."""
    resource_type: Text | None = None
    """Which of PanDA's resource types to ask for, such as SCORE or MCORE; none: any."""
    computing_element: str = ""
    """The name of the computing element that is told to PanDA."""
    payload: Payload
    """How a job's payload is run."""
    storage: Storage
    """Where a queue's files come from and go to: absolute folders or URLs, without passwords."""

    @field_validator("payload")
    @classmethod
    def _fits_the_site(cls, value: Payload, info: ValidationInfo) -> Payload:
        site = info.data.get("site")
        if site is None:
            return value
        if value.mpi and not site.launcher.starts_ranks:
            raise ValueError(f"mpi = true, but the site {site.name} has no launcher to start ranks with")
        if value.gpus > site.nodes.gpus:
            raise ValueError(f"gpus = {value.gpus}, but a node of the site {site.name} has {site.nodes.gpus}")
        if value.event_ranges is not None:
            _fits_slots(value.event_ranges, site)
        if value.image:
            check_engine(value.image, site.container.engine)
        if value.transformation_in_image and site.container.engine == "none":
            raise ValueError(f"transformation_in_image = true, but the site {site.name} has no container engine")
        if value.mpi and site.container.engine == "docker":
            raise ValueError("mpi = true, but Docker cannot hand on what launchers tell ranks; Podman can")
        limits = site.allocation
        need_s = value.default_walltime_s * limits.walltime_factor + limits.margin_s
        if need_s > limits.max_walltime_s:
            most = floor((limits.max_walltime_s - limits.margin_s) / limits.walltime_factor)
            raise ValueError(
                f"default_walltime_s ({value.default_walltime_s}) with the site's factor and margin comes to "
                f"{need_s:g} s, which is more than max_walltime_s ({limits.max_walltime_s}) of the site {site.name}: "
                f"set it to {most} or less"
            )
        return value
