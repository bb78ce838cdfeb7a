"""What the server gives, read from its recorded answers and from answers with one thing wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hpcharvest.errors import AnswerNotUnderstood, JobNotUnderstood, ServerRefused, UnsafeName
from hpcharvest.model.ids import JobId
from hpcharvest.model.job import InputFile, JobSpec, MergeStep, OutputFile
from hpcharvest.panda.wire import decode_job, decode_jobs, encode_acquire, no_jobs_in

RECORDINGS = Path(__file__).parents[1] / "recordings" / "panda"
NO_JOBS = b'{"success":false,"message":"No jobs in PanDA","data":null}'


def recorded() -> bytes:
    return (RECORDINGS / "first_job.json").read_bytes()


def raw_job(**changes: Any) -> dict[str, Any]:
    job: dict[str, Any] = json.loads(recorded())["data"]["jobs"][0]
    return job | changes


def answer(*jobs: Any) -> bytes:
    return json.dumps({"success": True, "message": "", "data": {"StatusCode": 0, "jobs": jobs}}).encode()


def test_recorded_simulation_job_is_read_exactly() -> None:
    lfns = ("lab.EVNT.10._000000.root", "lab.EVNT.10._000001.root")
    guids = ("26d91807-c18d-440c-91df-08dea2696b86", "3aea8d1a-20f7-4659-86b8-09bbd31dc318")
    assert decode_jobs(recorded()).jobs == (
        JobSpec(
            panda_id=JobId(10),
            attempt_nr=1,
            transformation="Sim_tf.py",
            job_pars="--inputEVNTFile=lab.EVNT.10._000000.root,lab.EVNT.10._000001.root "
            "--outputHITSFile=lab.HITS.10._000001.root --maxEvents=10",
            inputs=tuple(
                InputFile(lfn=lfn, scope="lab", guid=guid, size=1048576, adler32="deadbeef", dataset="lab:lab.input")
                for lfn, guid in zip(lfns, guids, strict=True)
            ),
            outputs=(
                OutputFile(lfn="lab.HITS.10._000001.root", scope="lab", dataset="lab:lab.output"),
                OutputFile(
                    lfn="lab.log.10._000001.job.log.tgz",
                    scope="lab",
                    dataset="lab:lab.log",
                    guid="f73a54f7-266a-4920-92a6-5c4601bc01ad",
                    log=True,
                ),
            ),
            core_count=8,
            memory_mb=16000,
            disk_mb=1000,
            max_walltime_s=7200,
            task_id=1007,
            jobset_id=10,
            priority=900,
            prod_source_label="managed",
            processing_type="simul",
            resource_type="MCORE",
        ),
    )


def test_a_job_keeps_what_the_server_said_of_it_if_that_is_wanted_but_no_secret() -> None:
    secrets = {"secrets": '{"key": "hush"}', "pilotSecrets": "hush", "myproxy": "hush", "credname": "hush"}
    raw = raw_job(**secrets, prodDBlockToken="NULL", nobody={"knows": ["this"]})
    kept = json.loads(decode_job(raw, with_text=True).text)
    assert kept == {key: value for key, value in raw.items() if key not in secrets}
    assert (kept["prodDBlockToken"], kept["nobody"]) == ("NULL", {"knows": ["this"]})
    assert decode_job(raw).text == ""
    (job,) = decode_jobs(answer(raw), with_text=True).jobs
    assert json.loads(job.text) == kept
    assert "nobody" not in repr(job)


def test_recorded_merge_job_reads_an_archive() -> None:
    body = (RECORDINGS / "merge.txt").read_bytes().partition(b"\n")[2]
    (job,) = decode_jobs(body).jobs
    assert job.inputs == (
        InputFile(
            lfn="EventService_premerge_20.zip",
            scope="lab",
            guid="9c9bffdf-772b-4327-81ff-7382ea1d4f75",
            size=999,
            adler32="0badc0de",
            dataset="lab:lab.output",
            archive=True,
        ),
    )
    (listed,) = job.lists
    assert listed.lfn == "inputFor_lab.HITS.1010._000001.pool.root"
    assert len(listed.names) == 6
    assert set(listed.names) == {f"lab.HITS.1010._000001.pool.root.1010-20-901-{n}-3" for n in range(1, 7)}
    assert job.attempt_nr == 2
    assert job.log is not None
    assert {one.endpoint for one in job.outputs} == {""}


def test_no_jobs_is_an_empty_answer_and_no_error() -> None:
    assert no_jobs_in(NO_JOBS)
    assert decode_jobs(NO_JOBS).jobs == ()
    assert not no_jobs_in(recorded())


def test_big_answer_is_only_glanced_at() -> None:
    assert not no_jobs_in(b" \n{" + b"x" * 5000)
    with pytest.raises(AnswerNotUnderstood):
        no_jobs_in(b"<html>" + b"x" * 5000)


def test_refusal_has_the_servers_own_words() -> None:
    body = b'{"success":false,"message":"no production/pilot role in VOMS FQANs","data":null}'
    for reader in (no_jobs_in, decode_jobs):
        with pytest.raises(ServerRefused, match="no production/pilot role"):
            reader(body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>502</html>",
        b"{'success': True}",
        recorded()[:900],
        b"[" * 100_000,
        b"[1]",
        b'{"success":true,"message":"","data":null}',
        b'{"success":true,"message":"","data":{"StatusCode":0}}',
        b'{"success":true,"message":"","data":{"jobs":' + b"9" * 5000 + b"}}",
        b"\xff\xfe",
    ],
)
def test_what_is_no_answer_is_not_understood(body: bytes) -> None:
    with pytest.raises(AnswerNotUnderstood):
        decode_jobs(body)


def test_one_bad_job_harms_no_other() -> None:
    bad = raw_job(PandaID="11", attemptNr=3, coreCount="many")
    decoded = decode_jobs(answer(raw_job(), bad, None, raw_job(PandaID=12), {}))
    assert [job.panda_id for job in decoded.jobs] == [10, 12]
    first, second, third = decoded.refused
    assert (first.panda_id, first.attempt_nr) == (11, 3)
    assert first.reason == "job 11: 'coreCount' is 'many', expected a whole number of at least 0"
    assert second.panda_id is third.panda_id is None


@pytest.mark.parametrize("key", ["PandaID", "attemptNr", "inFiles", "scopeOut", "logGUID", "jobPars", "coreCount"])
def test_missing_key_is_named(key: str) -> None:
    job = raw_job()
    del job[key]
    with pytest.raises(JobNotUnderstood, match=f"'{key}' is missing"):
        decode_job(job)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("PandaID", 0),
        ("PandaID", True),
        ("PandaID", "NULL"),
        ("PandaID", 2**63),
        ("attemptNr", "NULL"),
        ("attemptNr", 1.5),
        ("coreCount", -1),
        ("coreCount", "\uff18"),
        ("maxWalltime", None),
        ("jobPars", 7),
        ("jobPars", "a\0b"),
        ("jobPars", "\ud800"),
        ("transformation", "NULL"),
        ("fsize", "1048576"),
        ("fsize", "1048576,12,13"),
        ("fsize", "1048576,-1"),
        ("fsize", "1048576,many"),
        ("checksum", "ad:deadbeef,ad:xyz"),
        ("checksum", "ad:deadbeef,ad:123456789"),
        ("scopeIn", ""),
        ("scopeOut", "lab,lab"),
        ("realDatasets", "lab:lab.output"),
        ("ddmEndPointIn", ",,"),
        ("logFile", "another.tgz"),
        ("inFiles", "a,a"),
        ("eventService", {"a": 1}),
        ("inFiles", [["deep"]]),
    ],
)
def test_wrong_value_is_told_with_what_was_expected(key: str, value: Any) -> None:
    with pytest.raises(JobNotUnderstood, match=rf"^job .*'{key}' is .*, expected ") as caught:
        decode_job(raw_job(**{key: value}))
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "name",
    ["..", ".", "../../etc/passwd", "/etc/passwd", "-rf", "a\nb", "a\x7fb", "a\x85b", "x" * 256, "\u00e9" * 128, ""],
)
@pytest.mark.parametrize(("key", "before"), [("inFiles", "first.root,"), ("outFiles", "out.root,")])
def test_unsafe_name_is_refused(key: str, before: str, name: str) -> None:
    with pytest.raises(UnsafeName, match=f"job 10: '{key}' has a name that "):
        decode_job(raw_job(**{key: before + name}))


@pytest.mark.parametrize("key", ["scopeIn", "ddmEndPointIn"])
def test_scopes_and_endpoints_may_be_in_a_path_and_are_checked_as_names(key: str) -> None:
    with pytest.raises(UnsafeName, match=key):
        decode_job(raw_job(**{key: "../..,lab"}))


@pytest.mark.parametrize(("inputs", "outputs"), [("a,b", "b,the.tgz"), ("a,b", "the.tgz,the.tgz")])
def test_two_files_of_one_name_are_refused(inputs: str, outputs: str) -> None:
    with pytest.raises(JobNotUnderstood, match="no two are the same"):
        decode_job(raw_job(inFiles=inputs, outFiles=outputs, logFile="the.tgz"))


def test_null_means_nothing() -> None:
    nothing = dict.fromkeys(("minRamCount", "maxDiskCount", "maxWalltime", "taskID", "jobsetID", "coreCount"), "NULL")
    job = decode_job(raw_job(**nothing, checksum="NULL,md:" + "0" * 32, fsize="NULL,0", GUID="NULL,NULL"))
    assert (job.core_count, job.memory_mb, job.disk_mb, job.max_walltime_s, job.task_id) == (1, 0, 0, 0, 0)
    assert [(one.size, one.adler32, one.guid) for one in job.inputs] == [(None, None, "")] * 2


def test_lost_zeros_of_a_checksum_come_back() -> None:
    job = decode_job(raw_job(checksum="ad:BADC0DE,ad:1"))
    assert [one.adler32 for one in job.inputs] == ["0badc0de", "00000001"]


def test_job_without_files() -> None:
    empty = dict.fromkeys(("inFiles", "scopeIn", "GUID", "fsize", "checksum", "realDatasetsIn", "ddmEndPointIn"), "")
    bare = dict.fromkeys(("outFiles", "scopeOut", "realDatasets", "ddmEndPointOut"), "") | {"logFile": "NULL"}
    job = decode_job(raw_job(**empty, **bare))
    assert job.inputs == ()
    assert job.outputs == ()
    assert job.log is None


def test_unknown_endpoints_may_be_an_empty_string() -> None:
    assert decode_job(raw_job(ddmEndPointIn="", ddmEndPointOut="NULL")) == decode_job(raw_job())


def test_log_may_stand_before_the_outputs() -> None:
    job = decode_job(
        raw_job(outFiles="the.tgz,a,b", logFile="the.tgz", scopeOut="sa,sb", scopeLog="sl")
        | {"realDatasets": "dl,da,db", "ddmEndPointOut": "EL,EA,EB"}
    )
    assert [(one.lfn, one.scope, one.dataset, one.endpoint, one.log) for one in job.outputs] == [
        ("the.tgz", "sl", "dl", "EL", True),
        ("a", "sa", "da", "EA", False),
        ("b", "sb", "db", "EB", False),
    ]


def test_a_container_is_the_jobs_own_word_or_none() -> None:
    assert decode_job(raw_job()).image == ""
    assert decode_job(raw_job(container_name="NULL")).image == ""
    assert decode_job(raw_job(container_name="atlas/sim:1")).image == "atlas/sim:1"
    assert decode_job(raw_job(container_name="--privileged")).image == "--privileged"  # refused with its queue's reason
    with pytest.raises(JobNotUnderstood, match="container_name"):
        decode_job(raw_job(container_name=7))


def test_event_service_is_the_string_true() -> None:
    assert decode_job(raw_job(eventService="True")).event_service
    assert not decode_job(raw_job()).event_service


def test_ten_megabytes_of_parameters_are_taken_if_configured() -> None:
    job = raw_job(jobPars="x" * 10_000_000)
    assert len(decode_job(job).job_pars) == 10_000_000
    with pytest.raises(JobNotUnderstood, match="at most 1000 bytes, not 10000000"):
        decode_job(job, max_bytes=1000)


def test_length_is_counted_in_bytes() -> None:
    with pytest.raises(JobNotUnderstood, match="at most 150 bytes, not 200"):
        decode_job(raw_job(jobPars="\u00e9" * 100, inFiles="a,b"), max_bytes=150)


def test_request_has_no_key_without_a_value() -> None:
    request = encode_acquire(
        "LAB", 3, harvester_id="h", prod_source_label="managed", node="n1", computing_element="", resource_type=None
    )
    assert request == {
        "site_name": "LAB",
        "n_jobs": 3,
        "prod_source_label": "managed",
        "node": "n1",
        "scheduler_id": "harvester-h",
        "harvester_id": "h",
    }


STEP = {"transPath": "HITSMerge_tf.py", "jobParameters": "--x", "nEventsPerOutputFile": 1000}


def with_merge_step(step: Any, events: Any = "500") -> dict[str, Any]:
    (raw,) = json.loads((RECORDINGS / "merge.txt").read_bytes().partition(b"\n")[2])["data"]["jobs"]
    return {**raw, "esmergeSpec": step, "nEventsPerInputFile": events}


def test_a_job_may_say_how_it_is_merged_on_site() -> None:
    expected = MergeStep(transformation="HITSMerge_tf.py", job_pars="--x", per_output=1000, per_input=500)
    assert decode_job(with_merge_step(STEP)).merge == expected


def test_who_does_not_merge_needs_no_number_of_events_in_an_input() -> None:
    raw = with_merge_step(STEP, "NULL")
    for told in (raw, {key: value for key, value in raw.items() if key != "nEventsPerInputFile"}):
        step = decode_job(told).merge
        assert step is not None
        assert step.per_input == 0


@pytest.mark.parametrize("nothing", ["NULL", "", None])
def test_or_it_does_not(nothing: Any) -> None:
    assert decode_job(with_merge_step(nothing, "NULL")).merge is None


@pytest.mark.parametrize(
    ("step", "events", "words"),
    [
        ("merge it", 500, "expected a dictionary"),
        ([], 500, "expected a dictionary"),
        (STEP | {"nEventsPerOutputFile": 0}, 500, "nEventsPerOutputFile"),
        ({"transPath": "x"}, 500, "'jobParameters' is missing"),
        (STEP, "many", "nEventsPerInputFile"),
    ],
)
def test_a_merge_step_that_cannot_be_understood_is_told_with_its_key(step: Any, events: Any, words: str) -> None:
    with pytest.raises(JobNotUnderstood, match=words):
        decode_job(with_merge_step(step, events))
