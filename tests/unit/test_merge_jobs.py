"""The jobs of our own that merge on site, in the words of a job."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hpcharvest.config.schema import EventRanges, Payload, Queue
from hpcharvest.engine import event_tasks, launch, merge_jobs
from hpcharvest.model.event_range import Bundle
from hpcharvest.model.ids import AllocationId, BundleId, JobId
from hpcharvest.model.job import InputFile, JobSpec, MergeStep, OutputFile
from hpcharvest.sizing.merging import Group, Piece
from tests import worlds

STEP = MergeStep(
    transformation="merge.py", job_pars="--in=@inputFor_${OUTPUT0} --out ${OUTPUT0}", per_output=5, per_input=10
)
SPEC = JobSpec(
    panda_id=JobId(7),
    attempt_nr=3,
    transformation="sim.py",
    job_pars="",
    inputs=(InputFile(lfn="in.1", scope="mc", guid="g1"), InputFile(lfn="in.2", scope="mc", guid="g2")),
    outputs=(OutputFile(lfn="log", scope="l", log=True), OutputFile(lfn="HITS", scope="made", endpoint="DISK")),
    core_count=4,
    priority=9,
    task_id=5,
    event_service=True,
    merge=STEP,
)


def piece(number: int, archive: str = "a.tar") -> Piece:
    return Piece(id=f"5-7-1-{number}-3", lfn="in.2", start=number, last=number, archive=archive)


def bundle(archive: str) -> Bundle:
    return Bundle(id=BundleId(1), job=JobId(7), allocation=AllocationId(1), archive=archive, size=9, adler32="0a0b0c0d")


def queue(folder: Path, **section: Any) -> Queue:
    payload = Payload(transformation_dir=folder, event_ranges=EventRanges.model_validate({"merge": True, **section}))
    (made,) = worlds.configuration(folder, queue={"payload": payload}).queues.values()
    return made


def test_an_output_is_made_of_the_members_of_its_archives() -> None:
    group = Group(output=3, pieces=(piece(1), piece(2, "b.tar"), piece(3)))
    made = merge_jobs.merge_spec(SPEC, group, {one: bundle(one) for one in ("a.tar", "b.tar")}, EventRanges())
    assert (made.transformation, made.job_pars) == ("merge.py", "--in=@inputFor_HITS._000003 --out HITS._000003")
    assert [(one.lfn, one.size, one.adler32, one.archive) for one in made.inputs] == [
        ("a.tar", 9, "0a0b0c0d", True),
        ("b.tar", 9, "0a0b0c0d", True),
    ]
    assert made.outputs == (OutputFile(lfn="HITS._000003", scope="made", endpoint="DISK"),)
    (listed,) = made.lists
    assert listed.lfn == "inputFor_HITS._000003"
    assert listed.names == tuple(f"HITS.5-7-1-{number}-3" for number in (1, 2, 3))
    assert (made.merge_of, made.merge, made.event_service) == (7, None, False)
    assert (made.attempt_nr, made.core_count, made.priority, made.task_id) == (3, 4, 9, 5)


def test_members_are_named_as_their_runner_did() -> None:
    section = EventRanges(
        output="{eventRangeID}.{LFN}.{GUID}.{scope}.{startEvent}-{lastEvent}.{PandaID}.{taskID}", merge=True
    )
    group = Group(output=1, pieces=(piece(4),))
    made = merge_jobs.merge_spec(SPEC, group, {"a.tar": bundle("a.tar")}, section)
    assert made.lists[0].names == ("5-7-1-4-3.in.2.g2.mc.4-4.7.5",)


def test_no_command_line_grows_with_the_members(tmp_path: Path) -> None:
    archives = {f"{number}.tar": bundle(f"{number}.tar") for number in range(5000)}
    group = Group(output=1, pieces=tuple(piece(number, f"{number}.tar") for number in range(5000)))
    made = merge_jobs.merge_spec(SPEC, group, archives, EventRanges())
    assert (len(made.inputs), len(made.lists[0].names)) == (5000, 5000)
    assert sum(map(len, launch.command(made, queue(tmp_path)))) < 500


def test_nothing_is_cut_where_nothing_is_to_be_merged(tmp_path: Path) -> None:
    assert merge_jobs.cut(SPEC, queue(tmp_path, merge=False)) is None
    assert merge_jobs.cut(replace(SPEC, merge=None), queue(tmp_path)) is None
    cut = merge_jobs.cut(SPEC, queue(tmp_path))
    assert cut is not None
    assert (cut.files, cut.outputs) == (("in.1", "in.2"), 4)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"merge": replace(STEP, per_output=3)}, "has to divide"),
        ({"merge": replace(STEP, per_input=0)}, "has to divide"),
        ({"outputs": SPEC.outputs[:1]}, "has no output that it is to be merged into"),
        ({"merge": replace(STEP, transformation="../sh")}, "no plain name of a program"),
        ({"merge": replace(STEP, job_pars="'")}, "cannot be split into words"),
        ({}, ""),
        ({"merge": None, "outputs": ()}, ""),
    ],
)
def test_what_can_never_be_merged_is_refused_before_any_range_is_done(
    changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    why = event_tasks.why_never(replace(SPEC, **changes), queue(tmp_path))
    assert words in why
    assert bool(why) is bool(words)
