"""What becomes of bundles, turn by turn: stored, told once, lost, salvaged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hpcharvest.engine.bundles import SALVAGE_TRIES
from hpcharvest.engine.events import (
    BundleFailed,
    BundleStored,
    RangesReported,
    RangesUnreported,
    Salvaged,
)
from hpcharvest.engine.range_book import RangeBook
from hpcharvest.engine.range_reports import fate
from hpcharvest.errors import AnswerLost, IllegalTransition, ServerUnreachable
from hpcharvest.model.event_range import Bundle, RangeOutcome
from hpcharvest.model.ids import BundleId
from hpcharvest.model.states import AllocationState, BundleState, JobState, RangeState
from tests.services.range_desk import HERE, NOW, NUMBER, Desk, allocation, closed, failed, name


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.hands.close()
    made.database.close()


def bundled(desk: Desk, *numbers: int) -> Bundle:
    """Have a bundle whose archive is stored."""
    desk.begin(10, allocation(wanted=10))
    desk.feed()
    turn = desk.turn()
    desk.bundles.closed(closed(*numbers), HERE, turn)
    desk.commit(turn)
    turn = desk.turn()
    desk.bundles.stage(turn)
    desk.bundles.stage(turn)
    (ticket,) = desk.started
    desk.bundles.stored(BundleStored(bundle=ticket.bundle.id, url="file:///x"), turn)
    desk.commit(turn)
    return desk.book.bundles[ticket.bundle.id]


def test_an_archive_that_cannot_be_stored_waits_and_one_that_is_lost_gives_its_ranges_back(desk: Desk) -> None:
    desk.begin(2, allocation(wanted=2))
    desk.feed()
    turn = desk.turn()
    desk.bundles.closed(closed(0, 1), HERE, turn)
    desk.commit(turn)
    turn = desk.turn()
    desk.bundles.store_failed(BundleFailed(bundle=BundleId(1), lost=False, reason="full"), turn)
    desk.commit(turn)
    bundle = desk.book.bundles[BundleId(1)]
    assert (bundle.state, bundle.tries, bundle.problem) == (BundleState.CLOSED, 1, "full")
    assert bundle.not_before > NOW
    turn = desk.turn()
    desk.bundles.stage(turn)
    assert desk.started == []
    desk.bundles.store_failed(BundleFailed(bundle=BundleId(1), lost=True, reason="gone"), turn)
    desk.commit(turn)
    assert desk.book.bundles == {}
    assert desk.states() == {RangeState.READY: 2}


def sent(desk: Desk) -> Bundle:
    """Have a bundle that is marked as sending, and its batch picked."""
    bundle = bundled(desk, 0, 1, 2)
    turn = desk.turn()
    desk.reports.pick(turn)
    assert turn.changes.bundles[bundle.id].state is BundleState.SENDING
    desk.commit(turn)
    desk.reports._batch = None  # as if it had left
    return desk.book.bundles[bundle.id]


def said(taken: tuple[int, ...] = (), refused: tuple[int, ...] = (), left: int = 0, **more: Any) -> RangesReported:
    number = BundleId(1)
    return RangesReported(
        job=NUMBER,
        bundles=(number,),
        taken={number: tuple(name(one) for one in taken)},
        refused={number: tuple(name(one) for one in refused)},
        left={number: left},
        **more,
    )


def test_a_bundle_is_marked_before_it_is_sent_and_settled_when_all_is_taken(desk: Desk) -> None:
    bundle = sent(desk)
    turn = desk.turn()
    desk.reports.reported(said((0, 1, 2)), turn)
    desk.commit(turn)
    assert desk.book.bundles == {}
    assert [one.id for one in desk.settled] == [bundle.id]
    assert desk.database.event_ranges.get(NUMBER, name(0)) == (RangeState.FINISHED, bundle.id, True)
    desk.reports.reported(said((0, 1, 2)), desk.turn())  # late: nothing breaks
    assert len(desk.settled) == 1


def test_only_what_was_not_looked_at_is_sent_again(desk: Desk) -> None:
    bundle = sent(desk)
    turn = desk.turn()
    desk.reports.reported(said((0,), (1,), left=1), turn)
    desk.commit(turn)
    assert desk.book.bundles[bundle.id].state is BundleState.STORED
    assert [one.id for one in desk.database.event_ranges.untold(bundle.id, 10)] == [name(2)]
    assert desk.settled == []


def test_a_lost_answer_leaves_a_bundle_unsure_and_it_is_not_sent_again(desk: Desk) -> None:
    bundle = sent(desk)
    turn = desk.turn()
    desk.reports.unreported(RangesUnreported(bundles=(bundle.id,), unsure=True, error=AnswerLost("500")), turn)
    desk.clock.advance(60.0)
    desk.reports.pick(turn)
    assert not turn.changes.bundles
    assert desk.reports.busy


def test_what_certainly_did_not_arrive_is_sent_again(desk: Desk) -> None:
    bundle = sent(desk)
    turn = desk.turn()
    error = ServerUnreachable("down")
    desk.reports.unreported(RangesUnreported(bundles=(bundle.id,), unsure=False, error=error), turn)
    desk.commit(turn)
    desk.clock.advance(60.0)
    turn = desk.turn()
    desk.reports.pick(turn)
    assert turn.changes.bundles[bundle.id].state is BundleState.SENDING


def test_panda_may_want_a_job_stopped_and_tells_what_was_lost(desk: Desk) -> None:
    sent(desk)
    turn = desk.turn()
    desk.reports.reported(said(refused=(0, 1, 2), stop=True, lost=4, asked=True), turn)
    desk.commit(turn)
    job = desk.mirror.jobs[NUMBER]
    assert (job.state, job.kill_requested, job.ranges_lost) == (JobState.SERVED, "PanDA", 4)
    assert desk.book.bundles == {}


@pytest.mark.parametrize("earlier_first", [True, False])
def test_what_panda_heard_of_an_earlier_attempt_of_a_range_is_not_about_this_one(*, earlier_first: bool) -> None:
    there = {"1-7-2-0-3": True, "1-7-2-0-2": False}
    there = there if earlier_first else dict(reversed(there.items()))
    assert fate([RangeOutcome(id="1-7-2-0-2", state=RangeState.FINISHED)], there) == ((), (), 1)
    assert fate([RangeOutcome(id="1-7-2-0-3", state=RangeState.FAILED)], there) == (("1-7-2-0-3",), (), 0)


def test_a_range_that_is_told_to_be_fatal_is_known_by_another_name_and_one_that_is_gone_by_none() -> None:
    outcomes = [RangeOutcome(id=one, state=RangeState.FATAL) for one in ("1-7-2-0-3", "1-7-2-1-3")]
    assert fate(outcomes, {"1-7-2-0-1": True}) == (("1-7-2-0-3",), ("1-7-2-1-3",), 0)


def test_a_report_has_no_more_ranges_than_the_server_takes(desk: Desk) -> None:
    desk.begin(10, allocation(wanted=10))
    desk.feed()
    turn = desk.turn()
    for number, archive in enumerate((closed(0, 1), closed(2, 3), closed(4, 5, 6, 7, 8), closed(9))):
        desk.bundles.closed(replace(archive, name=f"{number}.tar"), HERE, turn)
    stored = {one.id: replace(one, state=BundleState.STORED) for one in turn.changes.bundles.values()}
    turn.changes.bundles |= stored
    desk.commit(turn)
    desk.reports._limit = 4
    turn = desk.turn()
    desk.reports.pick(turn)
    assert sorted(turn.changes.bundles) == [1, 2]


def test_a_bundle_goes_only_where_its_life_leads(desk: Desk) -> None:
    bundle = bundled(desk, 0)
    with pytest.raises(IllegalTransition):
        desk.bundles.move(bundle, desk.turn(), BundleState.SETTLED)


def test_an_allocation_that_ended_is_looked_through_before_its_ranges_go_on(desk: Desk) -> None:
    desk.begin(6, allocation(wanted=4))
    desk.feed()
    turn = desk.turn()
    turn.changes.allocations[HERE] = replace(allocation(), state=AllocationState.ENDED)
    desk.commit(turn)
    turn = desk.turn()
    turn.changes.allocations[HERE] = replace(allocation(), state=AllocationState.ENDED)
    desk.bundles.look_through(turn)
    assert not desk.hands.holds(("salvage", HERE))  # its end is not committed yet
    turn = desk.turn()
    desk.bundles.look_through(turn)
    assert not turn.changes.released
    assert desk.bundles.busy
    desk.bundles.salvaged(Salvaged(allocation=HERE, records=(closed(0), failed(1)), at=NOW), turn)
    desk.bundles.look_through(turn)
    desk.commit(turn)
    assert desk.states() == {RangeState.READY: 4, RangeState.FINISHED: 1, RangeState.FAILED: 1}
    assert not desk.bundles.busy


def test_a_folder_that_can_never_be_looked_through_holds_no_range_for_good(desk: Desk) -> None:
    desk.begin(2, allocation(wanted=2))
    desk.feed()
    turn = desk.turn()
    turn.changes.allocations[HERE] = replace(allocation(), state=AllocationState.ENDED)
    desk.commit(turn)
    turn = desk.turn()
    for _ in range(SALVAGE_TRIES + 1):
        desk.hands.ended(("salvage", HERE))
        desk.bundles.look_through(turn)
        desk.clock.advance(desk.patience.retry_max_s)
    desk.commit(turn)
    assert desk.states() == {RangeState.READY: 2}


def test_a_folder_that_is_not_there_is_looked_for_again_if_nothing_else_is_there_either(desk: Desk) -> None:
    desk.bundles._salvage_all(HERE)
    assert desk.events.empty()  # the file system is not mounted, say
    desk.folders.allocations.mkdir(parents=True)
    desk.bundles._salvage_all(HERE)
    assert desk.events.get(timeout=60) == Salvaged(allocation=HERE, records=(), at=NOW)


def test_a_book_that_is_opened_again_knows_the_same(desk: Desk) -> None:
    bundled(desk, 0, 1)
    again = RangeBook(desk.database)
    files = again.recover([NUMBER], [HERE])
    assert [(one.number, one.size) for one in files] == [(0, 10)]
    assert again.standing(HERE, NUMBER) == desk.book.standing(HERE, NUMBER)
    assert again.bundles == desk.book.bundles
    assert (again.pace(NUMBER), again.fed_to(HERE)) == (2.0, 8)
    assert again.allocations_with_fed() == {HERE}
    assert again.ended_in(HERE, NUMBER) == 2
