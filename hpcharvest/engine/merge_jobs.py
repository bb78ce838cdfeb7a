"""Merge jobs of our own: what merges event ranges' outputs on site, in the words of a job. Pure.

Such a job is like any that PanDA sends, but that PanDA never hears of it: its output is reported with the event-service
job that it is a part of. Its inputs are archives at their destination, and the members that it is to merge are in a
list, so that no command line grows with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hpcharvest.config.schema import EventRanges, Queue
from hpcharvest.engine import launch
from hpcharvest.model.event_range import Bundle
from hpcharvest.model.ids import JobId
from hpcharvest.model.job import InputFile, JobSpec, ListFile, OutputFile
from hpcharvest.sizing.merging import Cut, Group, Piece

FIRST = JobId(2**62)
"""The numbers of our own jobs begin here; PanDA's are far below."""
LIST = "inputFor_"
"""Before the name of an output: the name of the list of its members, as in PanDA's own merge jobs."""
OUTPUT = "${OUTPUT0}"
"""What stands for the output's name in the parameters of a merge step. Source: PanDA's task definitions."""


def cut(spec: JobSpec, queue: Queue) -> Cut | None:
    """Give how the events of a job are cut into merged outputs; None: nothing is merged. ValueError: they cannot be."""
    section = queue.payload.event_ranges
    if section is None or not section.merge or spec.merge is None:
        return None
    files = tuple(one.lfn for one in spec.inputs if not one.archive)
    return Cut(files=files, per_input=spec.merge.per_input, per_output=spec.merge.per_output)


def why_never(spec: JobSpec, queue: Queue) -> str:
    """Say why what a job's ranges leave can never be merged in this queue; empty if it can, or is not to be."""
    try:
        if cut(spec, queue) is None:
            return ""
    except ValueError as error:
        return f"job {spec.panda_id}: {error}"
    if _output(spec) is None:
        return f"job {spec.panda_id} is to be merged on site, but has no output that it is to be merged into"
    return launch.why_never(merge_spec(spec, Group(output=1, pieces=()), {}, EventRanges()), queue)


def name(spec: JobSpec, output: int) -> str:
    """Name a merged output: PanDA takes a job's output with a number behind it."""
    promised = _output(spec)
    return f"{promised.lfn if promised else ''}._{output:06d}"


def merge_spec(spec: JobSpec, group: Group, bundles: Mapping[str, Bundle], section: EventRanges) -> JobSpec:
    """Give the job that makes one output of an event-service job; it has no number yet. `bundles`: by archive."""
    promised, step = _output(spec), spec.merge
    if promised is None or step is None:
        raise ValueError(f"job {spec.panda_id} is not to be merged")
    lfn = name(spec, group.output)
    inputs = tuple(_input(bundles[archive], promised) for archive in group.archives)
    files = {one.lfn: one for one in spec.inputs}
    names = tuple(_member(one, files[one.lfn], spec, section) for one in group.pieces)
    return JobSpec(
        panda_id=JobId(0),
        attempt_nr=spec.attempt_nr,
        transformation=step.transformation,
        job_pars=step.job_pars.replace(OUTPUT, lfn),
        inputs=inputs,
        outputs=(replace(promised, lfn=lfn),),
        lists=(ListFile(lfn=f"{LIST}{lfn}", names=names),),
        core_count=spec.core_count,
        memory_mb=spec.memory_mb,
        disk_mb=spec.disk_mb,
        max_walltime_s=spec.max_walltime_s,
        task_id=spec.task_id,
        jobset_id=spec.jobset_id,
        priority=spec.priority,
        prod_source_label=spec.prod_source_label,
        processing_type=spec.processing_type,
        resource_type=spec.resource_type,
        image=spec.image,
        merge_of=spec.panda_id,
    )


def _output(spec: JobSpec) -> OutputFile | None:
    return next((one for one in spec.outputs if not one.log), None)


def _input(bundle: Bundle, promised: OutputFile) -> InputFile:
    return InputFile(lfn=bundle.archive, scope=promised.scope, size=bundle.size, adler32=bundle.adler32, archive=True)


def _member(piece: Piece, file: InputFile, spec: JobSpec, section: EventRanges) -> str:
    """Name a range's output in its archive, as its runner did."""
    promised = _output(spec)
    return section.output.format(
        outLFN=promised.lfn if promised else piece.lfn,
        eventRangeID=piece.id,
        startEvent=piece.start,
        lastEvent=piece.last,
        LFN=piece.lfn,
        GUID=file.guid,
        scope=file.scope,
        PandaID=spec.panda_id,
        taskID=spec.task_id,
    )
