"""The laws of the pool of event ranges: none is lost, counted twice, or leased to two nodes that are there."""

from __future__ import annotations

from collections import Counter

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hpcharvest.errors import MessageNotUnderstood
from hpcharvest.jumbo import failures
from hpcharvest.jumbo.failures import GivenUp
from hpcharvest.jumbo.ranges import RangePool
from hpcharvest.messenger.ranges import Feed
from hpcharvest.model.event_range import EventRange
from hpcharvest.model.ids import JobId

NODES = ("a", "b", "c", "d", "e")
node_names = st.sampled_from(NODES)
some_indices = st.lists(st.integers(-1, 45), max_size=12)


def ranges_of(first: int, files: list[int]) -> tuple[EventRange, ...]:
    return tuple(
        EventRange(id=f"r{first + place}", start=place + 1, last=place + 1, lfn=f"file{file}")
        for place, file in enumerate(files)
    )


class Pool(RuleBasedStateMachine):
    """Whatever nodes say, in whatever order and however often, and whichever of them die and return."""

    @initialize(known=st.sets(st.integers(0, 40), max_size=5))
    def begin(self, known: set[int]) -> None:
        self.pool = RangePool(NODES)
        self.pool.know(f"r{index}" for index in known)
        self.known = known
        self.size = 0
        self.absent: set[int] = set()
        self.has: dict[str, set[int]] = {node: set() for node in NODES}
        self.limbo: list[tuple[str, list[int]]] = []
        self.counted: Counter[int] = Counter()
        self.number = 0

    @property
    def taken(self) -> set[int]:
        return set().union(*self.has.values(), *(indices for _, indices in self.limbo))

    @precondition(lambda self: self.size < 40)
    @rule(files=st.lists(st.integers(0, 3), min_size=1, max_size=12), gap=st.sampled_from([0, 0, 0, 2]))
    def feed(self, files: list[int], gap: int) -> None:
        first = self.size + gap
        self.absent |= set(range(self.size, first))
        fed = ranges_of(first, files)
        self.pool.feed(Feed(job=JobId(1), number=self.number, first=first, ranges=fed))
        self.number += 1
        self.size = first + len(files)
        self.counted.update(index for index in range(first, self.size) if index in self.known)

    @rule(node=node_names, want=st.integers(0, 10))
    def lease(self, node: str, want: int) -> None:
        ready = self.pool.ready
        got = self.pool.lease(node, want)
        assert len(got) == len(set(got)) <= want
        assert self.pool.ready == ready - len(got)
        self.gets(node, got)
        assert [row[0] for row in self.pool.rows(got)[0]] == got

    def gets(self, node: str, indices: list[int]) -> None:
        assert not self.taken & set(indices)
        assert not self.absent & set(indices)
        assert not any(self.counted[index] for index in indices)
        self.has[node] |= set(indices)

    @rule(node=node_names, indices=some_indices)
    def done(self, node: str, indices: list[int]) -> None:
        free = set(indices) - self.taken - self.absent - self.counted.keys()
        void = set(self.pool.told(node, done=indices).void)
        self.has[node] |= {index for index in free if 0 <= index < self.size}
        assert void == {index for index in indices if index not in self.has[node]}

    @rule(node=node_names, indices=some_indices, error=st.sampled_from(["x", "y"]))
    def failed(self, node: str, indices: list[int], error: str) -> None:
        found = self.pool.told(node, failed=[(index, error) for index in indices])
        assert not found.void
        assert {one.index for one in found.given_up} <= self.has[node]
        self.has[node] -= set(indices)
        self.give_up(found.given_up)

    def give_up(self, given_up: list[GivenUp]) -> None:
        self.counted.update(one.index for one in given_up)

    @rule(node=node_names, indices=some_indices)
    def back(self, node: str, indices: list[int]) -> None:
        found = self.pool.told(node, back=indices)
        assert not found.void
        assert not found.given_up
        self.has[node] -= set(indices)

    @rule(node=node_names, indices=some_indices, twice=st.booleans())
    def archive(self, node: str, indices: list[int], twice: bool) -> None:
        for _ in range(1 + twice):
            free = set(indices) - self.taken - self.absent - self.counted.keys()
            may = self.has[node] | {index for index in free if 0 <= index < self.size}
            counted = self.pool.archived_by(node, indices)
            assert set(counted) == may & set(indices)
            self.has[node] -= set(counted)
            self.counted.update(counted)

    @rule(node=node_names)
    def part(self, node: str) -> None:
        limbo = self.pool.part(node)
        assert set(limbo) == self.has[node]
        self.has[node] = set()
        self.limbo.append((node, limbo))

    @precondition(lambda self: self.limbo)
    @rule(saved=some_indices, failed=some_indices)
    def settle(self, saved: list[int], failed: list[int]) -> None:
        node, limbo = self.limbo.pop(0)
        errors = {f"r{index}": "x" for index in failed}
        counted, given_up = self.pool.settle(limbo, node, [f"r{index}" for index in saved], errors)
        assert {int(name[1:]) for name in counted} == set(saved) & set(limbo)
        self.counted.update(int(name[1:]) for name in counted)
        self.give_up(given_up)

    @rule(node=node_names, indices=some_indices)
    def hello(self, node: str, indices: list[int]) -> None:
        foreign = set(self.pool.held(node, indices))
        self.has[node] |= {index for index in indices if index not in foreign}
        others = set().union(*(held for name, held in self.has.items() if name != node))
        assert not self.has[node] & others
        self.has[node] = {index for index in self.has[node] if index in self.pool._leased[node]} | self.pool._done[node]

    @rule()
    def hopeless(self) -> None:
        self.give_up(self.pool.hopeless())

    @invariant()
    def each_is_in_one_place(self) -> None:
        pool = self.pool
        assert not self.counted or max(self.counted.values()) == 1
        assert pool.archived + pool.given_up == len(self.counted)
        assert pool.under_way == len(self.taken)
        assert pool.fed == self.size - len(self.absent) == pool.ready + pool.under_way + len(self.counted)
        for node in NODES:
            assert {*pool._leased.get(node, ()), *pool._done.get(node, ())} == self.has[node]

    def teardown(self) -> None:
        """Let all nodes that were there go, and one do the rest."""
        if not hasattr(self, "pool"):
            return
        while self.limbo:
            self.settle([], [])
        for node in NODES:
            self.pool.settle(self.pool.part(node))
        self.pool.held("new", [])
        while got := self.pool.lease("new", 7):
            self.counted.update(self.pool.archived_by("new", got))
        self.each_counts_once()

    def each_counts_once(self) -> None:
        assert set(self.counted) == set(range(self.size)) - self.absent
        assert set(self.counted.values()) <= {1}


TestPool = Pool.TestCase
TestPool.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)


def pool_of(files: list[int], nodes: tuple[str, ...] = NODES) -> RangePool:
    pool = RangePool(nodes)
    pool.feed(Feed(job=JobId(1), number=0, first=0, ranges=ranges_of(0, files)))
    return pool


def test_a_node_keeps_its_file_and_shares_the_largest_rest_only_when_none_is_untouched() -> None:
    pool = pool_of([0] * 6 + [1] * 3 + [2] * 3)
    assert pool.lease("a", 2) == [0, 1]
    assert pool.lease("b", 1) == [6]
    assert pool.lease("a", 1) == [2]
    assert pool.lease("c", 1) == [9]
    assert pool.lease("b", 2) == [7, 8]
    assert pool.lease("d", 1) == [3], "of a's file most is left"
    assert pool.lease("d", 1) == [4], "it keeps to it"
    assert pool.lease("b", 9) == [10, 11, 5]


def test_a_range_that_failed_goes_to_another_node_and_the_same_error_of_two_proven_nodes_is_fatal() -> None:
    pool = pool_of([0] * 4)
    for node in ("a", "b"):
        pool.told(node, done=pool.lease(node, 1))
    (bad,) = pool.lease("a", 1)
    assert not pool.told("a", failed=[(bad, "boom")]).given_up
    assert bad not in pool.lease("a", 9)
    assert pool.lease("b", 1) == [bad]
    (given_up,) = pool.told("b", failed=[(bad, "boom")]).given_up
    assert (given_up.index, given_up.error, given_up.node, given_up.fatal) == (bad, "boom", "b", True)
    assert pool.given_up == 1


def test_a_range_that_fails_in_other_ways_is_given_up_after_three_nodes() -> None:
    pool = pool_of([0])
    for node, error in ("a", "x"), ("b", "y"):
        assert not pool.told(node, failed=[(pool.lease(node, 1)[0], error)]).given_up
    (given_up,) = pool.told("c", failed=[(pool.lease("c", 1)[0], "x")]).given_up
    assert not given_up.fatal, "no node has shown that it can do such ranges"


def test_a_range_waits_for_no_node_that_is_gone() -> None:
    pool = pool_of([0], ("a", "b"))
    assert not pool.told("a", failed=[(0, "x")]).given_up
    pool = pool_of([0], ("a", "b"))
    pool.told("a", failed=[(pool.lease("a", 1)[0], "x")])
    assert not pool.hopeless()
    pool.settle(pool.part("b"))
    assert [one.index for one in pool.hopeless()] == [0]
    assert pool.ready == 0


def test_a_node_that_fails_all_where_others_succeed_is_not_trusted() -> None:
    pool = pool_of([0] * 40)
    for _ in range(failures.BLACK_HOLE):
        pool.told("a", failed=[(pool.lease("a", 1)[0], "x")])
    assert pool.trusts("a"), "perhaps the ranges are bad"
    pool.told("b", done=pool.lease("b", 1))
    assert not pool.trusts("a")
    assert pool.trusts("b")
    assert pool.trusts("c")


@pytest.mark.parametrize("first", [0, 2, 99_999_999])
def test_a_feed_file_that_does_not_follow_is_refused_and_changes_nothing(first: int) -> None:
    pool = pool_of([0, 0, 0])
    with pytest.raises(MessageNotUnderstood, match="3 were fed"):
        pool.feed(Feed(job=JobId(1), number=1, first=first, ranges=ranges_of(first, [0])))
    assert (pool.fed, pool.ready) == (3, 3)


def test_what_was_leased_and_did_not_arrive_is_ready_again() -> None:
    pool = pool_of([0] * 4)
    pool.lease("a", 3)
    assert pool.held("a", [1]) == []
    assert (pool.leased_by("a"), pool.ready) == (1, 3)


def test_the_last_that_a_node_got_are_its_excess() -> None:
    pool = pool_of([0] * 9)
    pool.lease("a", 6)
    assert pool.excess("a", 4) == [4, 5]
