"""The first stage of a DAG: from where a job's files come, and what it finds in its folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hpcharvest.apps.folders import Folders
from hpcharvest.apps.stage_in import stage_in
from hpcharvest.apps.ticket import Storage, Ticket
from hpcharvest.errors import SourceMissing, StorageUnavailable
from hpcharvest.model.ids import JobId
from hpcharvest.model.job import InputFile, JobSpec, ListFile, OutputFile

LOG = OutputFile(lfn="log.tgz", scope="logs", log=True)
HITS = OutputFile(lfn="HITS", scope="made", endpoint="TAPE")
ZIP = InputFile(lfn="a.tar", scope="mc", archive=True)


def ticket(folder: Path, **changes: Any) -> Ticket:
    given = JobSpec(panda_id=JobId(7), attempt_nr=1, transformation="merge", job_pars="", outputs=(LOG, HITS))
    places = {name: (folder / name).as_uri() for name in ("in", "out", "disk")}
    storage = Storage(inputs=places["in"], outputs=places["out"], endpoints={"DISK": places["disk"]})
    return Ticket(spec=replace(given, **changes), folders=Folders(folder / "work"), storage=storage)


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("place", "endpoint", "outputs"),
    [
        ("out/made", "", (LOG, HITS)),
        ("out/made", "OBJECTSTORE", (LOG, HITS)),
        ("disk/made", "DISK", (LOG, HITS)),
        ("disk/made", "", (LOG, replace(HITS, endpoint="DISK"))),
        ("out/mc", "", (LOG,)),
    ],
    ids=["as outputs", "an unknown storage element", "the one it names", "the one of the outputs", "without outputs"],
)
def test_an_archive_comes_from_where_archives_go(
    place: str, endpoint: str, outputs: tuple[OutputFile, ...], tmp_path: Path
) -> None:
    put(tmp_path / place / "a.tar", "ranges")
    job = ticket(tmp_path, inputs=(replace(ZIP, endpoint=endpoint),), outputs=outputs)
    stage_in(job)
    assert (job.folders.inputs(job.job) / "a.tar").read_text() == "ranges"


def test_any_other_input_does_not(tmp_path: Path) -> None:
    put(tmp_path / "out" / "mc" / "a.tar", "ranges")
    with pytest.raises(SourceMissing):
        stage_in(ticket(tmp_path, inputs=(replace(ZIP, archive=False),)))


def test_lists_are_written_beside_the_inputs_as_often_as_need_be(tmp_path: Path) -> None:
    lists = (ListFile(lfn="inputFor_HITS", names=("HITS.1", "HITS.2")), ListFile(lfn="inputFor_more", names=()))
    job = ticket(tmp_path, lists=lists)
    stage_in(job)
    stage_in(job)
    found = {one.name: one.read_text() for one in job.folders.inputs(job.job).iterdir()}
    assert found == {"inputFor_HITS": "HITS.1\nHITS.2\n", "inputFor_more": ""}


def test_a_list_that_cannot_be_written_is_tried_again(tmp_path: Path) -> None:
    put(tmp_path / "work" / "jobs", "in the way")
    with pytest.raises(StorageUnavailable, match="inputFor_HITS"):
        stage_in(ticket(tmp_path, lists=(ListFile(lfn="inputFor_HITS", names=("a",)),)))
