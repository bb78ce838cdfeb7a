"""From an event-service job and its queue's configuration to what its ranges are run by. Pure.

A callable is named `module:function`, and nothing else is on its command line. Its module is in the queue's
`transformation_dir`, which the task's PYTHONPATH names: Python runs isolated on the nodes and would not look there, but
the program that imports the module does. What the job itself says for its payload is in `PARAMETERS`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from math import ceil

from hpcharvest.apps.folders import Folders
from hpcharvest.config.event_ranges import check_template
from hpcharvest.config.schema import EventRanges, Queue
from hpcharvest.engine import images as containers
from hpcharvest.engine import launch
from hpcharvest.errors import JobNotUnderstood
from hpcharvest.messenger.ranges import EventTask, PayloadKind
from hpcharvest.model.allocation import Allocation
from hpcharvest.model.job import Job, JobSpec
from hpcharvest.model.shape import Shape
from hpcharvest.sizing.policy import Limits
from hpcharvest.sizing.ranges import SlotSize, Wish, capacity

_MODULE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
MB = 1_000_000
FIRST_S = 60.0
"""Before so many seconds, an allocation has said what more it wants, and has got it."""
PARAMETERS = "HPCHARVEST_PARAMETERS"
"""The environment variable in which a callable finds its job's jobPars, as they are."""


def why_never(spec: JobSpec, queue: Queue) -> str:
    """Say why an event-service job can never run in this queue; empty if it can."""
    section = queue.payload.event_ranges
    if section is None:
        return (
            f"job {spec.panda_id} is an event-service job, and its queue has no section payload.event_ranges that says "
            "how event ranges are run"
        )
    try:
        containers.check(spec, queue)
        _argv(spec, queue, section)
    except JobNotUnderstood as error:
        return str(error)
    return ""


def slot(queue: Queue) -> SlotSize:
    """Give the size of a slot for event ranges."""
    section = queue.payload.event_ranges or EventRanges()
    return SlotSize(nodes=section.nodes_per_slot, cores=section.cores, memory_mb=section.memory_mb, gpus=section.gpus)


def slots(queue: Queue, nodes: int) -> int:
    """Say how many slots for event ranges fit on so many nodes, if nothing else runs there."""
    return slot(queue).slots(nodes, launch.node_shape(queue.site))


def first_helping(queue: Queue, shape: Shape) -> int:
    """Say how many ranges an allocation that starts is to find: for a minute, and one more for each slot.

    As long as nobody knows how long they take, that is as configured. Never more than it can do.
    """
    seconds = range_s(queue, 0.0)
    most = capacity(shape, slot(queue), seconds, launch.limits(queue.site))
    return min(slots(queue, shape.nodes) * (1 + int(FIRST_S / seconds)), most)


def wish(queue: Queue, limits: Limits) -> Wish:
    """Give what allocations for event ranges should be like."""
    section = queue.payload.event_ranges or EventRanges()
    return Wish(
        slot=slot(queue),
        nodes=section.nodes or limits.max_nodes,
        walltime_s=section.walltime_s or limits.max_walltime_s,
    )


def event_task(
    job: Job, allocation: Allocation, queue: Queue, folders: Folders, images: Mapping[str, str]
) -> EventTask:
    """Give what the runner of an allocation must know of a job whose event ranges it does."""
    spec, payload = job.spec, queue.payload
    section = payload.event_ranges
    if section is None:
        raise JobNotUnderstood(why_never(spec, queue))
    argv = _argv(spec, queue, section)
    whole = containers.wrap(argv, job, queue, folders, images)
    inputs = folders.inputs(job.id)
    return EventTask(
        job=job.id,
        attempt=job.attempt,
        task_id=spec.task_id,
        kind=PayloadKind(section.kind),
        argv=whole,
        folder=str(folders.served(job.id, allocation.id)),
        output=section.output,
        env=_environment(spec, queue, section),
        inputs={file.lfn: str(inputs / file.lfn) for file in spec.inputs},
        scratch=queue.site.nodes.scratch,
        nodes=section.nodes_per_slot,
        cores=section.cores,
        ranks_per_node=section.ranks_per_node or section.cores,
        memory_mb=section.memory_mb,
        gpus=section.gpus,
        range_walltime_s=section.range_walltime_s * queue.site.allocation.walltime_factor,
        tries=section.tries,
        archive_bytes=section.archive_mb * MB,
        archive_age_s=section.archive_age_s,
        contained=whole is not argv,
        engine_failure=containers.failure(job, queue),
    )


def event_tasks(
    jobs: Iterable[Job], allocation: Allocation, queue: Queue, folders: Folders, images: Mapping[str, str]
) -> tuple[EventTask, ...]:
    """Give what the runner of an allocation must know of all such jobs that it has, and that are served still."""
    wanted = dict(allocation.event_jobs)
    return tuple(
        event_task(job, allocation, queue, folders, images) for job in jobs if wanted.get(job.id) == job.attempt
    )


def range_s(queue: Queue, pace: float) -> float:
    """Say how many seconds a range takes: as those that were done did (`pace`), or, before any was, as configured."""
    section = queue.payload.event_ranges or EventRanges()
    return pace or ceil(section.expected_range_s * queue.site.allocation.walltime_factor)


def _environment(spec: JobSpec, queue: Queue, section: EventRanges) -> dict[str, str]:
    given = dict(queue.payload.environment)
    if section.kind == "callable":
        folders = [str(queue.payload.transformation_dir), *filter(None, [given.get("PYTHONPATH", "")])]
        given |= {"PYTHONPATH": ":".join(folders), PARAMETERS: spec.job_pars}
    return given


def _argv(spec: JobSpec, queue: Queue, section: EventRanges) -> tuple[str, ...]:
    program, *words = launch.words(spec)
    for word in words if section.kind in {"command", "mpi"} else ():
        try:
            check_template(word)
        except ValueError as error:
            raise JobNotUnderstood(f"job {spec.panda_id}: jobPars: {error}") from error
    folder = str(queue.payload.transformation_dir)
    if section.kind == "callable":
        name = section.callable or f"{program.removesuffix('.py')}:run"
        if not _MODULE.fullmatch(name.partition(":")[0]):
            raise JobNotUnderstood(f"job {spec.panda_id}: {name!r} names no module of Python")
        return (name,)
    return (*queue.payload.interpreter, f"{folder}/{program}", *words, *section.arguments)
