"""Laws of PanDA's words: nothing that comes in breaks us, and nothing that goes out is refused for its type."""

from __future__ import annotations

import contextlib
import json
import string
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hpcharvest.errors import AnswerNotUnderstood, HarvestError
from hpcharvest.model.ids import Attempt, JobId
from hpcharvest.model.job import InputFile, Job, JobSpec, ListFile, OutputFile, PayloadOutcome, StoredFile
from hpcharvest.model.report import Report
from hpcharvest.model.states import JobState, PayloadResult
from hpcharvest.panda.wire import (
    decode_job,
    decode_jobs,
    decode_statuses,
    decode_update_answer,
    encode_update,
)

RECORDING = (Path(__file__).parents[1] / "recordings" / "panda" / "first_job.json").read_bytes()
RAW_JOB: dict[str, Any] = json.loads(RECORDING)["data"]["jobs"][0]

TEXTS = (
    *("job_status", "job_output_report", "meta_data", "stdout", "pilot_log", "node", "cpu_consumption_unit"),
    *("scheduler_id", "pilot_id", "site_name", "pilot_error_diag", "exe_error_diag", "pilot_timing", "start_time"),
    *("end_time", "batch_id", "job_metrics", "job_sub_status", "corrupted_files", "cpu_architecture_level", "grid"),
    *("source_site", "destination_site"),
)
WHOLE = (
    *("job_id", "cpu_consumption_time", "trans_exit_code", "pilot_error_code", "exe_error_code", "n_events"),
    *("n_input_files", "attempt_nr", "core_count", "mean_core_count", "timeout"),
)
NUMBERS = (
    "cpu_conversion_factor",
    *(f"{how}_{what}" for how in ("max", "avg") for what in ("rss", "vmem", "swap", "pss")),
    *(f"{how}_{what}" for how in ("tot", "rate") for what in ("rchar", "wchar", "rbytes", "wbytes")),
)
ACCEPTED: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(TEXTS, (str,)),
    **dict.fromkeys(WHOLE, (int,)),
    **dict.fromkeys(NUMBERS, (int, float)),
}
"""The keyword arguments of the server's update_job, as its own type check takes them."""
STATUSES = {"running", "failed", "finished", "holding", "starting", "transferring"}
LONGEST = {"pilot_error_diag": 500, "exe_error_diag": 500, "job_metrics": 500, "batch_id": 80, "node": 128}

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(["NULL", ",", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
names = st.text(string.ascii_letters + string.digits + "._", min_size=3, max_size=20).filter(
    lambda name: name.strip(".") != "" and name != "NULL"
)
words = st.sampled_from(["", "lab", "LAB_DISK", "a.b"])
counts = st.integers(0, 2**31)
any_float = st.floats(allow_nan=True, allow_infinity=True)


plain = st.from_regex(r"inputFor_[a-z]{9}", fullmatch=True)  # more than that is not known of their names
lists = st.lists(
    st.builds(ListFile, lfn=plain, names=st.lists(plain, max_size=3).map(tuple)),
    max_size=2,
    unique_by=lambda one: one.lfn,
).map(tuple)


def input_files(lfn: str) -> st.SearchStrategy[InputFile]:
    return st.builds(
        InputFile,
        lfn=st.just(lfn),
        scope=words,
        guid=words,
        size=st.none() | st.integers(1, 2**50),
        adler32=st.none() | st.from_regex(r"[0-9a-f]{8}", fullmatch=True),
        dataset=words,
        endpoint=words,
        archive=st.booleans(),
    )


@st.composite
def specs(draw: st.DrawFn) -> JobSpec:
    lfns = draw(st.lists(names, min_size=1, max_size=6, unique=True))
    split = draw(st.integers(0, len(lfns) - 1))
    inputs = tuple(draw(input_files(lfn)) for lfn in lfns[:split])
    outputs = tuple(
        OutputFile(lfn=lfn, scope=draw(words), dataset=draw(words), endpoint=draw(words)) for lfn in lfns[split:-1]
    )
    log = OutputFile(lfn=lfns[-1], scope=draw(words), dataset=draw(words), guid=draw(words), log=True)
    return JobSpec(
        panda_id=JobId(draw(st.integers(1, 2**62))),
        attempt_nr=draw(counts),
        transformation="trf",
        job_pars=draw(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)),
        inputs=inputs,
        outputs=(*outputs, log),
        lists=draw(lists),
        core_count=draw(st.integers(1, 512)),
        memory_mb=draw(counts),
        disk_mb=draw(counts),
        max_walltime_s=draw(counts),
        task_id=draw(counts),
        jobset_id=draw(counts),
        priority=draw(st.integers(-1000, 10000)),
        prod_source_label=draw(words),
        processing_type=draw(words),
        resource_type=draw(words),
        event_service=draw(st.booleans()),
    )


def made(spec: JobSpec) -> dict[str, Any]:
    """Word a job as the server does."""
    outputs = [one for one in spec.outputs if not one.log]
    log = spec.log
    assert log is not None
    return {
        "PandaID": spec.panda_id,
        "attemptNr": spec.attempt_nr,
        "transformation": spec.transformation,
        "jobPars": spec.job_pars,
        "inFiles": ",".join(f"zip://{one.lfn}" if one.archive else one.lfn for one in spec.inputs),
        "scopeIn": ",".join(one.scope for one in spec.inputs),
        "GUID": ",".join(one.guid or "NULL" for one in spec.inputs),
        "fsize": ",".join(str(one.size or "NULL") for one in spec.inputs),
        "checksum": ",".join(f"ad:{one.adler32}" if one.adler32 else "NULL" for one in spec.inputs),
        "realDatasetsIn": ",".join(one.dataset for one in spec.inputs),
        "ddmEndPointIn": ",".join(one.endpoint for one in spec.inputs),
        "outFiles": ",".join(one.lfn for one in spec.outputs),
        "scopeOut": ",".join(one.scope for one in outputs),
        "scopeLog": log.scope,
        "logFile": log.lfn,
        "logGUID": log.guid or "NULL",
        "realDatasets": ",".join(one.dataset for one in spec.outputs),
        "ddmEndPointOut": ",".join(one.endpoint for one in spec.outputs),
        "coreCount": spec.core_count,
        "minRamCount": spec.memory_mb,
        "maxDiskCount": str(spec.disk_mb),
        "maxWalltime": spec.max_walltime_s or "NULL",
        "taskID": spec.task_id,
        "jobsetID": spec.jobset_id or "NULL",
        "currentPriority": spec.priority,
        "prodSourceLabel": spec.prod_source_label,
        "processingType": spec.processing_type or "NULL",
        "resource_type": spec.resource_type,
        "writeToFile": "^".join(f"{one.lfn}:{','.join(one.names)}" for one in spec.lists),
    } | ({"eventService": "True"} if spec.event_service else {})


@given(specs().filter(lambda spec: spec.job_pars != "NULL"))
def test_job_that_the_server_words_is_read_back(spec: JobSpec) -> None:
    assert decode_job(json.loads(json.dumps(made(spec)))) == spec


@given(st.binary() | st.text().map(str.encode) | json_values.map(lambda value: json.dumps(value).encode()))
def test_no_bytes_break_us(body: bytes) -> None:
    with contextlib.suppress(HarvestError):
        decode_jobs(body)


@given(st.integers(0, len(RECORDING) - 1), st.binary(max_size=4))
def test_no_damage_to_an_answer_breaks_us(where: int, what: bytes) -> None:
    with contextlib.suppress(HarvestError):
        decode_jobs(RECORDING[:where] + what + RECORDING[where + len(what) :])


@given(st.dictionaries(st.sampled_from(sorted(RAW_JOB)), json_values, max_size=4), json_values)
def test_strange_job_is_refused_and_its_neighbour_is_not(changes: dict[str, Any], stranger: Any) -> None:
    body = json.dumps({"success": True, "data": {"jobs": [RAW_JOB | changes, stranger, RAW_JOB]}}).encode()
    decoded = decode_jobs(body)
    assert decoded.jobs[-1].panda_id == 10
    assert len(decoded.jobs) + len(decoded.refused) == 3
    assert all(len(one.reason) < 500 for one in decoded.refused)


@given(json_values, st.lists(json_values, max_size=3))
def test_strange_answers_to_updates_do_not_break_us(answer: Any, answers: list[Any]) -> None:
    assert len(decode_update_answer([answer, *answers], 1 + len(answers))) == 1 + len(answers)
    with contextlib.suppress(AnswerNotUnderstood):
        decode_statuses(answers, [JobId(1)])


outcomes = st.builds(
    PayloadOutcome,
    result=st.sampled_from(PayloadResult),
    exit_code=st.none() | st.integers(-1, 255),
    signal=st.none() | st.integers(0, 64),
    reason=st.text(max_size=600),
    node=st.text(max_size=200),
    started_at=any_float,
    ended_at=any_float,
    cpu_s=any_float,
    max_rss_kb=st.integers(-1, 2**40),
    metadata=st.text(max_size=20),
)


@st.composite
def jobs(draw: st.DrawFn) -> Job:
    spec = draw(specs())
    stored = tuple(
        StoredFile(lfn=one.lfn, size=draw(counts), adler32="0000000f", url=draw(words))
        for one in spec.outputs
        if draw(st.booleans())
    )
    return Job(
        spec=spec,
        queue="LAB",
        state=draw(st.sampled_from(JobState)),
        since=draw(any_float),
        attempt=Attempt(draw(st.integers(0, 9))),
        kill_requested=draw(words),
        outcome=draw(st.none() | outcomes),
        stored=stored,
        error=draw(st.text(max_size=600)),
        error_code=draw(st.integers(0, 1400)),
    )


def check_types(entry: dict[str, Any]) -> None:
    """Check as the server does: unknown key, wrong type, null. Empty texts it would store in place of better ones."""
    for key, value in entry.items():
        assert type(value) in ACCEPTED[key], (key, value)
        assert value != "", key
        assert len(str(value)) <= LONGEST.get(key, 10**9), key
    assert entry["job_status"] in STATUSES
    json.dumps(entry, ensure_ascii=False, allow_nan=False).encode()


@given(jobs(), st.sampled_from(JobState), st.text(max_size=100), st.text(max_size=200))
def test_every_update_passes_the_servers_own_check(job: Job, status: JobState, batch_id: str, node: str) -> None:
    report = Report(job=job.id, serial=1, status=status, final=status.final)
    entry = encode_update(job, report, harvester_id="h", batch_id=batch_id, node=node)
    check_types(entry)
    assert (entry["job_id"], entry["attempt_nr"]) == (job.spec.panda_id, job.spec.attempt_nr)
    if entry["job_status"] == "failed":
        assert entry.get("pilot_error_code") or entry.get("exe_error_code")
    if "job_output_report" in entry:
        assert set(json.loads(entry["job_output_report"])) <= {one.lfn for one in job.spec.outputs}
