"""What is told to the server about jobs, and what its recorded answers mean."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hpcharvest.errors import AnswerNotUnderstood
from hpcharvest.model.ids import Attempt, JobId
from hpcharvest.model.job import Job, JobSpec, OutputFile, PayloadOutcome, StoredFile
from hpcharvest.model.report import Report
from hpcharvest.model.states import JobState, PayloadResult
from hpcharvest.panda.wire import (
    ServerJobStatus,
    UpdateAnswer,
    decode_statuses,
    decode_update_answer,
    encode_bulk,
    encode_update,
    settled,
)

RECORDINGS = Path(__file__).parents[1] / "recordings" / "panda"
NOON = 1795219200.0  # 2026-11-21 00:00:00 UTC

SPEC = JobSpec(
    panda_id=JobId(31),
    attempt_nr=2,
    transformation="Sim_tf.py",
    job_pars="",
    outputs=(
        OutputFile(lfn="hits.root", scope="lab", endpoint="LAB_DISK"),
        OutputFile(lfn="job.log.tgz", scope="lab", guid="f73a54f7-266a-4920-92a6-5c4601bc01ad", log=True),
    ),
    core_count=8,
)
OUTCOME = PayloadOutcome(
    result=PayloadResult.DONE,
    exit_code=0,
    node="n7",
    started_at=NOON,
    ended_at=NOON + 90.5,
    cpu_s=81.7,
    max_rss_kb=2,
    metadata='{"files": {}}',
)
HITS = StoredFile(lfn="hits.root", size=7, adler32="0000000f", url="file:///store/hits.root")
LOG = StoredFile(lfn="job.log.tgz", size=3, adler32="00000001", endpoint="LAB_LOGS")


def job(state: JobState, **changes: Any) -> Job:
    return replace(Job(spec=SPEC, queue="LAB", state=state, since=NOON, attempt=Attempt(1)), **changes)


def told(record: Job, status: JobState | None = None, **more: str) -> dict[str, Any]:
    status = status or record.state
    report = Report(job=record.id, serial=1, status=status, final=status.final)
    return encode_update(record, report, harvester_id="h", **more)


@pytest.mark.parametrize(
    ("state", "word"),
    [
        (JobState.RECEIVED, "starting"),
        (JobState.STAGED_IN, "starting"),
        (JobState.QUEUED, "starting"),
        (JobState.ASSIGNED, "starting"),
        (JobState.RUNNING, "running"),
        (JobState.RAN, "transferring"),
        (JobState.FINISHED, "finished"),
        (JobState.FAILED, "failed"),
        (JobState.CANCELLED, "failed"),
    ],
)
def test_every_state_has_a_word_that_the_server_accepts(state: JobState, word: str) -> None:
    assert told(job(state))["job_status"] == word


def test_early_update_has_only_what_is_known() -> None:
    assert told(job(JobState.RECEIVED)) == {
        "job_id": 31,
        "job_status": "starting",
        "attempt_nr": 2,
        "site_name": "LAB",
        "scheduler_id": "harvester-h",
        "core_count": 8,
    }


def test_running_update_tells_where_and_since_when() -> None:
    entry = told(job(JobState.RUNNING), batch_id="4711", node="n7")
    assert (entry["batch_id"], entry["node"], entry["start_time"]) == ("4711", "n7", "2026-11-21 00:00:00")


def test_late_report_of_running_does_not_tell_a_wrong_start() -> None:
    assert "start_time" not in told(job(JobState.RAN, since=NOON + 90), JobState.RUNNING)


def test_finished_update_reports_every_file_and_the_measurements() -> None:
    entry = told(job(JobState.FINISHED, outcome=OUTCOME, stored=(HITS, LOG)))
    report = json.loads(entry.pop("job_output_report"))
    guid = report["hits.root"].pop("guid")
    assert len(guid) == 36
    assert report == {
        "hits.root": {"fsize": 7, "adler32": "0000000f", "surl": "file:///store/hits.root", "endpoint": "LAB_DISK"},
        "job.log.tgz": {
            "guid": "f73a54f7-266a-4920-92a6-5c4601bc01ad",
            "fsize": 3,
            "adler32": "00000001",
            "endpoint": "LAB_LOGS",
        },
    }
    assert entry == {
        "job_id": 31,
        "job_status": "finished",
        "attempt_nr": 2,
        "site_name": "LAB",
        "scheduler_id": "harvester-h",
        "core_count": 8,
        "node": "n7",
        "start_time": "2026-11-21 00:00:00",
        "end_time": "2026-11-21 00:01:30",
        "cpu_consumption_time": 81,
        "cpu_consumption_unit": "s",
        "max_rss": 2048,
        "trans_exit_code": 0,
        "meta_data": '{"files": {}}',
        "job_metrics": "attempts=1 infrastructureLosses=0",
    }


def test_same_file_has_the_same_guid_in_every_report() -> None:
    record = job(JobState.FINISHED, outcome=OUTCOME, stored=(HITS, LOG))
    assert told(record) == told(record)
    other = replace(record, spec=replace(SPEC, attempt_nr=3))
    assert told(record)["job_output_report"] != told(other)["job_output_report"]


def test_file_that_was_not_promised_is_not_reported() -> None:
    others = tuple(StoredFile(lfn=lfn, size=1, adler32="00000000") for lfn in ("core", "core._000001", "._1"))
    entry = told(job(JobState.FINISHED, stored=(HITS, LOG, *others)))
    assert set(json.loads(entry["job_output_report"])) == {"hits.root", "job.log.tgz"}


def test_failure_of_ours_has_the_pilots_code_and_only_the_log() -> None:
    entry = told(job(JobState.FAILED, error="input x\0 is gone " + "!" * 600, error_code=1099, stored=(HITS, LOG)))
    assert entry["pilot_error_code"] == 1099
    assert entry["pilot_error_diag"].startswith("input x? is gone !")
    assert len(entry["pilot_error_diag"]) == 500
    assert "exe_error_code" not in entry
    assert set(json.loads(entry["job_output_report"])) == {"job.log.tgz"}


@pytest.mark.parametrize(("exit_code", "signal", "expected"), [(65, None, 65), (None, 11, 139)])
def test_failure_of_the_payload_is_its_own(exit_code: int | None, signal: int | None, expected: int) -> None:
    outcome = replace(OUTCOME, result=PayloadResult.FAILED, exit_code=exit_code, signal=signal, reason="no geometry")
    entry = told(job(JobState.FAILED, outcome=outcome))
    assert (entry["exe_error_code"], entry["trans_exit_code"]) == (expected, expected)
    assert entry["exe_error_diag"] == "no geometry"
    assert "pilot_error_code" not in entry
    assert "job_output_report" not in entry


def test_failure_without_any_code_gets_the_general_one() -> None:
    entry = told(job(JobState.FAILED))
    assert (entry["pilot_error_code"], entry["pilot_error_diag"]) == (1008, "no reason is known")


def test_cancelled_is_a_failure_with_a_sub_status() -> None:
    entry = told(job(JobState.CANCELLED, kill_requested="PanDA"))
    assert (entry["job_sub_status"], entry["pilot_error_code"]) == ("cancelled", 1144)
    assert entry["pilot_error_diag"] == "PanDA"


def test_attempt_that_the_server_did_not_tell_is_not_made_up() -> None:
    assert "attempt_nr" not in told(job(JobState.FAILED, spec=replace(SPEC, attempt_nr=-1)))


def recorded_updates() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for block in (RECORDINGS / "types.txt").read_text().split("### POST pilot/update_jobs_bulk ")[1:]:
        question, answer, *_ = block.splitlines()
        yield json.loads(question)["job_list"][0], json.loads(answer)


def meaning_of(answer: dict[str, Any]) -> UpdateAnswer:
    (meaning,) = decode_update_answer(answer["data"], 1)
    return meaning


def test_every_recorded_answer_is_understood() -> None:
    meanings = [(question, meaning_of(answer)) for question, answer in recorded_updates()]
    assert len(meanings) == 21
    refused = {key for question, meaning in meanings if not meaning.accepted for key in list(question)[3:]}
    assert refused == {
        "start_time",
        "cpu_consumption_time",
        "job_output_report",
        "core_count",
        "batch_id",
        "job_metrics",
        "trans_exit_code",
        "token",
    }
    for question, meaning in meanings:
        assert meaning.transient == (question.get("batch_id") == "B"), question
        assert meaning.command is None
        assert meaning.accepted or meaning.message


@pytest.mark.parametrize(
    ("command", "stop"),
    [("tobekilled", True), ("debug,tobekilled", True), ("badattemptnr", True), ("debug", False), ("tail a.txt", False)],
)
def test_commands_come_with_the_answer(command: str, stop: bool) -> None:
    raw = {"success": True, "message": "", "data": {"StatusCode": 0, "command": command}}
    (answer,) = decode_update_answer([raw], 1)
    assert answer == UpdateAnswer(accepted=True, command=command)
    assert answer.stop is stop


@pytest.mark.parametrize(
    ("raw", "transient"),
    [
        ({"success": False, "message": "Invalid job status: missed", "data": {"StatusCode": 50}}, False),
        ({"success": False, "message": "Type error: 'x'", "data": None}, False),
        ({"success": True, "message": "", "data": {"StatusCode": 90}}, True),
        ({"success": True, "message": "", "data": {"StatusCode": 60}}, False),
        ({"success": False, "message": "the server is tired", "data": None}, True),
        ({"success": True, "message": "", "data": None}, True),
        (None, True),
        ({}, True),
    ],
)
def test_what_is_not_accepted_says_whether_it_may_be(raw: Any, transient: bool) -> None:
    (answer,) = decode_update_answer([raw], 1)
    assert (answer.accepted, answer.transient) == (False, transient)
    assert answer.message


@pytest.mark.parametrize("data", [None, {}, [], [{}, {}]])
def test_answers_that_cannot_be_matched_are_not_understood(data: Any) -> None:
    with pytest.raises(AnswerNotUnderstood):
        decode_update_answer(data, 1)


def test_statuses_come_in_the_order_of_the_question() -> None:
    data = [{"status": "running", "command": None}, {"status": "unknown", "command": "tobekilled"}]
    statuses = decode_statuses(data, [JobId(7), JobId(3)])
    assert statuses == {
        7: ServerJobStatus(status="running"),
        3: ServerJobStatus(status="unknown", command="tobekilled"),
    }
    assert statuses[JobId(3)].stop
    with pytest.raises(AnswerNotUnderstood):
        decode_statuses([{"status": None}], [JobId(7)])


@pytest.mark.parametrize("status", ["holding", "finished", "failed", "cancelled", "closed", "merging", "unknown"])
def test_statuses_that_need_no_final_report_any_more(status: str) -> None:
    assert settled(status)


@pytest.mark.parametrize("status", ["transferring", "running", "starting", "sent", "activated", "a new word"])
def test_statuses_that_prove_nothing(status: str) -> None:
    assert not settled(status)


def test_bulk_call_names_the_harvester() -> None:
    assert encode_bulk(({"job_id": 1},), harvester_id="h") == {"job_list": [{"job_id": 1}], "harvester_id": "h"}


def test_merged_outputs_are_told_of_under_the_number_behind_their_name() -> None:
    merged = tuple(replace(HITS, lfn=f"hits.root._{number:06d}") for number in (1, 2))
    report = json.loads(told(job(JobState.FINISHED, stored=(*merged, LOG)))["job_output_report"])
    assert set(report) == {"hits.root._000001", "hits.root._000002", "job.log.tgz"}
    assert report["hits.root._000001"]["endpoint"] == "LAB_DISK"
    assert len({one["guid"] for one in report.values()}) == 3
