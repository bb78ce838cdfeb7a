"""The books: priority, life, commands, exact counts."""

import json
from typing import Any

import pytest

from hpcharvest.sandbox.books import Books, DatabaseError
from hpcharvest.sandbox.jobs import make_job
from hpcharvest.sandbox.ledger import Criteria, JobEntry
from hpcharvest.sandbox.states import JobState

SITE = "Q"
ANY = Criteria(site=SITE)
REPORT = json.dumps({"log": {"guid": "g", "fsize": 1, "adler32": "00000001"}})


def job(panda_id: int, **extra: Any) -> dict[str, Any]:
    return make_job(panda_id, site=SITE, transformation="x", job_pars="", log="log", **extra)


@pytest.fixture
def books() -> Books:
    kept = Books(redeliver_after_s=60.0, adder_delay_s=1.0)
    kept.add([job(1), job(2), job(3)])
    return kept


def ids(entries: list[JobEntry]) -> list[int]:
    return [entry.panda_id for entry in entries]


def state(books: Books, panda_id: int, now: float) -> str:
    books.settle(now)
    entry = books.entry(panda_id)
    assert entry is not None
    return entry.state


def finish(books: Books, panda_id: int, now: float, report: str = REPORT, **given: Any) -> str:
    return books.update(panda_id, JobState.FINISHED, {"job_output_report": report, **given}, now)


def test_high_priority_first_then_the_oldest() -> None:
    books = Books()
    books.add([job(3), job(1), job(2, currentPriority=1000)])
    assert ids(books.acquire(ANY, 2, None, 0.0)) == [2, 1]
    assert ids(books.acquire(ANY, 2, None, 0.0)) == [3]
    assert books.acquire(ANY, 2, None, 0.0) == []


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Criteria(site="elsewhere"), []),
        (ANY, [1, 2]),
        (Criteria(site=SITE, label="user"), [3]),
        (Criteria(site=SITE, label="unified"), [1, 2, 3]),
        (Criteria(site=SITE, label="test"), []),
        (Criteria(site=SITE, memory=2000), [1]),
        (Criteria(site=SITE, remaining_time=7200), [1]),
        (Criteria(site=SITE, disk_space=999), []),
        (Criteria(site=SITE, task_id=7), [2]),
        (Criteria(site=SITE, resource_type="MCORE"), [2]),
        (Criteria(site=SITE, owner="somebody"), []),
    ],
)
def test_what_was_asked_for_is_handed_out(wanted: Criteria, expected: list[int]) -> None:
    books = Books()
    large = job(2, core_count=8, memory=16000, max_walltime=9000, taskID=7)
    books.add([job(1), large, job(3, prodSourceLabel="user")])
    assert ids(books.acquire(wanted, 10, None, 0.0)) == expected
    rest = {1, 2, 3} - set(expected)
    assert set(ids(books.acquire(Criteria(site=SITE, label="unified"), 10, None, 0.0))) == rest


def test_a_final_report_holds_the_job_until_the_adder_came(books: Books) -> None:
    books.acquire(ANY, 1, "harvester-h", 10.0)
    assert finish(books, 1, 20.0) == "NULL"
    assert state(books, 1, 20.9) == "holding"
    assert state(books, 1, 21.0) == "finished"
    account = books.summary(21.0)
    assert account["latency_s"] == {"median": 10.0, "max": 10.0}
    assert (account["final_reports"], account["double_reports"]) == (1, 0)


def test_a_second_final_report_is_counted_whether_holding_or_archived(books: Books) -> None:
    books.acquire(ANY, 2, None, 0.0)
    finish(books, 1, 1.0)
    assert finish(books, 1, 1.5, report="{}") == "NULL"
    finish(books, 2, 1.0)
    assert finish(books, 2, 3.0) == "tobekilled"
    account = books.summary(3.0)
    assert account["states"] == {"finished": 2, "activated": 1}
    assert account["double_reported_jobs"] == [1, 2]
    entry = books.entry(1)
    assert entry is not None
    assert [update.accepted for update in entry.updates] == [True, False]
    assert entry.output_report == REPORT


def test_unknown_archived_and_wrong_attempt_are_to_be_killed(books: Books) -> None:
    books.acquire(ANY, 1, None, 0.0)
    assert books.update(99, JobState.RUNNING, {}, 1.0) == "tobekilled"
    assert books.update(1, JobState.RUNNING, {"attempt_nr": 2}, 1.0) == "tobekilled"
    assert state(books, 1, 1.0) == "sent"


def test_in_holding_only_a_final_report_counts(books: Books) -> None:
    books.acquire(ANY, 1, None, 0.0)
    books.update(1, JobState.HOLDING, {}, 1.0)
    for reported in (JobState.RUNNING, JobState.STARTING, JobState.TRANSFERRING):
        assert books.update(1, reported, {}, 2.0) == "NULL"
    assert state(books, 1, 100.0) == "holding"
    finish(books, 1, 101.0)
    assert state(books, 1, 102.0) == "finished"


def test_a_job_never_heard_of_is_handed_out_again(books: Books) -> None:
    books.acquire(ANY, 3, None, 0.0)
    books.update(2, JobState.STARTING, {}, 5.0)
    finish(books, 3, 5.0)
    assert books.acquire(ANY, 3, None, 59.0) == []
    assert ids(books.acquire(ANY, 3, None, 60.0)) == [1]
    assert books.acquire(ANY, 3, None, 119.0) == []
    assert ids(books.acquire(ANY, 3, None, 120.0)) == [1]
    account = books.summary(120.0)
    assert (account["acquired"], account["deliveries"], account["redelivered"]) == (3, 5, 2)


def test_a_job_that_speaks_up_before_it_is_handed_out_again_stays_where_it_is(books: Books) -> None:
    books.acquire(ANY, 1, None, 0.0)
    books.settle(60.0)
    assert books.update(1, JobState.RUNNING, {}, 61.0) == "NULL"
    assert ids(books.acquire(ANY, 5, None, 62.0)) == [2, 3]


def test_without_redelivery_a_lost_job_stays_lost() -> None:
    books = Books(redeliver_after_s=None)
    books.add([job(1)])
    books.acquire(ANY, 1, None, 0.0)
    assert books.acquire(ANY, 1, None, 1e9) == []


def test_killing(books: Books) -> None:
    books.acquire(ANY, 3, None, 0.0)
    books.update(2, JobState.RUNNING, {}, 1.0)
    books.update(3, JobState.RUNNING, {}, 1.0)
    assert books.kill([1, 2, 99], None, 2.0) == [True, True, False]
    assert books.kill([3], 9, 2.0) == [True]
    assert books.status([1, 2, 3], 2.0) == [
        {"command": "tobekilled", "status": "cancelled"},
        {"command": "tobekilled", "status": "running"},
        {"command": "tobekilled", "status": "cancelled"},
    ]
    assert books.update(2, JobState.RUNNING, {}, 3.0) == "tobekilled"
    books.update(2, JobState.FAILED, {}, 4.0)
    assert state(books, 2, 5.0) == "cancelled"
    assert not books.set_command(2, "debug", 5.0)


def test_an_archived_job_is_remembered_for_an_hour(books: Books) -> None:
    books.acquire(ANY, 1, None, 0.0)
    finish(books, 1, 0.0)
    assert books.status([1], 1.0) == [{"command": None, "status": "finished"}]
    assert books.status([1], 3601.0) == [{"command": None, "status": "finished"}]
    assert books.status([1], 3601.1) == [{"command": "tobekilled", "status": "unknown"}]
    assert books.pilot_status([1, 9], 3601.1) == [
        {"job_id": 1, "status": "finished", "attempt_number": 1},
        {"job_id": 9, "status": "not found", "attempt_number": 0},
    ]


def test_a_changed_batch_id_is_a_database_error_unless_numeric(books: Books) -> None:
    books.acquire(ANY, 1, None, 0.0)
    for batch_id in ("12", "13", "a"):
        books.update(1, JobState.RUNNING, {"batch_id": batch_id}, 1.0)
    with pytest.raises(DatabaseError):
        finish(books, 1, 2.0, batch_id="b")
    assert state(books, 1, 9.0) == "running"


def test_an_update_of_a_job_that_nobody_has_is_unsolicited(books: Books) -> None:
    books.update(1, JobState.RUNNING, {}, 1.0)
    assert books.summary(1.0)["unsolicited_updates"] == 1


def test_jobs_are_counted_by_queue(books: Books) -> None:
    books.acquire(ANY, 2, None, 0.0)
    books.update(1, JobState.TRANSFERRING, {}, 1.0)
    counts = {"running": 0, "activated": 1, "sent": 1, "assigned": 0, "transferring": 1}
    assert books.by_site(1.0) == {SITE: counts}
    assert len(books.details("sent", 1.0)) == 1
    assert len(books.details("", 1.0)) == 3


def test_a_job_without_a_key_is_refused(books: Books) -> None:
    incomplete = job(4)
    del incomplete["prodUserID"]
    with pytest.raises(ValueError, match="prodUserID"):
        books.add([job(5), incomplete])
    with pytest.raises(ValueError, match="twice"):
        books.add([job(1)])
    assert books.summary(0.0)["jobs"] == 3
