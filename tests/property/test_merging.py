"""The laws of merging: an output is made once it is whole, of all that is in it and of nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcharvest.sizing.merging import Cut, Piece, plan_merges


@st.composite
def cuts(draw: st.DrawFn) -> Cut:
    small, factor = draw(st.integers(1, 6)), draw(st.integers(1, 4))
    sizes = draw(st.permutations([small, small * factor]))
    files = tuple(f"in.{n}" for n in range(draw(st.integers(1, 5))))
    return Cut(files=files, per_input=sizes[0], per_output=sizes[1])


def all_pieces(cut: Cut) -> list[Piece]:
    """Give a piece for each event."""
    return [
        Piece(id=f"{lfn}-{event}", lfn=lfn, start=event, last=event, archive=f"{event % 3}.tar")
        for lfn in cut.files
        for event in range(1, cut.per_input + 1)
    ]


@given(cuts(), st.data())
def test_when_everything_is_there_every_event_is_in_one_output_in_order(cut: Cut, data: st.DataObject) -> None:
    pieces = all_pieces(cut)
    plan = plan_merges(cut, data.draw(st.permutations(pieces)))
    assert [one.output for one in plan.groups] == list(range(1, cut.outputs + 1))
    assert [piece for group in plan.groups for piece in group.pieces] == pieces
    assert all(len(group.pieces) <= cut.per_output and not group.missing for group in plan.groups)
    assert not plan.short


@pytest.mark.parametrize("partial", [True, False])
@given(cut=cuts(), data=st.data())
def test_an_output_that_lacks_a_range_fails_alone_or_is_made_of_what_there_is(
    cut: Cut, data: st.DataObject, *, partial: bool
) -> None:
    pieces = all_pieces(cut)
    gone = data.draw(st.sets(st.sampled_from(pieces)))
    left = [one for one in pieces if one not in gone]
    hurt = {cut.output(one) for one in gone}
    whole = [output for output in range(1, cut.outputs + 1) if output not in hurt]
    assert [one.output for one in plan_merges(cut, left).groups] == whole
    plan = plan_merges(cut, left, over=True, partial=partial)
    made = {one.output: one for one in plan.groups}
    assert set(whole) <= set(made)
    assert set(made) | set(plan.short) == set(range(1, cut.outputs + 1))
    assert not set(made) & set(plan.short)
    if partial:
        assert [piece for group in plan.groups for piece in group.pieces] == left
        assert sum(group.missing for group in plan.groups) + sum(plan.short.values()) == len(gone)
    else:
        assert set(made) == set(whole)


@given(cuts(), st.data())
def test_what_is_whole_stays_as_it_is_whatever_comes_later(cut: Cut, data: st.DataObject) -> None:
    order = data.draw(st.permutations(all_pieces(cut)))
    early = plan_merges(cut, order[: data.draw(st.integers(0, len(order)))])
    late = {one.output: one for one in plan_merges(cut, order, over=True).groups}
    assert all(late[group.output] == group for group in early.groups)


def test_ranges_of_several_events_are_in_one_output_or_in_none() -> None:
    cut = Cut(files=("in",), per_input=10, per_output=5)
    first, across, second, foreign, beyond = (
        Piece(id=f"{lfn}{start}", lfn=lfn, start=start, last=last, archive="a")
        for lfn, start, last in [("in", 1, 5), ("in", 4, 7), ("in", 6, 10), ("other", 1, 5), ("in", 9, 11)]
    )
    plan = plan_merges(cut, [foreign, second, across, first, beyond])
    assert [group.pieces for group in plan.groups] == [(first,), (second,)]


def test_an_event_counts_once_however_many_ranges_have_it() -> None:
    cut = Cut(files=("in",), per_input=4, per_output=4)
    twice = [Piece(id=f"{n}", lfn="in", start=start, last=start + 1, archive="a") for n, start in enumerate((1, 1, 2))]
    assert plan_merges(cut, twice).groups == ()
    (group,) = plan_merges(cut, twice, over=True, partial=True).groups
    assert group.missing == 1


def test_the_archives_of_a_group_are_named_once() -> None:
    cut = Cut(files=("in",), per_input=6, per_output=6)
    (group,) = plan_merges(cut, all_pieces(cut)).groups
    assert group.archives == ("1.tar", "2.tar", "0.tar")


@pytest.mark.parametrize(("per_input", "per_output"), [(10, 3), (0, 5), (5, 0), (6, 4)])
def test_numbers_that_do_not_fit_are_refused(per_input: int, per_output: int) -> None:
    with pytest.raises(ValueError, match="has to divide"):
        Cut(files=("in",), per_input=per_input, per_output=per_output)
