"""Which container image a job runs in, and how its command line is put into it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import CancelledError
from fnmatch import fnmatchcase
from pathlib import Path

from hpcharvest.apps import containers
from hpcharvest.apps.folders import Folders
from hpcharvest.apps.images import Images, WantedImage
from hpcharvest.config.container import check_engine
from hpcharvest.config.schema import Queue
from hpcharvest.engine.launchers import GPU_VARIABLES
from hpcharvest.errors import ImageUnavailable, JobNotUnderstood
from hpcharvest.jumbo import pilot
from hpcharvest.jumbo.kin import MARK_VARIABLE
from hpcharvest.model.image import ImageKind, parse
from hpcharvest.model.job import Job, JobSpec


def name_of(spec: JobSpec, queue: Queue) -> str:
    """Give the image of a job: its own, else its queue's, else its site's; empty: none."""
    return spec.image or queue.payload.image or queue.site.container.image


def check(spec: JobSpec, queue: Queue) -> None:
    """Raise JobNotUnderstood if the job asks for an image that it cannot have here."""
    if queue.payload.transformation_in_image and not name_of(spec, queue):
        raise JobNotUnderstood(f"job {spec.panda_id}: its program is in an image, and neither job nor queue names one")
    if not spec.image:
        return
    container = queue.site.container
    try:
        kind = parse(spec.image).kind
        check_engine(spec.image, container.engine)
    except ValueError as error:
        raise JobNotUnderstood(f"job {spec.panda_id}: its container_name cannot be used: {error}") from error
    patterns = [one for one in container.allowed if one.startswith("/") == (kind is ImageKind.FILE)]
    if kind is ImageKind.ARCHIVE or not any(fnmatchcase(spec.image.removeprefix("docker://"), one) for one in patterns):
        raise JobNotUnderstood(
            f"job {spec.panda_id}: the image {spec.image} is not among those that jobs may ask for at "
            f"{queue.site.name} (container.allowed)"
        )


def wanted(spec: JobSpec, queue: Queue, folders: Folders, keeper: Images) -> WantedImage | None:
    """Give the image that must be here before the job's payload can start; None: it needs none."""
    name = name_of(spec, queue)
    if not name:
        return None
    container = queue.site.container
    return WantedImage(name=name, container=container, folder=container.images or folders.images, keeper=keeper)


def all_ready(jobs: Iterable[Job], queue: Queue, folders: Folders, keeper: Images) -> dict[str, str]:
    """Give, for the image of each job by its name, what is to be run; fetch what got lost since stage-in.

    Raises ImageRefused or ImageUnavailable.
    """
    found = {one.name: one for job in jobs if (one := wanted(job.spec, queue, folders, keeper))}
    try:
        return {name: one.ready() for name, one in found.items()}
    except CancelledError as error:
        raise ImageUnavailable("the controller leaves, and fetches no image any more") from error


def wrap(argv: tuple[str, ...], job: Job, queue: Queue, folders: Folders, images: Mapping[str, str]) -> tuple[str, ...]:
    """Put a payload's command line into the container of its job, if it has one."""
    name = name_of(job.spec, queue)
    if not name:
        return argv
    payload, site = queue.payload, queue.site
    program = None if payload.transformation_in_image else payload.transformation_dir
    vendor = site.nodes.gpu_vendor if payload.gpus else ""
    inside = containers.Inside(
        image=images[name],
        folder=str(folders.attempt(job.id, job.attempt)),
        reads=_reads(program, folders.inputs(job.id) if job.spec.inputs or job.spec.lists else None),
        variables=(
            MARK_VARIABLE,
            *payload.environment,
            *([GPU_VARIABLES[vendor]] if vendor else ()),
            *(pilot.VARIABLES if payload.speaks_files else ()),
        ),
        mpi=payload.mpi,
        gpu_vendor=vendor,
    )
    return containers.wrap(site.container, inside, argv)


def failure(job: Job, queue: Queue) -> int:
    """Give the exit code by which the engine says that it could not start the job's container; 0: there is none."""
    return containers.ENGINES[queue.site.container.engine].failure if name_of(job.spec, queue) else 0


def _reads(*folders: Path | None) -> tuple[str, ...]:
    return tuple(str(folder) for folder in folders if folder is not None)
