"""From a job and its queue's configuration to what is run: command line, folder, size. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from math import ceil
from pathlib import Path

from hpcharvest.apps.folders import Folders
from hpcharvest.apps.ticket import Storage
from hpcharvest.config.schema import Queue, Site
from hpcharvest.engine import images as containers
from hpcharvest.engine import launchers
from hpcharvest.errors import JobNotUnderstood
from hpcharvest.messenger.protocol import LinkName, Manifest, Task
from hpcharvest.messenger.ranges import EventTask
from hpcharvest.model.allocation import Allocation
from hpcharvest.model.job import Job, JobSpec
from hpcharvest.model.shape import NodeShape, Shape
from hpcharvest.providers.dialect import BatchRequest, Dialect
from hpcharvest.providers.script import render
from hpcharvest.sizing.fit import Footprint, footprint
from hpcharvest.sizing.policy import Limits
from hpcharvest.sizing.policy import why_never as too_large

_PROGRAM = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
_QUOTING = re.compile(r"""['"\\]""")
_WORD = re.compile(r"[^ \t\r\n]+")
"""What is between blanks, which are the only ones that part words here."""
LONGEST_COMMAND = 120_000
"""Bytes of jobPars: Linux takes single arguments of up to 128 KiB."""


def node_shape(site: Site) -> NodeShape:
    """Give what a node of the site offers."""
    return NodeShape(cores=site.nodes.cores, memory_mb=site.nodes.memory_mb, gpus=site.nodes.gpus)


def limits(site: Site) -> Limits:
    """Give what the site allows."""
    allowed = site.allocation
    return Limits(
        node=node_shape(site),
        min_nodes=allowed.min_nodes,
        max_nodes=allowed.max_nodes,
        max_walltime_s=allowed.max_walltime_s,
        max_allocations=allowed.max_allocations,
        max_jobs=allowed.max_jobs,
        linger_s=allowed.linger_s,
        margin_s=allowed.margin_s,
        partition=site.batch.partition,
    )


def size(spec: JobSpec, queue: Queue) -> Footprint:
    """Give what the job occupies on the queue's site."""
    factor = queue.site.allocation.walltime_factor
    payload = queue.payload
    fitted = footprint(spec, node_shape(queue.site), default_walltime_s=payload.default_walltime_s, gpus=payload.gpus)
    return Footprint(
        nodes=fitted.nodes,
        cores=fitted.cores,
        memory_mb=fitted.memory_mb,
        walltime_s=ceil(fitted.walltime_s * factor),
        gpus=fitted.gpus,
    )


def why_never(spec: JobSpec, queue: Queue) -> str:
    """Say why the job can never run in this queue; empty if it can."""
    try:
        command(spec, queue)
        containers.check(spec, queue)
    except JobNotUnderstood as error:
        return str(error)
    reason = too_large(size(spec, queue), limits(queue.site))
    return f"job {spec.panda_id} cannot run at {queue.site.name}: {reason}" if reason else ""


def command(spec: JobSpec, queue: Queue, values: Mapping[str, object] | None = None) -> tuple[str, ...]:
    """Give the payload's command line: words, never a shell's text. JobNotUnderstood: as in `words`."""
    program, *own = words(spec)
    payload = queue.payload
    more = [word.format(**values) for word in payload.arguments] if values else payload.arguments
    return (*payload.interpreter, str(payload.transformation_dir / program), *own, *more)


def words(spec: JobSpec) -> tuple[str, ...]:
    """Give the name of the payload's program, and the job's own words for it.

    Raises JobNotUnderstood if the transformation is no plain name, or the parameters cannot be split into words.
    """
    if not _PROGRAM.fullmatch(spec.transformation):
        shown = spec.transformation[:100]
        raise JobNotUnderstood(f"job {spec.panda_id}: the transformation {shown!r} is no plain name of a program")
    length = len(spec.job_pars.encode(errors="surrogatepass"))
    if length > LONGEST_COMMAND:
        raise JobNotUnderstood(
            f"job {spec.panda_id}: jobPars has {length} bytes, a command line takes {LONGEST_COMMAND}"
        )
    try:
        # Where nothing is quoted there is nothing to be understood, and shlex reads each character in Python.
        own = shlex.split(spec.job_pars) if _QUOTING.search(spec.job_pars) else _WORD.findall(spec.job_pars)
    except ValueError as error:
        raise JobNotUnderstood(f"job {spec.panda_id}: jobPars cannot be split into words: {error}") from error
    if any("\0" in word for word in own):
        raise JobNotUnderstood(f"job {spec.panda_id}: jobPars has a NUL character")
    return (spec.transformation, *own)


def storage(queue: Queue) -> Storage:
    """Give where the queue's files come from and go to, as URLs."""
    configured = queue.storage
    return Storage(
        inputs=_url(configured.inputs),
        outputs=_url(configured.outputs),
        endpoints={name: _url(place) for name, place in configured.endpoints.items()},
        by_scope=configured.layout == "scope/lfn",
    )


def _url(place: str) -> str:
    return Path(place).as_uri() if place.startswith("/") else place


def task(job: Job, queue: Queue, folders: Folders, images: Mapping[str, str]) -> Task:
    """Give what the runner must know to run one attempt of a job. `images`: what to run for each image, by its name."""
    spec = job.spec
    room = size(spec, queue)
    mpi = queue.payload.mpi
    per_node = (queue.payload.ranks_per_node or room.cores) if mpi else 1
    values = {
        "panda_id": spec.panda_id,
        "attempt": job.attempt,
        "nodes": room.nodes,
        "ranks": per_node * room.nodes,
        "ranks_per_node": per_node,
        "cores": room.cores,
    }
    inputs = folders.inputs(job.id)
    argv = command(spec, queue, values)
    whole = containers.wrap(argv, job, queue, folders, images)
    return Task(
        job=job.id,
        attempt=job.attempt,
        argv=whole,
        contained=whole is not argv,
        engine_failure=containers.failure(job, queue),
        env=dict(queue.payload.environment),
        folder=str(folders.attempt(job.id, job.attempt)),
        links={file.lfn: str(inputs / file.lfn) for file in spec.inputs},
        nodes=room.nodes,
        cores=room.cores,
        memory_mb=room.memory_mb,
        gpus=room.gpus,
        walltime_s=room.walltime_s,
        outputs=tuple(file.lfn for file in spec.outputs if not file.log),
        log=spec.log.lfn if spec.log else None,
        mpi=mpi,
        ranks_per_node=per_node,
    )


def manifest(
    allocation: Allocation,
    jobs: Iterable[Job],
    queue: Queue,
    folders: Folders,
    *,
    heartbeat_s: float,
    images: Mapping[str, str],
    event_tasks: tuple[EventTask, ...] = (),
) -> Manifest:
    """Give what the runner of an allocation must know. `images`: what to run for each image, by its name."""
    site = queue.site
    with_gpus = queue.payload.gpus or any(one.gpus for one in event_tasks)
    gpu_variable = launchers.GPU_VARIABLES[site.nodes.gpu_vendor] if with_gpus else ""
    node_launcher, together = launchers.node_words(site.launcher, gpu_variable)
    return Manifest(
        allocation=allocation.id,
        tag=allocation.tag,
        cores_per_node=site.nodes.cores,
        memory_mb_per_node=site.nodes.memory_mb,
        gpus_per_node=site.nodes.gpus if gpu_variable else 0,
        gpu_variable=gpu_variable,
        heartbeat_s=heartbeat_s,
        margin_s=site.allocation.margin_s,
        launcher=launchers.words(site.launcher, gpu_variable),
        node_launcher=node_launcher,
        nodes_together=together,
        link_address=site.nodes.link_address,
        link=LinkName(site.launcher.link),
        tasks=tuple(task(job, queue, folders, images) for job in jobs),
        event_tasks=event_tasks,
    )


def batch_request(tag: str, shape: Shape, folder: Path, site: Site, *, gpus: bool = False) -> BatchRequest:
    """Give what is asked of the site's batch system for an allocation in `folder`; `gpus`: also the nodes' GPUs."""
    return BatchRequest(
        tag=tag,
        shape=shape,
        folder=folder,
        account=site.batch.account,
        qos=site.batch.qos,
        options=site.batch.options,
        gpus_per_node=site.nodes.gpus if gpus else 0,
        # The runner knows the end by itself, and judges better if it is not the signal that comes first.
        signal_before_end_s=int(min(site.batch.signal_before_end_s, site.allocation.margin_s / 2)),
    )


def script(request: BatchRequest, site: Site, dialect: Dialect, text: str) -> str:
    """Give the batch script; `text` is the site's own prologue."""
    runner = (str(site.software.python), "-m", "hpcharvest.jumbo", str(request.folder))
    return render(dialect, request, runner, prologue(site, text))


def prologue(site: Site, text: str) -> str:
    """Give the shell lines that prepare a node: the site's own, and its folders in front of PATH."""
    folders = ":".join(str(folder) for folder in site.software.payload_path)
    path = f'export PATH={shlex.quote(folders)}:"$PATH"' if folders else ""
    return "\n".join(part for part in (text, path) if part)
