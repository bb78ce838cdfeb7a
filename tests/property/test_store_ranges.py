"""Moves of event ranges in any order, late and repeated: the database holds what a dictionary would, counted right."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from hpcharvest.model.event_range import Bundle, EventRange, RangeOutcome
from hpcharvest.model.ids import AllocationId, BundleId, JobId
from hpcharvest.model.states import RANGE_LIFE, BundleState, RangeState
from hpcharvest.store.changes import Changes, Fed, NewRanges, Outcomes, Told
from hpcharvest.store.database import Database
from hpcharvest.store.event_ranges import NO_ALLOCATION, FeedFile

JOB = JobId(7)
numbers = st.sets(st.integers(0, 30), max_size=8)
allocations = st.sampled_from([AllocationId(1), AllocationId(2)])
ends = st.sampled_from([RangeState.FINISHED, RangeState.FAILED, RangeState.FATAL])


def name(number: int) -> str:
    return f"1-7-2-{number}-3"


@dataclass
class Row:
    """A range as the model knows it."""

    state: RangeState = RangeState.READY
    allocation: AllocationId | None = None
    bundle: BundleId | None = None
    told: bool | None = None
    path: list[RangeState] = field(default_factory=lambda: [RangeState.READY])

    def go(self, state: RangeState) -> None:
        self.state = state
        self.path.append(state)


class Ranges(RuleBasedStateMachine):
    """Everything that the engine does with ranges, and the same again, as after a commit that seemed to fail."""

    empty: Path

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        shutil.copy(self.empty, f"{self.folder.name}/store.db")
        self.database = Database.open(f"sqlite:///{self.folder.name}/store.db")
        self.rows: dict[int, Row] = {}
        self.fed: Counter[AllocationId] = Counter()
        self.files: Counter[AllocationId] = Counter()
        self.made: dict[BundleId, Bundle] = {}

    def teardown(self) -> None:
        self.database.close()
        self.folder.cleanup()

    def commit(self, changes: Changes, *, again: bool) -> None:
        for _ in range(1 + again):
            self.database.commit(changes)

    @rule(some=numbers, again=st.booleans())
    def acquire(self, some: set[int], again: bool) -> None:
        ranges = tuple(EventRange(id=name(one), start=one, last=one, lfn=f"f{one % 2}") for one in sorted(some))
        self.commit(Changes(new_ranges=[NewRanges(job=JOB, ranges=ranges)]), again=again)
        for one in some:
            self.rows.setdefault(one, Row())

    @rule(allocation=allocations, size=st.integers(0, 6), again=st.booleans())
    def feed(self, allocation: AllocationId, size: int, again: bool) -> None:
        number, first = self.files[allocation], self.fed[allocation]
        changes = Changes(feeds=[Fed(job=JOB, allocation=allocation, number=number, first=first, size=size)])
        self.commit(changes, again=again)
        ready = sorted((one for one, row in self.rows.items() if row.state is RangeState.READY), key=lambda n: n)
        file = FeedFile(job=JOB, allocation=allocation, number=number, first=first, size=size, last=False)
        chosen = [int(one.id.split("-")[3]) for one in self.database.event_ranges.fed(file)]
        assert len(chosen) == min(size, len(ready))
        assert set(chosen) <= set(ready)
        for one in chosen:
            self.rows[one].allocation = allocation
            self.rows[one].go(RangeState.FED)
        self.files[allocation] += 1
        self.fed[allocation] += len(chosen)

    @rule(some=numbers, allocation=allocations, state=ends, again=st.booleans())
    def end(self, some: set[int], allocation: AllocationId, state: RangeState, again: bool) -> None:
        number = BundleId(len(self.made) + 1)
        bundle = Bundle(id=number, job=JOB, allocation=allocation, archive=f"{number}.tar", ranges=len(some))
        outcomes = tuple(RangeOutcome(id=name(one), state=state) for one in some)
        ended = Outcomes(job=JOB, allocation=allocation, bundle=number, outcomes=outcomes)
        self.commit(Changes(bundles={number: bundle}, outcomes=[ended]), again=again)
        self.made[number] = bundle
        for row in (self.rows[one] for one in some if one in self.rows):
            if row.state is RangeState.FED and row.allocation == allocation:
                row.bundle = number
                row.go(state)

    @rule(allocation=allocations, again=st.booleans())
    def release(self, allocation: AllocationId, again: bool) -> None:
        self.commit(Changes(released=[allocation]), again=again)
        for row in self.rows.values():
            if row.state is RangeState.FED and row.allocation == allocation:
                row.allocation = None
                row.go(RangeState.READY)

    @rule(data=st.data(), again=st.booleans())
    def lose(self, data: st.DataObject, again: bool) -> None:
        if not self.made:
            return
        bundle = data.draw(st.sampled_from(sorted(self.made.values(), key=lambda one: one.id)))
        self.commit(Changes(bundles={bundle.id: replace(bundle, state=BundleState.LOST)}), again=again)
        for row in self.rows.values():
            if row.bundle == bundle.id and row.state is RangeState.FINISHED and row.told is None:
                row.allocation = row.bundle = None
                row.go(RangeState.READY)

    @rule(some=numbers, taken=st.booleans(), again=st.booleans())
    def tell(self, some: set[int], taken: bool, again: bool) -> None:
        mine = {one for one in some if one in self.rows and self.rows[one].bundle is not None}
        told = Told(job=JOB, taken=taken, ranges=tuple(name(one) for one in mine))
        self.commit(Changes(told=[told]), again=again)
        for one in mine:
            if self.rows[one].told is None:
                self.rows[one].told = taken

    @invariant()
    def the_database_holds_the_same(self) -> None:
        for number, row in self.rows.items():
            assert self.database.event_ranges.get(JOB, name(number)) == (row.state, row.bundle, row.told)

    @invariant()
    def the_counts_are_right(self) -> None:
        wanted = Counter((JOB, row.allocation or NO_ALLOCATION, row.state) for row in self.rows.values())
        assert self.database.event_ranges.counts([JOB]) == dict(wanted)

    @invariant()
    def no_range_leaves_its_life(self) -> None:
        for row in self.rows.values():
            assert all(after in RANGE_LIFE[before] for before, after in zip(row.path, row.path[1:], strict=False))


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("store") / "empty.db"
    Database.open(f"sqlite:///{file}").close()
    return file


def test_whatever_is_done_to_ranges_in_whatever_order_counts_once(empty: Path) -> None:
    Ranges.empty = empty
    run_state_machine_as_test(
        Ranges,
        settings=settings(
            max_examples=15, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow]
        ),
    )
