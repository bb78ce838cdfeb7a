"""The audit of event ranges finds whatever keeps a range from counting exactly once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hpcharvest.cli.demo.audit import Booked, Evidence, Kept, audit
from hpcharvest.cli.demo.findings import Content, Disagreement
from hpcharvest.cli.demo.range_audit import ArchiveSeen, EventOrder, RangeBooked, RangeEvidence, audit_ranges
from hpcharvest.model.states import JobState
from hpcharvest.sandbox.states import JobState as ServerState

ORDER = EventOrder(job=7, process="top pairs", ranges=3, events_per_range=5, log="log.tgz.7")
BOOKED = tuple(
    RangeBooked(name=f"7-7-1-{number}-3", state="done", archive=archive, finished=1)
    for number, archive in enumerate(("a.tar", "a.tar", "b.tar"), start=1)
)
ONE, TWO, THREE = (one.name for one in BOOKED)
TOLD = {"a.tar": Content(100, "0000000a"), "b.tar": Content(50, "0000000b")}
SEEN = {
    "a.tar": ArchiveSeen(content=TOLD["a.tar"], ranges={ONE: 1, TWO: 1}, events=10),
    "b.tar": ArchiveSeen(content=TOLD["b.tar"], ranges={THREE: 1}, events=5),
}
BEGUN = {ONE: 2, TWO: 1, THREE: 1}
GOOD = RangeEvidence(
    order=ORDER,
    booked=BOOKED,
    told=TOLD,
    archives=SEEN,
    begun=BEGUN,
    allocations=2,
    killed=("1",),
    durable=frozenset({TWO}),
)


def booked(**changes: Any) -> RangeEvidence:
    return replace(GOOD, booked=(replace(BOOKED[0], **changes), *BOOKED[1:]))


def seen(**changes: Any) -> RangeEvidence:
    return replace(GOOD, archives={**SEEN, "a.tar": replace(SEEN["a.tar"], **changes)})


def test_nothing_is_found_where_each_range_counts_once() -> None:
    assert audit_ranges(GOOD) == ()
    assert (GOOD.again, GOOD.events) == (1, 15)


CASES: dict[str, tuple[RangeEvidence, str]] = {
    "one allocation only": (replace(GOOD, allocations=1), "done in 1 allocation, which proves little"),
    "nothing was killed": (replace(GOOD, killed=()), "none of its allocations was killed"),
    "never begun": (replace(GOOD, begun={ONE: 2, TWO: 1}), f"the payload of the range {THREE} never began"),
    "done again in vain": (
        replace(GOOD, begun={**BEGUN, TWO: 2}),
        f"the range {TWO} was done again, although its outcome was durable when its allocation died",
    ),
    "still sent": (booked(state="sent"), f"the server has the range {ONE} as sent"),
    "given up": (booked(state="fatal"), f"the server has the range {ONE} as fatal"),
    "never finished": (booked(finished=0), f"the range {ONE} was reported finished 0 times"),
    "finished twice": (booked(finished=2), f"the range {ONE} was reported finished 2 times"),
    "never came back": (booked(unanswered=1), f"the range {ONE} was handed out and not heard of again, 1 times"),
    "reported without an archive": (booked(archive=""), f"{ONE} is in a.tar, the server was told of none"),
    "reported in another archive": (booked(archive="b.tar"), f"{ONE} is in a.tar, the server was told of b.tar"),
    "in no archive": (seen(ranges={TWO: 1}), f"the range {ONE} is 0 times in the archives"),
    "twice in an archive": (seen(ranges={ONE: 2, TWO: 1}), f"the range {ONE} is 2 times in the archives"),
    "in two archives": (seen(ranges={ONE: 1, TWO: 1, THREE: 1}), f"the range {THREE} is 2 times in the archives"),
    "a stranger": (seen(ranges={ONE: 1, TWO: 1, "9-9-9-9-9": 1}), "the range 9-9-9-9-9, which is none of it"),
    "another size": (seen(content=Content(99, "0000000a")), "told 100 bytes 0000000a of a.tar, the storage has 99"),
    "another checksum": (seen(content=Content(100, "0000000c")), "the storage has 100 bytes 0000000c"),
    "a member is bad": (seen(problems=("x is cut short",)), "a.tar: x is cut short"),
    "too few events": (seen(events=9), "its archives have 14 events, 15 were asked for"),
    "an archive of which nobody told": (
        replace(GOOD, archives={**SEEN, "c.tar": ArchiveSeen(content=Content(1, "1"), ranges={}, events=0)}),
        "the storage has c.tar, of which the server was not told",
    ),
    "an archive that is not there": (
        replace(GOOD, told={**TOLD, "c.tar": Content(1, "1")}),
        "the server was told of c.tar, which is not in the storage",
    ),
}


@pytest.mark.parametrize(("evidence", "what"), CASES.values(), ids=CASES.keys())
def test_each_disagreement_is_found_and_names_its_job(evidence: RangeEvidence, what: str) -> None:
    (found,) = audit_ranges(evidence)
    assert found.job == ORDER.job
    assert what in found.what


def test_a_range_that_the_server_does_not_have_is_missed() -> None:
    found = [one.what for one in audit_ranges(replace(GOOD, booked=BOOKED[:2]))]
    assert found == [
        "the server has 2 ranges of it, 3 were ordered",
        f"the storage has the range {THREE}, which is none of it",
    ]


def test_without_an_accident_none_is_missed_and_one_allocation_may_do() -> None:
    assert audit_ranges(replace(GOOD, killed=(), accident=False, allocations=1)) == ()


WHOLE = Evidence(
    orders=(),
    books={7: Booked(state=ServerState.FINISHED, final_reports=1, output_report="")},
    double_reports=0,
    ledger={7: Kept(state=JobState.FINISHED, files={}, report_owed=False)},
    storage={**TOLD, ORDER.log: Content(1, "00000001")},
    physics={},
    starts={},
    ranges=(GOOD,),
)


@pytest.mark.parametrize(
    ("evidence", "job", "what"),
    [
        (replace(WHOLE, books={}), 7, "the server does not know it"),
        (replace(WHOLE, ledger={}), 7, "the local ledger does not know it"),
        (replace(WHOLE, storage={"x.tar": Content(1, "1")}), None, "the outputs storage: x.tar is there"),
        (replace(WHOLE, ranges=(booked(finished=2),)), 7, f"the range {ONE} was reported finished 2 times"),
    ],
)
def test_the_whole_audit_knows_event_service_jobs(evidence: Evidence, job: int | None, what: str) -> None:
    found = [one for one in audit(evidence) if "nothing is proven" not in one.what]
    assert [(one.job, what in one.what) for one in found] == [(job, True)]


def test_a_jumbo_job_is_no_stranger_among_others() -> None:
    assert audit(WHOLE) == (Disagreement(None, "no job was submitted, so nothing is proven"),)
