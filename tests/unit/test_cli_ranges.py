"""What commands show of event ranges."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from hpcharvest.model.event_range import Bundle, EventRange, RangeOutcome
from hpcharvest.model.ids import AllocationId, Attempt, BundleId, JobId
from hpcharvest.model.states import AllocationState, BundleState, JobState, RangeState
from hpcharvest.store.changes import Changes, Fed, NewRanges, Outcomes
from tests.unit.test_cli_harvest import NOW, Office, busy, make_allocation, make_job, office

__all__ = ["busy", "office"]  # fixtures

NUMBER, HERE = JobId(11), AllocationId(4)


@pytest.fixture
def served(busy: Office) -> Office:
    """A harvester with an event-service job beside others: ten ranges, six of them fed, two of those finished."""
    plain = make_job(NUMBER, JobState.SERVED, attempt=Attempt(1), ranges_lost=3)
    job = replace(plain, spec=replace(plain.spec, event_service=True))
    allocation = make_allocation(HERE, state=AllocationState.RUNNING, event_jobs=((NUMBER, Attempt(1)),))
    names = [f"1-{NUMBER}-2-{one}-3" for one in range(10)]
    ranges = tuple(EventRange(id=one, start=1, last=1, lfn="cards.txt") for one in names)
    busy.database.commit(Changes(new_jobs={NUMBER: job}, allocations={HERE: allocation}))
    busy.database.commit(Changes(new_ranges=[NewRanges(job=NUMBER, ranges=ranges)]))
    busy.database.commit(Changes(feeds=[Fed(job=NUMBER, allocation=HERE, number=0, first=0, size=6)]))
    bundle = Bundle(
        id=BundleId(1),
        job=NUMBER,
        allocation=HERE,
        archive="a.tar",
        ranges=2,
        state=BundleState.STORED,
        since=NOW,
    )
    done = tuple(RangeOutcome(id=one, state=RangeState.FINISHED) for one in names[:2])
    ended = Outcomes(job=NUMBER, allocation=HERE, bundle=bundle.id, outcomes=done)
    busy.database.commit(Changes(bundles={bundle.id: bundle}, outcomes=[ended]))
    return busy


def told(office: Office, *words: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(office.call(*words, "--output", "json").stdout)
    return found


def test_a_job_is_shown_with_its_ranges_and_bundles(served: Office) -> None:
    page = told(served, "jobs", "show", str(NUMBER))
    assert page["ranges"] == {
        "ready": 4,
        "fed": 4,
        "finished": 2,
        "failed": 0,
        "fatal": 0,
        "lost": 3,
        "bundles": {"closed": 0, "stored": 1, "sending": 0, "settled": 0, "lost": 0},
    }
    assert [(one["archive"], one["state"], one["ranges"]) for one in page["bundles"]] == [("a.tar", "stored", 2)]
    assert [(one["attempt"], one["allocation"]) for one in page["attempts"]] == [(1, HERE)]
    assert "ranges" not in told(served, "jobs", "show", "7")


def test_a_job_is_shown_with_why_ranges_failed(served: Office) -> None:
    assert "failures" not in told(served, "jobs", "show", str(NUMBER))
    name = f"1-{NUMBER}-2-3-3"
    gone = Bundle(id=BundleId(2), job=NUMBER, allocation=HERE, ranges=1, state=BundleState.SETTLED, since=NOW)
    outcome = RangeOutcome(id=name, state=RangeState.FATAL, error="no luck")
    ended = Outcomes(job=NUMBER, allocation=HERE, bundle=gone.id, outcomes=(outcome,))
    served.database.commit(Changes(bundles={gone.id: gone}, outcomes=[ended]))

    page = told(served, "jobs", "show", str(NUMBER))

    assert page["failures"] == [{"range": name, "allocation": HERE, "state": "fatal", "error": "no luck"}]


def test_why_tells_how_far_the_ranges_are(served: Office) -> None:
    said = served.call("jobs", "why", str(NUMBER)).stdout
    words = " ".join(said.split())
    assert "4 ready, 4 in allocations, 2 finished, 3 lost with an answer of PanDA's" in words
    assert "its allocations: 1 running; PanDA is owed the outcomes of 1 bundle" in words


def test_an_allocation_is_shown_with_the_ranges_that_it_has(served: Office) -> None:
    page = told(served, "allocations", "show", str(HERE))
    assert page["ranges"] == [{"job": NUMBER, "fed": 4, "finished": 2, "failed": 0, "fatal": 0}]
    assert page["allocation"]["event_jobs"] == 1
    assert "ranges" not in told(served, "allocations", "show", "3")


def test_the_status_has_the_ranges_of_jobs_that_are_served(served: Office) -> None:
    (row,) = told(served, "status")["event_ranges"]
    assert (row["job"], row["ready"], row["fed"], row["lost"], row["bundles_open"]) == (NUMBER, 4, 4, 3, 1)


def test_a_harvester_without_such_jobs_says_nothing_of_ranges(busy: Office) -> None:
    assert "event_ranges" not in told(busy, "status")
