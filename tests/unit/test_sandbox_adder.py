"""The adder: which reports make a finished job, and the words for those that do not."""

import json
from typing import Any

import pytest

from hpcharvest.sandbox.adder import UNREADABLE, Expected, judge
from hpcharvest.sandbox.jobs import InputFile, make_job
from hpcharvest.sandbox.states import JobState

GOOD = {"guid": "g", "fsize": 1, "adler32": "0badc0de"}
MD5 = {"guid": "g", "fsize": 1, "md5sum": "0" * 32}


def expected(**extra: Any) -> Expected:
    inputs = [InputFile("in", 1, "00000001", "guid", "scope")]
    made = make_job(1, site="Q", transformation="x", job_pars="", inputs=inputs, outputs=["a", "b"], log="log", **extra)
    return Expected.of(made)


def verdict(report: Any, reported: JobState = JobState.FINISHED, **extra: Any) -> tuple[str, str]:
    text = report if isinstance(report, str) else json.dumps(report)
    got = judge(expected(**extra), reported, text, own_error=False, killed=False)
    return got.state, got.diag


@pytest.mark.parametrize(
    "report",
    [
        {"a": GOOD, "b": MD5, "log": GOOD},
        {"a": GOOD, "b": GOOD, "log": GOOD, "in": {"guid": "g"}},
        {"a": GOOD, "b": GOOD, "log": GOOD, "a._001": GOOD, "b_2": GOOD},
    ],
)
def test_everything_listed_is_finished(report: Any) -> None:
    assert verdict(report) == ("finished", "")


@pytest.mark.parametrize(
    ("report", "diag"),
    [
        ("", UNREADABLE),
        ("no json", UNREADABLE),
        ("[1]", UNREADABLE),
        ({"a": {"guid": "g", "fsize": 1}, "b": GOOD, "log": GOOD}, UNREADABLE),
        ({"a": {**MD5, "md5sum": "xyz"}, "b": GOOD, "log": GOOD}, UNREADABLE),
        ({"a": {"guid": "g", "adler32": "0"}, "b": GOOD, "log": GOOD}, UNREADABLE),
        ({"a": {"fsize": 1, "adler32": "0"}, "b": GOOD, "log": GOOD}, UNREADABLE),
        ({"a": GOOD, "log": GOOD}, "expected output b is missing in pilot JSON"),
        ({"a": GOOD, "b": GOOD}, "expected output log is missing in pilot JSON"),
        ({"a": GOOD, "b": GOOD, "log": GOOD, "c": GOOD}, "pilot produced c inconsistently with jobdef"),
    ],
)
def test_anything_wrong_makes_it_failed(report: Any, diag: str) -> None:
    assert verdict(report) == ("failed", diag)


def test_optional_and_event_service_outputs_may_be_missing() -> None:
    assert verdict({"a": GOOD, "log": GOOD}, allowNoOutput="b") == ("finished", "")
    assert verdict("", eventService="True") == ("finished", "")


def test_of_a_failed_job_only_the_log_counts() -> None:
    assert verdict({"log": GOOD}, JobState.FAILED) == ("failed", "")
    assert verdict({}, JobState.FAILED) == ("failed", "expected output log is missing in pilot JSON")


def test_an_error_of_its_own_needs_no_further_word() -> None:
    got = judge(expected(), JobState.FAILED, "", own_error=True, killed=False)
    assert (got.state, got.diag) == ("failed", "")


def test_a_killed_job_that_failed_is_cancelled_and_one_that_finished_is_finished() -> None:
    assert judge(expected(), JobState.FAILED, "", own_error=True, killed=True).state == "cancelled"
    whole = json.dumps({"a": GOOD, "b": GOOD, "log": GOOD})
    assert judge(expected(), JobState.FINISHED, whole, own_error=False, killed=True).state == "finished"


def test_a_job_without_outputs_needs_no_report() -> None:
    bare = Expected.of(make_job(1, site="Q", transformation="x", job_pars=""))
    assert judge(bare, JobState.FINISHED, "", own_error=False, killed=False).state == "finished"
