"""Event ranges in PanDA's words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hpcharvest.errors import AnswerNotUnderstood, ServerRefused
from hpcharvest.model.event_range import Bundle, EventRange, RangeOutcome
from hpcharvest.model.ids import AllocationId, BundleId, JobId
from hpcharvest.model.job import JobSpec
from hpcharvest.model.states import RangeState
from hpcharvest.panda.wire import (
    MAX_ASKED,
    decode_range_count,
    decode_range_report,
    decode_range_statuses,
    decode_ranges,
    encode_acquire_ranges,
    encode_range_count,
    encode_range_question,
    encode_range_report,
    no_ranges_in,
)

SPEC = JobSpec(panda_id=JobId(7), attempt_nr=1, transformation="x", job_pars="", task_id=1003, jobset_id=6)
GOOD = {"eventRangeID": "1003-7-201-1-3", "startEvent": 1, "lastEvent": 5, "LFN": "in", "GUID": "g", "scope": "mc"}


def body(data: Any, *, success: bool = True) -> bytes:
    return json.dumps({"success": success, "message": "no", "data": data}).encode()


def bundle(archive: str = "a.tar") -> Bundle:
    return Bundle(
        id=BundleId(1),
        job=JobId(7),
        allocation=AllocationId(1),
        archive=archive,
        size=12,
        adler32="0a0b0c0d",
        ranges=1,
    )


def test_ranges_are_asked_for_by_job_jobset_and_task_and_never_too_many() -> None:
    assert encode_acquire_ranges(SPEC, 3) == {"job_id": 7, "jobset_id": 6, "task_id": 1003, "n_ranges": 3}
    assert encode_acquire_ranges(SPEC, 10**6)["n_ranges"] == MAX_ASKED == 5120
    assert encode_range_count(SPEC) == {"job_id": 7, "jobset_id": 6, "task_id": 1003}


def test_where_ranges_are_is_asked_under_the_key_that_the_server_takes() -> None:
    assert json.loads(encode_range_question(SPEC)["job_task_ids"]) == [{"task_id": 1003, "panda_id": 7}]


def test_an_empty_answer_is_known_at_once() -> None:
    assert no_ranges_in(body([]))
    assert not no_ranges_in(body([GOOD]))
    assert not no_ranges_in(b"[" + b" " * 5000)  # it is read when it is durable
    with pytest.raises(ServerRefused):
        no_ranges_in(body(None, success=False))


def test_good_and_bad_ranges_of_one_answer_are_told_apart() -> None:
    odd: list[Any] = [
        None,
        {},
        GOOD | {"eventRangeID": "1-2-3"},
        GOOD | {"eventRangeID": "../1-2-3-4-5"},
        GOOD | {"LFN": "../etc"},
        GOOD | {"lastEvent": 0},
        GOOD | {"startEvent": "many"},
    ]
    decoded = decode_ranges(body([*odd, GOOD]))
    assert decoded.ranges == (EventRange(id="1003-7-201-1-3", start=1, last=5, lfn="in", guid="g", scope="mc"),)
    assert len(decoded.refused) == len(odd)
    assert "expected five numbers" in decoded.refused[2]


@pytest.mark.parametrize("text", [b"<html>", body({"StatusCode": 0}), body("x")])
def test_an_answer_that_is_no_list_is_not_understood(text: bytes) -> None:
    with pytest.raises(AnswerNotUnderstood):
        decode_ranges(text)


def test_ranges_are_told_with_their_archive_and_failures_without_one() -> None:
    done = RangeOutcome(id="1-7-3-4-5", state=RangeState.FINISHED, cpu_s=12.7, cores=2)
    failed = RangeOutcome(id="1-7-3-5-5", state=RangeState.FAILED, error="no\0 space")
    fatal = RangeOutcome(id="1-7-3-6-5", state=RangeState.FATAL, error="x" * 600)
    call = encode_range_report([(bundle(), [done]), (bundle(""), [failed, fatal])], objstore_id=5)
    assert call["version"] == 1
    assert json.loads(call["event_ranges"]) == [
        {
            "eventRanges": [
                {"eventRangeID": "1-7-3-4-5", "eventStatus": "finished", "coreCount": 2, "cpuConsumptionTime": 12}
            ],
            "zipFile": {"lfn": "a.tar", "objstoreID": 5, "fsize": 12, "adler32": "0a0b0c0d", "numEvents": 1},
        },
        {"eventRangeID": "1-7-3-5-5", "eventStatus": "failed", "errorCode": 1305, "errorDiag": "no? space"},
        {"eventRangeID": "1-7-3-6-5", "eventStatus": "fatal", "errorCode": 1305, "errorDiag": "x" * 500},
    ]


def test_the_answers_to_a_report_are_in_its_order_and_one_false_too_many_is_none() -> None:
    said = {"Returns": [True, False, None], "Commands": {"7": None}}
    assert decode_range_report(said, 3).taken == (True, False, None)
    assert decode_range_report({"Returns": [True, False], "Command": {"7": "tobekilled"}}, 1).taken == (True,)
    assert decode_range_report({"Returns": [True], "Commands": {"7": "tobekilled"}}, 1).stop
    assert not decode_range_report({"Returns": [True], "Commands": {"7": "softkill"}}, 1).stop


@pytest.mark.parametrize("data", [None, {}, {"Returns": [True]}, {"Returns": [True, True, True]}, {"Returns": [1, 0]}])
def test_answers_of_which_nobody_knows_whose_they_are_are_not_understood(data: Any) -> None:
    with pytest.raises(AnswerNotUnderstood):
        decode_range_report(data, 2)


def test_only_ranges_that_wait_for_their_report_were_not_told() -> None:
    rows = {"a": "sent", "b": "running", "c": "finished", "d": "failed", "e": "done", "f": "ready", "g": "merged"}
    data = {"7": {name: {"status": status, "error": None} for name, status in rows.items()}, "8": {}}
    told = decode_range_statuses(data, JobId(7))
    assert told == {"a": False, "b": False, "c": True, "d": True, "e": True, "f": False, "g": True}
    assert decode_range_statuses({}, JobId(7)) == {}


@pytest.mark.parametrize("data", [None, [], {"7": []}, {"7": {"a": None}}, {"7": {"a": {"status": 1}}}])
def test_states_that_are_none_are_not_understood(data: Any) -> None:
    with pytest.raises(AnswerNotUnderstood):
        decode_range_statuses(data, JobId(7))


def test_a_number_of_ranges_is_one() -> None:
    assert decode_range_count(3) == 3
    for odd in (-1, "3", None, True):
        with pytest.raises(AnswerNotUnderstood):
            decode_range_count(odd)
