"""The account of every event range: archives, double reports, ranges that never came back, and the end of a job."""

import json
from pathlib import Path
from typing import Any

import pytest

from hpcharvest.sandbox.books import Books
from hpcharvest.sandbox.control import add_events
from hpcharvest.sandbox.desk import Desk
from hpcharvest.sandbox.events import MERGES_FROM, EventTable
from hpcharvest.sandbox.jobs import InputFile, make_job
from hpcharvest.sandbox.ledger import Criteria
from hpcharvest.sandbox.states import JobState

RECORDINGS = Path(__file__).parent.parent / "recordings" / "panda"
ANY = Criteria(site="Q")
INPUTS = [InputFile(f"in{at}", 1, "00000001", f"guid{at}", "scope") for at in (1, 2)]
MERGE = "<PANDA_ESMERGE_TRF>Merge_tf.py</PANDA_ESMERGE_TRF><PANDA_ESMERGE_JOBP>--y</PANDA_ESMERGE_JOBP>"
ZIP = {"lfn": "a.zip", "objstoreID": "1/1000", "fsize": 999, "adler32": "0badc0de"}
Row = dict[str, Any]


def job(panda_id: int = 1, jobset_id: int = 100, pars: str = f"--x {MERGE}", **more: Any) -> Row:
    given = {"inputs": INPUTS, "outputs": ["out"], "log": "log.tgz", "jobsetID": jobset_id, "taskID": 7, **more}
    return make_job(panda_id, site="Q", transformation="x", job_pars=pars, **given)


class Scene:
    """A server with one event-service job of six ranges, handed out."""

    def __init__(self, *, jumbo: bool = True) -> None:
        self.books = Books(adder_delay_s=0.0)
        self.table = EventTable(self.books)
        self.table.order(job(), 6, jumbo=jumbo, events_per_range=5)
        (self.entry,) = self.books.acquire(ANY, 1, None, 0.0)
        self.ranges = self.table.acquire(1, 100, 7, 6)

    def report(self, which: slice, status: str = "finished", now: float = 0.0, **zip_file: Any) -> list[bool | None]:
        events = [{"eventRangeID": one["eventRangeID"], "eventStatus": status} for one in self.ranges[which]]
        return self.table.update([{"zipFile": ZIP | zip_file, "eventRanges": events}], 1, now)[0]

    def end(self, panda_id: int = 1, status: JobState = JobState.FINISHED) -> None:
        self.books.update(panda_id, status, {}, 8.0)
        self.books.settle(9.0)

    def detail(self, place: int) -> Row:
        start = self.ranges[place]["startEvent"], self.ranges[place]["LFN"]
        return next(one for one in self.table.details()["ranges"] if (one["start"], one["lfn"]) == start)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_range_tells_in_which_archive_it_was_reported_finished_and_when(scene: Scene) -> None:
    scene.report(slice(0, 2), now=3.0)
    told = scene.detail(0)
    name = scene.ranges[0]["eventRangeID"]
    assert told["finished"] == [{"at": 3.0, "name": name, "zip": "a.zip", "job_id": 1, "counted": True}]
    assert (told["state"], told["zip"], told["handed_out"], told["unanswered"]) == ("finished", "a.zip", 1, 0)
    assert scene.detail(2)["finished"] == []


def test_an_archive_is_registered_once_for_a_name_and_a_job(scene: Scene) -> None:
    scene.report(slice(0, 2))
    scene.report(slice(2, 3), fsize=1000)
    (one,) = scene.table.details()["zips"]
    assert one == {
        "job_id": 1,
        "lfn": "a.zip",
        "place": "1/1000",
        "size": 999,
        "adler32": "0badc0de",
        "md5": None,
        "reports": 2,
        "conflicts": 1,
    }
    assert scene.table.summary()["zips_in_conflict"] == 1


def test_a_double_report_is_counted_and_changes_nothing(scene: Scene) -> None:
    scene.report(slice(0, 1))
    assert scene.report(slice(0, 1), lfn="b.zip") == [True]
    told = scene.detail(0)
    assert [(one["zip"], one["counted"]) for one in told["finished"]] == [("a.zip", True), ("b.zip", False)]
    assert told["zip"] == "a.zip"
    counted = scene.table.summary()
    assert (counted["finished_reports"], counted["finished_again"], counted["finished_void"]) == (2, 1, 1)


def test_a_report_under_an_older_name_is_remembered_as_void(scene: Scene) -> None:
    scene.report(slice(0, 1))
    scene.report(slice(1, 2), "failed")
    scene.end()
    scene.books.add([job(2, jobset_id=200)])
    scene.table.make(2, 0, jumbo=True)
    scene.books.acquire(ANY, 1, None, 9.0)
    scene.table.acquire(2, 200, 7, 50)
    late = scene.ranges[1]["eventRangeID"].replace("7-1-", "7-2-")
    assert scene.table.update([{"eventRangeID": late, "eventStatus": "finished"}], 1)[0] == [True]
    assert [one["counted"] for one in scene.detail(1)["finished"]] == [False]
    assert scene.detail(1)["state"] == "sent"
    assert scene.table.summary()["finished_again"] == 0


def test_a_report_after_the_end_of_its_job_is_refused_and_remembered(scene: Scene) -> None:
    scene.report(slice(0, 1))
    scene.end()
    assert scene.report(slice(0, 1)) == [False]
    assert [one["counted"] for one in scene.detail(0)["finished"]] == [True, False]
    assert scene.table.summary()["finished_again"] == 1


def test_ranges_that_were_sent_and_never_came_back_are_known(scene: Scene) -> None:
    scene.report(slice(0, 1))
    scene.report(slice(1, 2), "running")
    assert scene.table.summary()["unanswered"] == 4
    scene.end()
    assert scene.table.summary()["unanswered"] == 4
    assert scene.table.summary()["states"] == {"done": 1, "ready": 5}
    assert [scene.detail(place)["unanswered"] for place in range(6)] == [0, 0, 1, 1, 1, 1]


def test_what_a_jumbo_job_leaves_goes_back_to_where_it_came_from(scene: Scene) -> None:
    scene.books.add([job(2, jobset_id=200)])
    scene.table.make(2, 4)
    assert len(scene.table.acquire(1, 100, 7, 50)) == 4
    scene.report(slice(0, 1))
    scene.end()
    scene.books.acquire(ANY, 1, None, 9.0)
    assert scene.table.available(2, 200, 7) == 4
    assert all(one["eventRangeID"].endswith("-2") for one in scene.table.acquire(2, 200, 7, 50))


def test_a_jumbo_job_is_served_with_its_number_in_its_logs_name_and_with_all_files_in_its_parameters() -> None:
    books = Books()
    table = EventTable(books)
    table.order(job(pars="--in tmpin__cnt_scope.input --x"), 2, jumbo=True)
    (entry,) = books.acquire(ANY, 1, None, 0.0)
    served = json.loads(entry.wire)
    assert (served["eventService"], served["jobPars"]) == ("True", "--in in1,in2 --x")
    assert (served["logFile"], served["outFiles"]) == ("log.tgz.1", "out,log.tgz.1")
    table.make(1, 2, jumbo=True)
    assert json.loads(entry.wire) == served


def test_when_all_is_done_a_merge_job_with_the_archives_as_inputs_follows() -> None:
    scene = Scene(jumbo=False)
    scene.report(slice(0, 4))
    scene.report(slice(4, 6), lfn="b.zip", objstoreID=2)
    scene.end()
    assert (scene.entry.state, scene.entry.sub_status) == ("merging", "es_merge")
    (merge,) = scene.books.acquire(ANY, 2, None, 9.0)
    served = json.loads(merge.wire)
    assert merge.panda_id == MERGES_FROM
    assert (served["eventServiceMerge"], served["transformation"], served["jobPars"]) == ("True", "Merge_tf.py", "--y")
    assert (served["inFiles"], served["prodDBlockToken"]) == ("zip://a.zip,zip://b.zip", "1/1000,2")
    assert (served["outFiles"], served["logFile"], served["jobsetID"]) == ("out,log.tgz", "log.tgz", 100)
    names = {f"out.{one['eventRangeID']}" for one in scene.ranges}
    target, _, members = served["writeToFile"].partition(":")
    assert target == "inputFor_out"
    assert set(members.split(",")) == names
    assert "eventService" not in served


def test_a_merge_job_has_the_recorded_keys() -> None:
    text = (RECORDINGS / "merge.txt").read_text(encoding="utf-8").partition("\n")[2]
    (recorded,) = json.loads(text)["data"]["jobs"]
    scene = Scene(jumbo=False)
    scene.report(slice(0, 6))
    scene.end()
    (merge,) = scene.books.acquire(ANY, 1, None, 9.0)
    assert set(json.loads(merge.wire)) == set(recorded)


def test_a_jumbo_job_is_finished_while_its_job_set_is_merged(scene: Scene) -> None:
    scene.report(slice(0, 6))
    scene.end()
    assert scene.entry.state == "finished"
    assert [one.panda_id for one in scene.books.acquire(ANY, 2, None, 9.0)] == [MERGES_FROM]


@pytest.mark.parametrize("status", ["failed", "running"])
def test_nothing_is_merged_while_ranges_are_left(scene: Scene, status: str) -> None:
    scene.report(slice(0, 5))
    scene.report(slice(5, 6), status)
    scene.end()
    assert scene.books.acquire(ANY, 2, None, 9.0) == []
    assert scene.table.available(1, 100, 7) == 1


def test_fatal_ranges_do_not_hinder_a_merge(scene: Scene) -> None:
    scene.report(slice(0, 5))
    scene.report(slice(5, 6), "fatal")
    scene.end()
    (merge,) = scene.books.acquire(ANY, 2, None, 9.0)
    assert len(json.loads(merge.wire)["writeToFile"].split(",")) == 5


def test_a_job_hangs_in_holding_when_an_archive_is_in_a_place_of_no_number(scene: Scene) -> None:
    scene.report(slice(0, 6), objstoreID="my store")
    scene.end()
    assert scene.books.status([1], 4000.0) == [{"command": None, "status": "holding"}]
    assert scene.books.acquire(ANY, 2, None, 9.0) == []
    assert scene.table.summary()["zips_nowhere"] == 1


def test_a_new_job_is_an_event_service_job_from_the_first() -> None:
    desk = Desk()
    assert add_events(desk, [{"job": job(), "n_ranges": 4, "jumbo": True, "events_per_range": 5}]) == {"added": 4}
    (entry,) = desk.books.acquire(ANY, 1, None, 0.0)
    assert json.loads(entry.wire)["eventService"] == "True"
    assert len(desk.events.acquire(1, 100, 7, 50)) == 4
    with pytest.raises(ValueError, match="given twice"):
        add_events(desk, [{"job": job(), "n_ranges": 4}])
    with pytest.raises(ValueError, match="is missing"):
        add_events(desk, [{"n_ranges": 4}])
