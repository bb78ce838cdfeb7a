"""What is read in panda-harvester's files, what is written there, and what is not believed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hpcharvest.errors import MessageNotUnderstood, TornMessage, UnsafeName
from hpcharvest.jumbo import pilot
from hpcharvest.messenger import harvester_files as names
from hpcharvest.messenger.harvester_files import Entry, Kind, Status
from hpcharvest.messenger.ranges import EventTask, PayloadKind
from hpcharvest.model.event_range import EventRange
from hpcharvest.model.ids import Attempt, JobId
from hpcharvest.model.states import PayloadResult

JOB = JobId(7)


def dumped(*rows: Any) -> names.Dump:
    return names.read_dump(json.dumps({"7": rows}).encode(), "there")


def a_task(text: str = "", inputs: dict[str, str] | None = None) -> EventTask:
    return EventTask(
        job=JOB,
        attempt=Attempt(1),
        task_id=5,
        kind=PayloadKind.FILES,
        argv=("true",),
        folder="/a",
        job_text=text,
        inputs={"a": "/in/a", "b": "/in/b"} if inputs is None else inputs,
    )


def test_a_dump_is_read() -> None:
    row = {"eventRangeID": "r", "eventStatus": "finished", "path": "/o", "type": "es_output", "fsize": 3, "chksum": "1"}
    file = {"path": "/log", "type": "log", "fsize": "12", "guid": "g"}
    found = dumped(row, file, {"eventRangeID": "s", "eventStatus": "running", "cpuConsumptionTime": "1.5"})
    assert found.strange == []
    assert found.entries[JOB] == [
        Entry(range="r", status=Status.FINISHED, path="/o", kind=Kind.RANGE_OUTPUT, size=3, checksum="1"),
        Entry(path="/log", kind=Kind.LOG, size=12, guid="g"),
        Entry(range="s", status=Status.RUNNING, cpu_s=1.5),
    ]


@pytest.mark.parametrize(
    "row",
    [
        1,
        [],
        {},
        {"eventRangeID": "r"},
        {"eventRangeID": "r", "eventStatus": "merry"},
        {"eventRangeID": "r", "eventStatus": ["finished"]},
        {"path": "/p"},
        {"path": "/p", "type": "odd"},
        {"path": "a\0b", "type": "log"},
    ],
)
def test_an_entry_without_sense_is_told_and_costs_no_other(row: Any) -> None:
    found = dumped(row, {"path": "/log", "type": "log"})
    assert [entry.path for entry in found.entries[JOB]] == ["/log"]
    assert len(found.strange) == 1


@pytest.mark.parametrize("text", [b"[]", b"1", b'"a"', b"null"])
def test_what_is_whole_and_no_object_is_no_dump_and_not_torn(text: bytes) -> None:
    for read in (names.read_dump, names.read_range_request, names.read_attributes):
        with pytest.raises(MessageNotUnderstood) as caught:
            read(text, "there")
        assert not isinstance(caught.value, TornMessage)


def test_a_request_is_read_and_one_without_a_number_is_refused() -> None:
    asked = {"7": {"pandaID": 7, "nRanges": 3}, "8": {"nRanges": "4"}, "9": {"nRanges": 10**9}}
    read = names.read_range_request(json.dumps(asked).encode(), "there")
    assert read == {7: 3, 8: 4, 9: names.MOST_RANGES}
    wrongs: list[Any] = [{"7": {}}, {"7": 3}, {"x": {"nRanges": 3}}, {"7": {"nRanges": None}}]
    for wrong in wrongs:
        with pytest.raises(MessageNotUnderstood, match="a number of ranges is wanted"):
            names.read_range_request(json.dumps(wrong).encode(), "there")


@pytest.mark.parametrize(("text", "number"), [(b'{"nJobs": 3}', 3), (b"", 1), (b"{", 1), (b"[]", 1), (b"{}", 1)])
def test_a_request_for_jobs_that_cannot_be_read_is_one_for_one(text: bytes, number: int) -> None:
    assert names.read_job_request(text) == number


def test_ranges_are_written_as_the_incumbent_writes_them() -> None:
    one = EventRange(id="5-7-1-1-9", start=3, last=4, lfn="f", guid="g", scope="s")
    assert json.loads(names.write_ranges({JOB: [one], JobId(8): []})) == {
        "7": [{"eventRangeID": "5-7-1-1-9", "startEvent": 3, "lastEvent": 4, "LFN": "f", "GUID": "g", "scope": "s"}],
        "8": [],
    }


def test_a_job_is_told_in_the_servers_words_and_with_the_paths_of_its_inputs() -> None:
    text = json.dumps({"PandaID": 7, "inFiles": "b,a", "GUID": "gb,ga", "coreCount": 8, "jobPars": "x"})
    told = names.event_job(a_task(text))
    assert told["inFilePaths"] == "/in/b,/in/a"
    assert (told["coreCount"], told["jobPars"], told["eventService"]) == (8, "x", "True")
    assert names.event_job(a_task())["inFilePaths"] == "/in/a,/in/b"
    with pytest.raises(MessageNotUnderstood, match="an object is wanted"):
        names.event_job(a_task("[]"))


def test_the_catalogue_has_each_input_by_its_guid_and_nothing_breaks_out_of_it() -> None:
    inputs = {"a": "/in/a", 'b"<': "/in/b&"}
    text = names.write_catalog(inputs, {"inFiles": "a", "GUID": "ga"}).decode()
    assert '<File ID="ga">' in text
    assert '<pfn filetype="ROOT_All" name="/in/b&amp;"/>' in text
    assert '<lfn name="b&quot;&lt;"/>' in text


def test_the_first_error_that_is_one_counts() -> None:
    text = json.dumps({"pilotErrorCode": 0, "exeErrorCode": "65", "exeErrorDiag": "bad", "transExitCode": 3})
    read = names.read_attributes(text.encode(), "there")
    assert (read.error_code, read.error, read.status) == (65, "bad", "")


def a_pilots_folder(folder: Path, status: str | None, *, size: int = 3) -> Path:
    (folder / "out").write_text("abc")
    (folder / "log.tgz").write_text("log")
    rows = [
        {"path": str(folder / "out"), "type": "output", "fsize": size, "chksum": "024d0127", "guid": "g"},
        {"path": "log.tgz", "type": "log", "fsize": 3},
    ]
    (folder / names.DUMP).write_text(json.dumps({"7": rows}))
    if status is not None:
        (folder / names.ATTRIBUTES).write_text(json.dumps({"jobStatus": status, "pilotErrorDiag": "", "nEvents": 9}))
    return folder


def test_a_pilot_that_did_well_is_done_with_its_files(tmp_path: Path) -> None:
    (tmp_path / names.REPORT).write_text("{}")
    said = pilot.verdict_of(a_pilots_folder(tmp_path, "finished"), JOB, 0)
    assert (said.result, said.reason, said.metadata) == (PayloadResult.DONE, "", "{}")
    assert [(one.path, one.size, one.checksum) for one in said.outputs] == [(str(tmp_path / "out"), 3, "024d0127")]
    assert [one.path for one in said.logs] == [str(tmp_path / "log.tgz")]
    assert said.attributes.values["nEvents"] == 9


@pytest.mark.parametrize(
    ("status", "code", "size", "reason"),
    [
        ("finished", 1, 3, "the payload ended with exit code 1"),
        ("finished", -9, 3, "the payload died of signal 9 (SIGKILL)"),
        ("finished", 0, 4, "the payload says that its job is finished, but did not leave out"),
        ("failed", 0, 3, "the payload says that its job failed"),
        ("running", 0, 3, "the payload ended when its job was 'running'"),
        (None, 0, 3, "the payload ended well, but did not say what became of its job"),
    ],
)
def test_a_pilot_is_not_believed_against_the_facts(
    tmp_path: Path, status: str | None, code: int, size: int, reason: str
) -> None:
    said = pilot.verdict_of(a_pilots_folder(tmp_path, status, size=size), JOB, code)
    assert (said.result, said.reason) == (PayloadResult.FAILED, reason)


def test_a_failure_has_the_pilots_words_and_code(tmp_path: Path) -> None:
    text = json.dumps({"jobStatus": "failed", "pilotErrorCode": 1305, "pilotErrorDiag": "the transform failed"})
    (tmp_path / names.ATTRIBUTES).write_text(text)
    said = pilot.verdict_of(tmp_path, JOB, 0)
    assert (said.result, said.error_code, said.reason) == (PayloadResult.FAILED, 1305, "the transform failed")
    (tmp_path / names.ATTRIBUTES).write_text(text[:-3])
    assert pilot.verdict_of(tmp_path, JOB, 0).reason == "the payload ended well, but did not say what became of its job"


def test_a_dump_counts_under_all_the_names_that_it_has_in_its_life(tmp_path: Path) -> None:
    a_pilots_folder(tmp_path, "finished")
    for name in (f"{names.DUMP}.read", f"{names.DUMP}.read.2026-01-01_00.00.00.000000"):
        (tmp_path / names.DUMP).rename(tmp_path / name)
        assert len(pilot.verdict_of(tmp_path, JOB, 0).outputs) == 1
        (tmp_path / name).rename(tmp_path / names.DUMP)
    (tmp_path / f"{names.DUMP}.draft").write_text('{"7": [{"path": "x", "type": "output"}]}')
    assert len(pilot.verdict_of(tmp_path, JOB, 0).outputs) == 1


def test_a_pilot_finds_its_job_in_its_folder(tmp_path: Path) -> None:
    pilot.equip(tmp_path, JOB, '{"inFiles": "a", "GUID": "g"}', {"a": "/in/a"})
    assert json.loads((tmp_path / names.JOBS).read_text())["7"]["inFilePaths"] == "/in/a"
    assert json.loads((tmp_path / names.PANDA_IDS).read_text()) == [7]
    assert {path.name for path in tmp_path.iterdir()} == {names.JOBS, names.PANDA_IDS, names.CATALOG}


def test_an_input_may_not_take_the_place_of_what_the_pilot_is_told(tmp_path: Path) -> None:
    with pytest.raises(UnsafeName, match=names.JOBS):
        pilot.equip(tmp_path, JOB, "{}", {names.JOBS: "/in/a"})
    assert list(tmp_path.iterdir()) == []


def test_what_a_pilot_left_deep_in_its_folder_is_brought_up_and_what_lies_elsewhere_is_not(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "folder", tmp_path / "elsewhere"
    for place in (folder / "deep", elsewhere):
        place.mkdir(parents=True)
    paths = [folder / "deep" / "out", folder / "deep" / "unwanted", folder / "here", elsewhere / "away"]
    for path in paths:
        path.write_text(path.name)
    entries = tuple(Entry(path=str(path), kind=Kind.OUTPUT) for path in paths)
    pilot.bring(folder, pilot.Said(result=PayloadResult.DONE, outputs=entries), {"out", "here", "away"})
    assert {path.name for path in folder.iterdir()} == {"deep", "out", "here"}
    assert [path.name for path in (folder / "deep").iterdir()] == ["unwanted"]
    assert (elsewhere / "away").exists()


def test_outputs_of_which_a_pilot_says_nothing_are_looked_for_and_without_them_it_failed(tmp_path: Path) -> None:
    (tmp_path / names.ATTRIBUTES).write_text('{"jobStatus": "finished"}')
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "out").write_text("abc")
    wanted = {"out": Kind.OUTPUT, "log.tgz": Kind.LOG}
    said = pilot.verdict_of(tmp_path, JOB, 0, wanted)
    assert said.reason == "the payload says that its job is finished, but did not leave log.tgz"
    (tmp_path / "deep" / "log.tgz").write_text("log")
    said = pilot.verdict_of(tmp_path, JOB, 0, wanted)
    assert (said.result, said.outputs[0].path) == (PayloadResult.DONE, str(tmp_path / "deep" / "er" / "out"))
    assert [one.size for one in said.logs] == [3]
