"""The event table: handing out, reports, commands, and what is left when a job ends."""

from typing import Any

import pytest

from hpcharvest.sandbox.books import Books
from hpcharvest.sandbox.events import MAX_UPDATES, EventTable
from hpcharvest.sandbox.jobs import InputFile, make_job
from hpcharvest.sandbox.ledger import Criteria
from hpcharvest.sandbox.states import JobState

ANY = Criteria(site="Q")
INPUTS = [InputFile(f"in{at}", 1, "00000001", f"guid{at}", "scope") for at in (1, 2)]


def job(panda_id: int, jobset_id: int = 100) -> dict[str, Any]:
    return make_job(panda_id, site="Q", transformation="x", job_pars="", inputs=INPUTS, jobsetID=jobset_id, taskID=7)


@pytest.fixture
def books() -> Books:
    kept = Books(adder_delay_s=0.0)
    kept.add([job(1), job(2), job(3, jobset_id=300)])
    return kept


@pytest.fixture
def table(books: Books) -> EventTable:
    made = EventTable(books)
    made.make(1, 10, events_per_range=5)
    books.acquire(ANY, 3, None, 0.0)
    return made


def reports(ranges: list[dict[str, Any]], status: str) -> list[dict[str, Any]]:
    return [{"eventRangeID": one["eventRangeID"], "eventStatus": status} for one in ranges]


def test_ranges_are_handed_out_once_until_there_are_no_more(table: EventTable) -> None:
    assert table.available(1, 100, 7) == 10
    first, rest = table.acquire(1, 100, 7, 6), table.acquire(2, 100, 7, 6)
    assert (len(first), len(rest)) == (6, 4)
    assert table.acquire(1, 100, 7, 6) == []
    names = [one["eventRangeID"].split("-") for one in first]
    assert all(name[:2] == ["7", "1"] and name[4] == "3" and len(name) == 5 for name in names)
    served = {(one["LFN"], one["startEvent"], one["lastEvent"]) for one in first + rest}
    assert served == {(lfn, start, start + 4) for lfn in ("in1", "in2") for start in range(1, 26, 5)}


def test_a_job_is_served_as_an_event_service_job(books: Books, table: EventTable) -> None:
    entry = books.entry(1)
    assert table.available(1, 100, 7) == 10
    assert entry is not None
    assert '"eventService": "True"' in entry.wire


def test_nothing_for_a_job_that_may_not_have_any(books: Books, table: EventTable) -> None:
    assert table.acquire(99, 100, 7, 1) == []
    assert table.acquire(3, 300, 7, 1) == []
    books.set_command(2, "tobekilled", 1.0)
    assert table.acquire(2, 100, 7, 1) == []
    books.update(1, JobState.HOLDING, {}, 1.0)
    assert table.acquire(1, 100, 7, 1) == []


def test_a_jumbo_job_takes_from_the_whole_task(table: EventTable) -> None:
    table.make(3, 2, jumbo=True)
    assert table.available(3, 300, 7) == 12
    assert len(table.acquire(3, 300, 7, 50)) == 12


def test_reports_are_true_false_or_null(books: Books, table: EventTable) -> None:
    ranges = table.acquire(1, 100, 7, 4)
    good = ranges[0]["eventRangeID"]
    items: list[Any] = [
        {"eventRangeID": good, "eventStatus": "finished"},
        {"eventRangeID": good, "eventStatus": "transferring"},
        {"eventRangeID": good, "eventStatus": "discarded"},
        {"eventRangeID": "nonsense", "eventStatus": "finished"},
        {"eventStatus": "finished"},
        "no range",
        {"eventRangeID": "7-99-1-1-3", "eventStatus": "finished"},
        {"eventRangeID": good.replace("-3", "-2"), "eventStatus": "finished"},
    ]
    returns, commands = table.update(items, 0)
    assert returns == [True, None, False, False, False, False, False, True]
    assert commands == {"1": None, "99": "tobekilled"}
    books.set_command(1, "softkill", 1.0)
    assert table.update(items[:1], 0) == ([True], {"1": "softkill"})
    assert table.summary()["finished_again"] == 1


def test_chunks_and_flat_reports_may_be_mixed(table: EventTable) -> None:
    done = reports(table.acquire(1, 100, 7, 3), "finished")
    zipped = {"zipFile": {"lfn": "a.zip", "objstoreID": 1}, "eventRanges": done[:2]}
    assert table.update([zipped, done[2]], 1) == ([True] * 3, {"1": None})
    assert table.summary()["states"] == {"ready": 7, "finished": 3}


def test_too_many_reports_are_null(table: EventTable) -> None:
    one = {"eventRangeID": "x", "eventStatus": "finished"}
    returns, _ = table.update([one] * (MAX_UPDATES + 2), 0)
    assert (returns.count(False), returns[-2:]) == (MAX_UPDATES, [None, None])


def test_an_ended_job_gives_back_what_it_did_not_do(books: Books, table: EventTable) -> None:
    ranges = table.acquire(1, 100, 7, 10)
    table.update(reports(ranges[:5], "finished") + reports(ranges[5:7], "failed"), 0)
    table.update(reports(ranges[7:8], "fatal"), 0)
    books.update(1, JobState.FINISHED, {}, 1.0)
    assert books.status([1], 2.0) == [{"command": None, "status": "finished"}]
    assert table.summary()["states"] == {"done": 5, "ready": 4, "fatal": 1}
    again = table.acquire(2, 100, 7, 10)
    assert len(again) == 4
    assert all(one["eventRangeID"].endswith("-2") for one in again)


def test_a_job_that_processed_nothing_is_closed(books: Books, table: EventTable) -> None:
    table.acquire(1, 100, 7, 10)
    books.update(1, JobState.FINISHED, {}, 1.0)
    assert books.status([1], 2.0) == [{"command": None, "status": "closed"}]
    assert table.available(1, 100, 7) == 10


def test_a_fine_grained_report_may_come_before_the_handing_out(table: EventTable) -> None:
    name = "7-1-1-1-3"
    assert table.update([{"eventRangeID": name, "eventStatus": "finished"}], 0)[0] == [True]
    assert table.summary()["states"] == {"ready": 10}
    table.update([{"eventRangeID": name, "eventStatus": "finished"}], 2)
    assert table.statuses([1]) == {"1": {name: {"status": "finished", "error": None, "dialog": None}}}
    assert len(table.acquire(1, 100, 7, 20)) == 9
