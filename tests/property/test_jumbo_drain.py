"""The laws of pace and appetite: what is learnt about time, and how much is asked for."""

from __future__ import annotations

import math
import statistics

from hypothesis import given
from hypothesis import strategies as st

from hpcharvest.jumbo import drain
from hpcharvest.jumbo.drain import Pace, Quantile

seconds = st.floats(0.001, 1e5)
walls = st.lists(seconds, min_size=1, max_size=200)


@given(values=walls, share=st.floats(0.01, 1.0))
def test_a_quantile_has_its_share_of_the_values_at_or_below_it(values: list[float], share: float) -> None:
    quantile = Quantile(share)
    quantile.add(values)
    found = quantile.value()
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9
    assert sum(value < found for value in values) <= share * len(values)
    assert math.isclose(quantile.mean(), statistics.fmean(values))


@given(values=st.lists(walls, max_size=30))
def test_a_quantile_forgets_what_is_old_and_is_never_far_behind(values: list[list[float]]) -> None:
    quantile = Quantile(0.5, keep=16)
    told: list[float] = []
    for some in values:
        quantile.add(some)
        told += some
        assert len(quantile._ring) <= 16
        assert quantile.value() in told[-32:]
    assert quantile.seen == len(told)


@given(values=walls, limit=st.sampled_from([0.0, 30.0]))
def test_a_hung_range_is_judged_by_its_limit_or_by_the_others(values: list[float], limit: float) -> None:
    pace = Pace(limit)
    assert (pace.needs_s, pace.limit_s) == (0.0, limit), "nothing is known, nothing is assumed"
    pace.learn([*values, -1.0, math.nan, math.inf])
    known = len(values) >= drain.KNOWN_ENOUGH
    assert pace.limit_s == (limit or (drain.HUNG_TIMES * pace.needs_s if known else 0.0))
    assert min(values) <= pace.needs_s <= max(values)


counts = st.integers(0, 10**6)
left = st.one_of(st.just(math.inf), st.floats(-10.0, 1e6))


@given(told=counts, slots=counts, mean_s=st.one_of(st.just(0.0), seconds), ahead_s=st.floats(0.0, 900.0), left_s=left)
def test_never_more_is_wanted_than_can_be_done_and_a_tenth(
    told: int, slots: int, mean_s: float, ahead_s: float, left_s: float
) -> None:
    total = drain.appetite(told, slots, mean_s, ahead_s, left_s)
    assert total >= told
    if left_s <= 0:
        assert total == told
    elif mean_s and left_s < math.inf:
        assert total - told <= math.ceil(slots / mean_s * left_s * 1.1)
    else:
        assert total - told >= 2 * slots
        assert total - told <= 2 * slots + drain.MOST_AHEAD + 1


@given(slots=st.integers(1, 1000), mean_s=seconds, ahead_s=st.floats(1.0, 900.0))
def test_no_slot_waits_while_the_feed_answers(slots: int, mean_s: float, ahead_s: float) -> None:
    total = drain.appetite(0, slots, mean_s, ahead_s, math.inf)
    assert total - slots >= min(slots * ahead_s / mean_s, drain.MOST_AHEAD)


@given(answers=st.lists(st.floats(0.0, 2000.0), min_size=1, max_size=30))
def test_a_late_feed_is_learnt_at_once_and_an_early_one_slowly(answers: list[float]) -> None:
    ahead_s = drain.AHEAD_S
    for answered_s in answers:
        before, ahead_s = ahead_s, drain.ahead(ahead_s, answered_s)
        assert ahead_s >= min(1.5 * answered_s, drain.LONGEST_AHEAD_S)
        assert ahead_s >= 0.8 * before - 1e-9
        assert drain.SHORTEST_AHEAD_S <= ahead_s <= drain.LONGEST_AHEAD_S
