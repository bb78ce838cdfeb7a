from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcharvest.engine.strays import Fate, Ours, fate, number_of, strays, tag_of, told_of
from hpcharvest.model.allocation import Allocation
from hpcharvest.model.ids import AllocationId
from hpcharvest.model.shape import Shape
from hpcharvest.model.states import AllocationState, BatchState
from hpcharvest.providers.dialect import BatchStatus

GRACE_S = 60.0
NOW = 10_000.0
TAG = tag_of("me", AllocationId(7), "0a1b2c")
FOUND = BatchStatus(id="42", state=BatchState.RUNNING, words="RUNNING", tag=TAG)
MINE = Allocation(id=AllocationId(7), queue="Q", shape=Shape(nodes=1, walltime_s=60), tag=TAG, submissions=1)


@given(st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,49}", fullmatch=True), st.integers(1, 10**9))
def test_a_tag_names_its_allocation(harvester: str, number: int) -> None:
    assert number_of(tag_of(harvester, AllocationId(number), "00ff00"), harvester) == number


@pytest.mark.parametrize(
    "tag", ["", "me", "me-7", "me-7-0a1b2", "you-7-0a1b2c", "me-2-7-0a1b2c", "me-x-0a1b2c", "me7-1a"]
)
def test_other_names_are_none_of_ours(tag: str) -> None:
    assert number_of(tag, "me") is None


@pytest.mark.parametrize(
    ("allocation", "wanted"),
    [
        (None, Fate.ASK),
        (MINE, Fate.ADOPT),
        (replace(MINE, submissions=0), Fate.LEAVE),
        (replace(MINE, tag="me-7-ffffff"), Fate.LEAVE),
        (replace(MINE, state=AllocationState.SUBMITTED, batch_id="42"), Fate.LEAVE),
        (replace(MINE, state=AllocationState.RUNNING, batch_id="41"), Fate.LEAVE),
        (replace(MINE, state=AllocationState.ENDED, since=NOW - 59), Fate.LEAVE),
        (replace(MINE, state=AllocationState.ENDED, since=NOW - 60), Fate.END),
    ],
)
def test_the_fate_of_a_stray(allocation: Allocation | None, wanted: Fate) -> None:
    assert fate(FOUND, allocation, NOW, GRACE_S) is wanted


def test_one_that_waits_is_withdrawn_if_its_allocation_has_another() -> None:
    waiting = replace(FOUND, state=BatchState.PENDING)
    for state in (AllocationState.SUBMITTED, AllocationState.RUNNING):
        assert fate(waiting, replace(MINE, state=state, batch_id="41"), NOW, GRACE_S) is Fate.WITHDRAW


def test_strays_are_alive_ours_and_unknown() -> None:
    said = {
        one.id: one
        for one in (
            FOUND,
            replace(FOUND, id="43", state=BatchState.PENDING),
            replace(FOUND, id="44", state=BatchState.COMPLETED),
            replace(FOUND, id="45", state=BatchState.UNKNOWN),
            replace(FOUND, id="46", tag="somebody's"),
            replace(FOUND, id="47"),
        )
    }
    assert [one.id for one in strays(said, {"47"}, "me")] == ["42", "43"]


def test_a_batch_job_is_told_of_under_its_id_or_else_under_its_name() -> None:
    ours = Ours(id="42", tag=TAG, folder=Path("/f"))
    other = replace(FOUND, id="42.server", words="spelt otherwise")
    assert told_of(ours, {"42": FOUND, "42.server": other}) is FOUND
    assert told_of(ours, {"42.server": other}) is other
    assert told_of(ours, {"43": replace(FOUND, id="43", tag="me-8-0a1b2c")}) is None
