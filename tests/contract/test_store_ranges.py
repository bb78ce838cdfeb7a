"""Event ranges in any database of ours: every move counts once, whatever is repeated or comes late."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import pytest

from hpcharvest.model.allocation import Allocation
from hpcharvest.model.event_range import Bundle, EventRange, RangeOutcome
from hpcharvest.model.ids import AllocationId, BundleId, JobId
from hpcharvest.model.job import Job, JobSpec
from hpcharvest.model.shape import Shape
from hpcharvest.model.states import AllocationState, BundleState, JobState, RangeState
from hpcharvest.store.changes import Answer, Changes, Fed, NewRanges, Outcomes, Told
from hpcharvest.store.database import Database
from hpcharvest.store.event_ranges import FeedFile

JOB, OTHER = JobId(6_812_345_678_901), JobId(7)
HERE, THERE = AllocationId(3), AllocationId(4)


def name(number: int, job: JobId = JOB) -> str:
    return f"9-{job}-{number % 3}-{number}-3"


def new(numbers: range, job: JobId = JOB) -> NewRanges:
    ranges = tuple(
        EventRange(
            id=name(one, job), start=one * 10 + 1, last=one * 10 + 10, lfn=f"in{one % 3}", guid=f"g{one % 3}", scope="s"
        )
        for one in numbers
    )
    return NewRanges(job=job, ranges=ranges)


def fed(size: int, number: int = 0, *, allocation: AllocationId = HERE, first: int = 0, last: bool = False) -> Fed:
    return Fed(job=JOB, allocation=allocation, number=number, first=first, size=size, last=last)


def file(size: int, number: int = 0, *, allocation: AllocationId = HERE, first: int = 0) -> FeedFile:
    return FeedFile(job=JOB, allocation=allocation, number=number, first=first, size=size, last=False)


def ended(
    names: list[str],
    state: RangeState = RangeState.FINISHED,
    *,
    bundle: int = 1,
    allocation: AllocationId = HERE,
    error: str = "",
) -> Outcomes:
    outcomes = tuple(RangeOutcome(id=one, state=state, cpu_s=1.5, cores=2, error=error) for one in names)
    return Outcomes(job=JOB, allocation=allocation, bundle=BundleId(bundle), outcomes=outcomes)


def bundle(number: int = 1, state: BundleState = BundleState.CLOSED, archive: str = "a.tar") -> Bundle:
    return Bundle(
        id=BundleId(number),
        job=JOB,
        allocation=HERE,
        archive=archive,
        size=2**40,
        adler32="0a0b0c0d",
        ranges=3,
        wall_s=4.5,
        state=state,
        since=1.75e9,
        not_before=1.75e9 + 1,
        tries=2,
        url="file:///there",
        problem="none\n",
    )


def bundled(*some: Bundle) -> Changes:
    return Changes(bundles={one.id: one for one in some})


def counted(database: Database, job: JobId = JOB) -> Mapping[RangeState, int]:
    found: Counter[RangeState] = Counter()
    for (_, _, state), number in database.event_ranges.counts([job]).items():
        found[state] += number
    return found


def fill(database: Database, size: int = 10) -> list[str]:
    """Take in ten ranges, feed some of them, and give the names of those, in the order of the feed."""
    database.commit(Changes(new_ranges=[new(range(10))]))
    database.commit(Changes(feeds=[fed(size)]))
    return [one.id for one in database.event_ranges.fed(file(size))]


def test_ranges_are_taken_in_once(database: Database) -> None:
    database.commit(Changes(new_ranges=[new(range(10))]))
    database.commit(Changes(new_ranges=[new(range(5, 12)), NewRanges(job=OTHER, ranges=())]))
    assert counted(database) == {RangeState.READY: 12}
    assert database.event_ranges.unknown(JOB, [name(0), name(11), name(12), "x"]) == 2


def test_a_feed_has_the_ranges_of_one_file_together_and_is_the_same_whenever_it_is_read(database: Database) -> None:
    fill(database, 6)
    first = database.event_ranges.fed(file(6))
    assert [(one.lfn, one.start) for one in first] == sorted((one.lfn, one.start) for one in first)
    assert Counter(one.lfn for one in first) == {"in0": 4, "in1": 2}
    assert first == database.event_ranges.fed(file(6))
    assert first[0] == EventRange(id=name(0), start=1, last=10, lfn="in0", guid="g0", scope="s")
    database.commit(Changes(feeds=[fed(6, 1, first=6, last=True)]))
    second = database.event_ranges.fed(file(4, 1, first=6))
    assert len(second) == 4
    assert not {one.id for one in first} & {one.id for one in second}
    assert [(one.number, one.first, one.size, one.last) for one in database.event_ranges.feeds([HERE])] == [
        (0, 0, 6, False),
        (1, 6, 4, True),
    ]


def test_a_feed_that_is_committed_again_takes_nothing_more(database: Database) -> None:
    changes = Changes(new_ranges=[new(range(10))], feeds=[fed(4)])
    database.commit(changes)
    database.commit(changes)
    assert counted(database) == {RangeState.READY: 6, RangeState.FED: 4}
    assert database.event_ranges.counts([JOB])[JOB, HERE, RangeState.FED] == 4
    assert database.event_ranges.of_allocation(HERE) == {(JOB, HERE, RangeState.FED): 4}


def test_an_outcome_counts_once_and_only_from_where_the_range_was_fed(database: Database) -> None:
    names = fill(database, 4)
    database.commit(Changes(outcomes=[ended(names[:2], allocation=THERE)]))
    assert counted(database)[RangeState.FED] == 4
    changes = Changes(bundles={BundleId(1): bundle()}, outcomes=[ended([*names[:2], "unknown", name(1)])])
    database.commit(changes)
    database.commit(changes)
    database.commit(Changes(outcomes=[ended(names[:2], RangeState.FAILED, bundle=2)]))
    assert counted(database) == {RangeState.READY: 6, RangeState.FED: 2, RangeState.FINISHED: 2}
    assert {one.id for one in database.event_ranges.untold(BundleId(1), 10)} == set(names[:2])
    assert database.event_ranges.ended_in(HERE) == set(names[:2])
    assert database.event_ranges.untold_count(BundleId(2)) == 0


@pytest.mark.parametrize(
    ("state", "there"),
    [
        (BundleState.CLOSED, False),
        (BundleState.STORED, True),
        (BundleState.SENDING, True),
        (BundleState.SETTLED, True),
        (BundleState.LOST, False),
    ],
)
def test_what_is_confirmed_at_its_destination_can_be_found_with_its_archive(
    state: BundleState, *, there: bool, database: Database
) -> None:
    names = fill(database, 4)
    database.commit(Changes(bundles={BundleId(1): bundle()}, outcomes=[ended(names[:2])]))
    database.commit(Changes(outcomes=[ended(names[2:3], RangeState.FAILED, bundle=2)]))
    database.commit(bundled(bundle(state=state), bundle(2, BundleState.STORED, archive="")))
    found = database.event_ranges.stored(JOB)
    expected = {(one, "a.tar") for one in names[:2]} if there else set()
    assert {(one.id, archive) for one, archive in found} == expected
    assert all(one.last == one.start + 9 and one.lfn.startswith("in") for one, _ in found)
    assert database.event_ranges.stored(OTHER) == []


def test_what_an_allocation_left_is_ready_again_and_nothing_else(database: Database) -> None:
    names = fill(database, 6)
    database.commit(Changes(feeds=[fed(2, allocation=THERE)]))
    changes = Changes(outcomes=[ended(names[:1])], released=[HERE])
    database.commit(changes)
    database.commit(changes)
    assert counted(database) == {RangeState.READY: 7, RangeState.FED: 2, RangeState.FINISHED: 1}
    assert database.event_ranges.of_allocation(HERE) == {(JOB, HERE, RangeState.FINISHED): 1}
    database.commit(Changes(outcomes=[ended(names)]))  # late: they are no longer fed there
    assert counted(database)[RangeState.FINISHED] == 1


def test_the_ranges_of_a_lost_archive_are_ready_again_and_may_finish_elsewhere(database: Database) -> None:
    names = fill(database, 4)
    database.commit(Changes(bundles={BundleId(1): bundle()}, outcomes=[ended(names)]))
    lost = bundled(replace(bundle(), state=BundleState.LOST))
    database.commit(lost)
    database.commit(lost)
    assert counted(database) == {RangeState.READY: 10}
    database.commit(Changes(feeds=[fed(10, allocation=THERE)]))
    database.commit(Changes(outcomes=[ended(names, bundle=2, allocation=THERE)]))
    database.commit(lost)
    assert counted(database) == {RangeState.FED: 6, RangeState.FINISHED: 4}


def test_what_was_told_is_told_once_and_for_good(database: Database) -> None:
    names = fill(database, 5)
    database.commit(Changes(outcomes=[ended(names[:3]), ended(names[3:], RangeState.FATAL, bundle=2, error="it\0s")]))
    failures = database.event_ranges.untold(BundleId(2), 10)
    assert {(one.state, one.error) for one in failures} == {(RangeState.FATAL, "it\N{REPLACEMENT CHARACTER}s")}
    assert database.event_ranges.failures([BundleId(1), BundleId(2)], 10) == [(BundleId(2), one) for one in failures]
    assert len(database.event_ranges.untold(BundleId(1), 2)) == 2
    database.commit(Changes(told=[Told(job=JOB, taken=True, ranges=(names[0],))]))
    database.commit(Changes(told=[Told(job=JOB, taken=False, ranges=(names[0], names[1]))]))
    assert database.event_ranges.get(JOB, names[0]) == (RangeState.FINISHED, 1, True)
    assert database.event_ranges.get(JOB, names[1]) == (RangeState.FINISHED, 1, False)
    assert [one.id for one in database.event_ranges.untold(BundleId(1), 10)] == [names[2]]
    assert database.event_ranges.get(JOB, "x") is None


def test_a_bundle_comes_back_whole(database: Database) -> None:
    database.commit(bundled(bundle(), bundle(2, BundleState.SETTLED, ""), bundle(3, BundleState.SENDING, "b.tar")))
    assert database.bundles.get(BundleId(1)) == bundle()
    assert [one.id for one in database.bundles.unfinished()] == [1, 3]
    assert [one.id for one in database.bundles.of_job(JOB, 2)] == [2, 3]
    assert database.bundles.archives(HERE) == {"a.tar", "b.tar"}
    assert database.bundles.has_archive(HERE, "a.tar")
    assert not database.bundles.has_archive(THERE, "a.tar")
    assert database.bundles.counts() == {
        JOB: {BundleState.CLOSED: 1, BundleState.SETTLED: 1, BundleState.SENDING: 1},
    }
    assert database.bundles.counts([OTHER]) == {}
    assert database.bundles.needed_allocations() == {HERE}
    assert database.bundles.last_id() == 3


def a_job(state: JobState = JobState.SERVED, since: float = 1.0) -> Job:
    spec = JobSpec(panda_id=JOB, attempt_nr=1, transformation="x", job_pars="", event_service=True)
    return Job(spec=spec, queue="Q", state=state, since=since)


def test_a_new_life_of_a_job_has_none_of_the_ranges_of_the_last(database: Database) -> None:
    database.commit(Changes(new_jobs={JOB: a_job()}))
    fill(database, 4)
    database.commit(Changes(new_jobs={JOB: a_job(JobState.RECEIVED)}))
    assert counted(database) == {}
    assert database.event_ranges.feeds([HERE]) == []
    assert database.event_ranges.unknown(JOB, [name(1)]) == 1


def test_a_purge_takes_the_ranges_of_jobs_that_are_over_and_no_others(database: Database) -> None:
    allocation = Allocation(
        id=HERE, queue="Q", shape=Shape(nodes=1, walltime_s=1), tag="t", state=AllocationState.ENDED, since=1.0
    )
    newer = replace(allocation, id=AllocationId(9), tag="u")
    database.commit(Changes(new_jobs={JOB: a_job()}, allocations={HERE: allocation, newer.id: newer}))
    names = fill(database, 4)
    database.commit(Changes(bundles={BundleId(1): bundle()}, outcomes=[ended(names)]))
    assert database.purge(2.0) == 0  # its archive is needed
    assert counted(database)[RangeState.READY] == 6
    settled = [bundle(1, BundleState.SETTLED), bundle(2, BundleState.SETTLED, "b.tar")]
    database.commit(bundled(*settled))
    database.commit(Changes(jobs={JOB: a_job(JobState.FINISHED)}))
    assert database.purge(2.0) == 2
    assert counted(database) == {}
    assert database.event_ranges.untold_count(BundleId(1)) == 0
    assert (database.bundles.get(BundleId(1)), database.bundles.last_id()) == (None, 2)


def test_an_answer_remembers_whose_ranges_it_has(database: Database) -> None:
    answer = Answer(id=1, queue="Q", at=1.0, body=b"[]", job=JOB)
    database.commit(Changes(answers=[answer, replace(answer, id=2, job=None)]))
    assert [one.job for one in database.answers.unread()] == [JOB, None]


def test_many_ranges_are_moved_in_little_time(database: Database) -> None:
    began = time.monotonic()
    for start in range(0, 50_000, 5_000):
        database.commit(Changes(new_ranges=[new(range(start, start + 5_000))]))
    database.commit(Changes(feeds=[fed(20_000)]))
    names = [one.id for one in database.event_ranges.fed(file(20_000))]
    database.commit(Changes(outcomes=[ended(names[:10_000])]))
    database.commit(Changes(released=[HERE]))
    assert counted(database) == {RangeState.READY: 40_000, RangeState.FINISHED: 10_000}
    assert time.monotonic() - began < 60
