"""What becomes of event-service jobs as a whole, turn by turn: served, stopped, given up, ended."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hpcharvest.engine.events import BundleStored, Fetched, RangesUnasked, Salvaged
from hpcharvest.engine.range_reports import ASK
from hpcharvest.engine.turn import Turn
from hpcharvest.messenger.mailbox import Mailbox
from hpcharvest.model import facts
from hpcharvest.model.event_range import Bundle
from hpcharvest.model.ids import Attempt, BundleId, JobId
from hpcharvest.model.states import AllocationState, BundleState, JobState, RangeState
from hpcharvest.sandbox.world import QUEUE
from hpcharvest.store.changes import NewRanges
from tests.services.range_desk import HERE, NOW, NUMBER, THERE, Desk, a_range, allocation, closed

OTHER = JobId(8)
FIRST = BundleId(1)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.hands.close()
    made.database.close()


def decided(desk: Desk) -> Turn:
    """Have a turn of the loop, as far as ranges are concerned; PanDA is not asked for any."""
    turn = desk.turn()
    desk.care.decide(turn)
    desk.commit(turn)
    return turn


def killed(desk: Desk) -> None:
    turn = desk.turn()
    turn.tell(facts.KillAsked(job=NUMBER, by="ann", at=NOW))
    desk.commit(turn)


def archived(desk: Desk, *, stored: bool = False) -> Bundle:
    """Have a job with two ranges, both of them finished and in an archive."""
    desk.begin(2, allocation(wanted=2))
    desk.feed()
    turn = desk.turn()
    desk.care.take(closed(0, 1), HERE, NOW, turn)
    desk.commit(turn)
    if stored:
        turn = desk.turn()
        desk.bundles.stored(BundleStored(bundle=FIRST, url="file:///x"), turn)
        desk.commit(turn)
    return desk.book.bundles[FIRST]


def changed(desk: Desk, **changes: object) -> None:
    """Have the job otherwise."""
    turn = desk.turn()
    turn.changes.jobs[NUMBER] = replace(desk.mirror.served[NUMBER], **changes)  # type: ignore[arg-type]  # replace checks the names
    desk.commit(turn)


def test_an_allocation_that_starts_as_its_job_is_stopped_is_told_so_all_the_same(desk: Desk) -> None:
    desk.begin(0, allocation(), allocation(THERE, AllocationState.SUBMITTED))
    mailboxes = [Mailbox(desk.folders.allocation(one)) for one in (HERE, THERE)]
    for one in mailboxes:
        (one.folder / "kill").mkdir(parents=True)
    killed(desk)
    decided(desk)
    assert NUMBER not in desk.mirror.served
    turn = desk.turn()
    turn.changes.allocations[THERE] = replace(allocation(THERE))
    desk.commit(turn)
    desk.care.act(desk.turn())
    for _ in mailboxes:
        desk.events.get(timeout=60)
    assert [len(one.kill_notes()) for one in mailboxes] == [1, 1]


def test_what_was_finished_before_patience_ended_is_brought_away_and_told(desk: Desk) -> None:
    archived(desk)
    changed(desk, infrastructure_losses=1000, error="lost")
    decided(desk)
    assert desk.book.bundles[FIRST].state is BundleState.CLOSED
    assert desk.mirror.served[NUMBER].state is JobState.SERVED
    turn = desk.turn()
    desk.bundles.stored(BundleStored(bundle=FIRST, url="file:///x"), turn)
    desk.commit(turn)
    decided(desk)
    assert desk.book.bundles[FIRST].state is BundleState.SENDING


def test_who_kills_a_job_gives_its_archives_up_that_are_not_away(desk: Desk) -> None:
    archived(desk)
    killed(desk)
    decided(desk)
    assert desk.book.bundles == {}
    decided(desk)
    assert desk.mirror.jobs[NUMBER].state is JobState.CANCELLED


def test_a_job_whose_queue_is_configured_no_more_can_be_killed_whatever_is_to_be_told(desk: Desk) -> None:
    archived(desk, stored=True)
    changed(desk, queue="GONE")
    decided(desk)
    assert desk.book.bundles[FIRST].state is BundleState.STORED  # until the queue is back
    killed(desk)
    decided(desk)
    decided(desk)
    assert desk.mirror.jobs[NUMBER].state is JobState.CANCELLED


def test_a_job_ends_however_much_happens_to_others_at_the_time(desk: Desk) -> None:
    desk.begin(0)
    desk.acquiring.fetched(Fetched(queue=QUEUE, at=NOW, body=None, job=NUMBER))
    turn = desk.turn()
    turn.changes.new_ranges.append(NewRanges(job=OTHER, ranges=(a_range(1),)))
    desk.care.decide(turn)
    desk.commit(turn)
    assert desk.mirror.jobs[NUMBER].state is JobState.RAN


def test_an_archive_that_is_closed_shows_that_allocations_are_of_use(desk: Desk) -> None:
    desk.begin(2, allocation(wanted=2))
    desk.feed()
    changed(desk, infrastructure_losses=5, refusals=7, not_before=NOW + 60, error="lost")
    turn = desk.turn()
    desk.care.take(closed(0), HERE, NOW, turn)
    desk.commit(turn)
    job = desk.mirror.served[NUMBER]
    assert (job.infrastructure_losses, job.refusals, job.not_before, job.error) == (0, 0, 0.0, "")


def test_what_is_salvaged_of_one_job_is_no_second_loss_of_another(desk: Desk) -> None:
    job = desk.begin(2, allocation(wanted=2))
    turn = desk.turn()
    other = replace(job, spec=replace(job.spec, panda_id=OTHER))
    both = replace(allocation(wanted=2), event_jobs=((NUMBER, Attempt(1)), (OTHER, Attempt(1))))
    turn.changes.new_jobs[OTHER] = other
    turn.changes.allocations[HERE] = both
    desk.commit(turn)
    desk.feed()
    turn = desk.turn()
    turn.changes.allocations[HERE] = replace(both, state=AllocationState.ENDED)
    desk.commit(turn)
    turn = desk.turn()
    desk.care.handlers()[Salvaged](Salvaged(allocation=HERE, records=(closed(0),), at=NOW), turn)
    desk.commit(turn)
    assert desk.states() == {RangeState.READY: 1, RangeState.FINISHED: 1}
    assert desk.mirror.served[OTHER] is other


def planned(desk: Desk) -> list[JobId]:
    """Say for which jobs allocations would be asked for."""
    return [job for plan in desk.care.plans(QUEUE, desk.settings.queues[QUEUE], 0, desk.turn()) for job in plan.jobs]


def test_what_an_allocation_cannot_be_fed_does_not_wait_for_it(desk: Desk) -> None:
    job = desk.begin(2, allocation(wanted=2))
    turn = desk.turn()
    turn.changes.new_jobs[OTHER] = replace(job, spec=replace(job.spec, panda_id=OTHER))
    desk.commit(turn)
    assert planned(desk) == []
    turn = desk.turn()
    turn.changes.new_ranges.append(NewRanges(job=OTHER, ranges=(a_range(1),)))
    desk.commit(turn)
    assert planned(desk) == [OTHER]  # the one allocation has room for it, but does not know of this job


def test_what_comes_back_does_not_wait_for_an_allocation_that_has_its_last(desk: Desk) -> None:
    desk.begin(2, allocation(wanted=2))
    desk.feed(more=False)
    assert desk.book.standing(HERE, NUMBER).last
    turn = desk.turn()
    turn.changes.new_ranges.append(NewRanges(job=NUMBER, ranges=(a_range(7),)))
    desk.commit(turn)
    assert planned(desk) == [NUMBER]


def test_a_question_that_is_never_answered_keeps_none_about_another_job_waiting(desk: Desk) -> None:
    job = desk.begin(0)
    turn = desk.turn()
    turn.changes.new_jobs[OTHER] = replace(job, spec=replace(job.spec, panda_id=OTHER))
    desk.commit(turn)
    asked = []
    for _ in range(4):
        desk.clock.advance(60.0)
        desk.reports.settle(desk.turn(), {NUMBER, OTHER}, lambda _: False)
        while not isinstance(event := desk.events.get(timeout=60), RangesUnasked):
            desk.hands.ended(ASK)
        desk.hands.ended(ASK)
        desk.reports.unasked(event)
        asked.append(event.job)
    assert set(asked) == {NUMBER, OTHER}
