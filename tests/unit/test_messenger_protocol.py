import json
import re

import pytest

from hpcharvest.errors import MessageNotUnderstood, TornMessage
from hpcharvest.messenger import codec
from hpcharvest.messenger.protocol import (
    Closed,
    Manifest,
    PayloadEnded,
    PayloadStarted,
    Record,
    RunnerLeft,
    RunnerStarted,
    Task,
    Writer,
    decode_manifest,
    decode_segment,
    encode_manifest,
    encode_segment,
    kill_name,
    segment_name,
)
from hpcharvest.messenger.ranges import ArchiveClosed, RangeDone, RangeFailed, RangesFailed, RangesWanted
from hpcharvest.model.ids import AllocationId, Attempt, JobId
from hpcharvest.model.job import PayloadOutcome
from hpcharvest.model.states import PayloadResult

JOB, ATTEMPT = JobId(7), Attempt(2)
OUTCOME = PayloadOutcome(
    result=PayloadResult.FAILED, exit_code=3, reason="“no”\ud800", node="n1", started_at=1.5, cpu_s=0.25, max_rss_kb=9
)
RECORDS: tuple[Record, ...] = (
    RunnerStarted(at=1.0, batch_id="11", nodes=("n1", "n2"), restart=0),
    PayloadStarted(at=1.5, job=JOB, attempt=ATTEMPT, node="n1"),
    PayloadEnded(at=2.0, job=JOB, attempt=ATTEMPT, outcome=OUTCOME),
    RunnerLeft(at=3.0, reason="done"),
    Closed(at=4.0, by="watchdog"),
    RangesWanted(at=5.0, job=JOB, total=100),
    ArchiveClosed(
        at=6.0, job=JOB, name="a.tar", size=9, adler32="0000000a", ranges=(RangeDone("1-7-1-1-3", 0.5, 1.5, 2),)
    ),
    RangesFailed(at=7.0, job=JOB, ranges=(RangeFailed(id="1-7-1-2-3", error="exit code 3", node="n1", fatal=True),)),
)
TASK = Task(
    job=JOB,
    attempt=ATTEMPT,
    argv=("sh", "-c", "true"),
    folder="/scratch/7.2",
    env={"A": "b=c"},
    links={"in": "/data/in"},
    outputs=("out",),
    log="log.tgz",
)
MANIFEST = Manifest(
    allocation=AllocationId(1), tag="t", cores_per_node=8, tasks=(TASK,), launcher=("srun", "-N{nodes}")
)


def test_a_segment_comes_back_as_it_was_written() -> None:
    segment = decode_segment(encode_segment(5, RECORDS, Writer.RUNNER, 1, "me"), 5, "here")
    assert (segment.number, segment.writer, segment.restart) == (5, Writer.RUNNER, 1)
    assert segment.records == RECORDS
    assert segment.closes


def test_a_manifest_comes_back_as_it_was_written() -> None:
    assert decode_manifest(encode_manifest(MANIFEST), "here") == MANIFEST


def test_names_are_as_documented() -> None:
    assert segment_name(12) == "00000012.json"
    assert kill_name(JOB, ATTEMPT) == "7.2"


def test_unknown_kinds_of_records_are_reported_and_left_out() -> None:
    text = json.dumps(
        {
            "number": 0,
            "writer": "runner",
            "restart": 0,
            "records": [{"kind": "sang", "song": 1}, {"kind": "left", "at": 1, "reason": ""}],
        }
    )
    segment = decode_segment(text.encode(), 0, "here")
    assert segment.unknown == ("sang",)
    assert segment.records == (RunnerLeft(at=1.0, reason=""),)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"number": 1}, "number"),
        ({"writer": "me"}, "writer"),
        ({"restart": True}, "restart"),
        ({"records": {}}, "records"),
        ({"records": [3]}, "records.0: kind"),
        ({"records": [{"kind": "left", "at": "1", "reason": ""}]}, "records.0: at"),
        ({"records": [{"kind": "left", "at": 1}]}, "reason"),
        ({"records": [{"kind": "started", "at": 1, "batch_id": "", "nodes": [1], "restart": 0}]}, "nodes.0"),
        ({"records": [{"kind": "payload_ended", "at": 1, "job": 1, "attempt": 1, "outcome": {}}]}, "outcome"),
        (
            {"records": [{"kind": "payload_ended", "at": 1, "job": 1, "attempt": 1, "outcome": {"result": "well"}}]},
            "outcome.result",
        ),
    ],
)
def test_a_wrong_field_is_named_together_with_the_file(change: dict[str, object], field: str) -> None:
    text = json.dumps({"number": 0, "writer": "runner", "restart": 0, "records": []} | change)
    with pytest.raises(MessageNotUnderstood, match=field) as caught:
        decode_segment(text.encode(), 0, "journal/0")
    assert str(caught.value).startswith("journal/0: ")
    assert not caught.value.transient


@pytest.mark.parametrize("text", [b"", b'{"number": 0, "wri', b"\xff\0", b'{"number": NaN}', b"[" * 100_000])
def test_what_is_no_json_is_torn_and_may_be_whole_later(text: bytes) -> None:
    with pytest.raises(TornMessage) as caught:
        decode_segment(text, 0, "journal/0")
    assert caught.value.transient


def test_a_manifest_of_another_version_is_refused() -> None:
    text = encode_manifest(MANIFEST).replace(b'"version":1', b'"version":2')
    with pytest.raises(MessageNotUnderstood, match="version"):
        decode_manifest(text, "here")


def test_a_number_that_json_cannot_say_is_never_written() -> None:
    with pytest.raises(ValueError, match="JSON"):
        encode_segment(0, [Closed(at=float("nan"), by="")], Writer.CONTROLLER, 0, "me")


@pytest.mark.parametrize(
    ("row", "field"),
    [([], "ranges.0 is []"), (["1-7-1-1-3", "soon"], "ranges.0.cpu_s"), ({"id": "1-7-1-1-3"}, "ranges.0")],
)
def test_a_range_of_an_archive_is_a_list_of_its_fields(row: object, field: str) -> None:
    told = {"at": 1, "job": 7, "name": "a.tar", "size": 1, "adler32": "", "ranges": [row]}
    with pytest.raises(MessageNotUnderstood, match=re.escape(field)):
        codec.decode(ArchiveClosed, told, "segment")


def test_a_range_of_an_archive_may_have_more_fields_one_day_and_may_leave_out_the_last() -> None:
    told = {"at": 1, "job": 7, "name": "a.tar", "size": 1, "adler32": "", "ranges": [["1", 1, 2, 3, "new"], ["2"]]}
    assert codec.decode(ArchiveClosed, told, "segment").ranges == (RangeDone("1", 1.0, 2.0, 3), RangeDone("2"))
