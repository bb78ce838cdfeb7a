"""What the engine does about event ranges, turn by turn: asked for, fed, archived; nothing leaves but into a folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hpcharvest.engine.events import (
    AnswerKept,
    Fetched,
    RangesCounted,
    RangesFetchFailed,
)
from hpcharvest.engine.feeding import AT_ONCE
from hpcharvest.errors import AnswerLost
from hpcharvest.messenger.mailbox import Mailbox
from hpcharvest.messenger.ranges import FEED
from hpcharvest.model.ids import Attempt
from hpcharvest.model.states import AllocationState, BundleState, RangeState
from hpcharvest.sandbox.world import QUEUE
from hpcharvest.store.changes import Answer
from tests.services.range_desk import HERE, NOW, NUMBER, THERE, Desk, allocation, closed, failed, name


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.hands.close()
    made.database.close()


def test_an_allocation_that_runs_is_fed_for_its_first_minute_before_it_asks(desk: Desk) -> None:
    desk.begin(10, allocation(), allocation(THERE, AllocationState.SUBMITTED))
    (one,) = desk.feed().feeds
    assert (one.allocation, one.number, one.first, one.size, one.last) == (HERE, 0, 0, 4, False)
    assert desk.states() == {RangeState.READY: 6, RangeState.FED: 4}
    assert desk.feed().feeds == []


def test_one_that_asks_gets_no_more_than_there_is(desk: Desk) -> None:
    desk.begin(10, allocation(wanted=7), allocation(THERE, wanted=7))
    assert [(one.allocation, one.size) for one in desk.feed().feeds] == [(HERE, 7), (THERE, 3)]
    assert desk.feeding.need(desk.mirror.served[NUMBER], desk.mirror.allocations.values()) == 4


def test_many_ranges_go_in_several_files(desk: Desk) -> None:
    desk.begin(AT_ONCE + 3, allocation(wanted=2 * AT_ONCE))
    feeds = desk.feed(more=False).feeds
    assert [(one.number, one.first, one.size, one.last) for one in feeds] == [
        (0, 0, AT_ONCE, False),
        (1, AT_ONCE, 3, True),
    ]
    assert desk.feed(more=False).feeds == []


def test_the_last_file_is_written_once_and_only_when_nothing_may_follow(desk: Desk) -> None:
    desk.begin(0, allocation(wanted=5))
    assert desk.feed(more=True).feeds == []
    (one,) = desk.feed(more=False).feeds
    assert (one.size, one.last) == (0, True)
    assert desk.feed(more=False).feeds == []
    assert desk.feeding.need(desk.mirror.served[NUMBER], desk.mirror.allocations.values()) == 0


def test_a_file_of_the_feed_is_written_as_it_was_committed_and_never_again(desk: Desk) -> None:
    desk.begin(4, allocation(wanted=4))
    turn = desk.turn()
    desk.feeding.feed(desk.mirror.served[NUMBER], turn, more=False)
    desk.commit(turn)
    mailbox = Mailbox(desk.folders.allocation(HERE))
    (mailbox.folder / FEED).mkdir(parents=True)
    desk.feeding.write(turn)
    desk.hands.close()
    feed = mailbox.read_feed(NUMBER, 0)
    assert feed is not None
    assert ([one.id for one in feed.ranges], feed.last) == ([name(one) for one in range(4)], True)
    path = next((mailbox.folder / FEED).glob("*.json"))
    path.write_text("somebody has read this")
    desk.feeding._write((HERE, NUMBER, 0))
    assert path.read_text() == "somebody has read this"


def test_an_archive_becomes_a_bundle_once(desk: Desk) -> None:
    desk.begin(10, allocation(wanted=6))
    desk.feed()
    for _ in range(2):
        turn = desk.turn()
        desk.bundles.closed(closed(0, 1), HERE, turn)
        desk.bundles.closed(closed(0, 1), HERE, turn)
        desk.commit(turn)
    (bundle,) = desk.book.bundles.values()
    assert (bundle.state, bundle.ranges, bundle.wall_s) == (BundleState.CLOSED, 2, 4.0)
    assert desk.states() == {RangeState.READY: 4, RangeState.FED: 4, RangeState.FINISHED: 2}
    assert desk.book.pace(NUMBER) == 2.0


def test_failures_are_told_of_at_once_and_some_for_good(desk: Desk) -> None:
    desk.begin(10, allocation(wanted=8))
    desk.feed()
    turn = desk.turn()
    desk.bundles.failed(failed(5, 6), HERE, turn)
    desk.commit(turn)
    (bundle,) = desk.book.bundles.values()
    assert (bundle.state, bundle.archive) == (BundleState.STORED, "")
    assert desk.states() == {RangeState.READY: 2, RangeState.FED: 6, RangeState.FAILED: 1, RangeState.FATAL: 1}
    assert desk.book.pace(NUMBER) == 0.0


@pytest.mark.parametrize("odd", ["../a.tar", "", "..", "a/b"])
def test_an_archive_whose_name_leads_elsewhere_is_left_alone(desk: Desk, odd: str) -> None:
    desk.begin(2, allocation(wanted=2))
    desk.feed()
    turn = desk.turn()
    desk.bundles.closed(closed(0, archive=odd), HERE, turn)
    assert not turn.changes


def test_what_an_allocation_says_of_a_job_that_is_not_its_own_counts_nothing(desk: Desk) -> None:
    job = desk.begin(2, allocation(wanted=2))
    desk.feed()
    turn = desk.turn()
    turn.changes.jobs[NUMBER] = replace(job, attempt=Attempt(2))
    desk.bundles.closed(closed(0), HERE, turn)
    desk.bundles.failed(failed(1), HERE, turn)
    assert not turn.changes.outcomes


def answer(*numbers: int) -> AnswerKept:
    rows = ", ".join(
        f'{{"eventRangeID": "{name(one)}", "startEvent": 1, "lastEvent": 1, "LFN": "in", "GUID": "", "scope": "s"}}'
        for one in numbers
    )
    body = f'{{"success": true, "message": "", "data": [{rows}]}}'.encode()
    return AnswerKept(answer=Answer(id=1, queue=QUEUE, at=NOW, body=body, job=NUMBER))


def test_an_answer_is_read_once_it_is_durable_and_until_then_nothing_more_is_asked_for(desk: Desk) -> None:
    desk.begin(0)
    desk.acquiring.fetched(Fetched(queue=QUEUE, at=NOW, body=b"[", job=NUMBER))
    assert desk.acquiring.busy(NUMBER)
    assert not desk.acquiring.due(NUMBER, 5, desk.book)
    turn = desk.turn()
    desk.acquiring.parse(answer(1, 2), turn)
    desk.commit(turn)
    assert desk.states() == {RangeState.READY: 2}
    assert desk.acquiring.due(NUMBER, 5, desk.book)
    assert not desk.acquiring.due(NUMBER, 2, desk.book)


def test_an_empty_answer_means_that_there_are_no_more(desk: Desk) -> None:
    desk.begin(0)
    assert desk.acquiring.available(NUMBER) is None
    desk.acquiring.counted(RangesCounted(job=NUMBER, number=0))
    assert desk.acquiring.due(NUMBER, 0, desk.book)  # to be sure
    desk.acquiring.fetched(Fetched(queue=QUEUE, at=NOW, body=None, job=NUMBER))
    assert desk.acquiring.exhausted(NUMBER)
    assert desk.acquiring.available(NUMBER) == 0
    assert not desk.acquiring.due(NUMBER, 0, desk.book)


@pytest.mark.parametrize("unsure", [True, False])
def test_only_a_lost_answer_may_have_taken_ranges_with_it(desk: Desk, *, unsure: bool) -> None:
    desk.begin(0)
    desk.acquiring.failed(RangesFetchFailed(job=NUMBER, unsure=unsure, error=AnswerLost("torn")))
    assert (NUMBER in desk.acquiring.unsure) is unsure
    assert not desk.acquiring.due(NUMBER, 5, desk.book)  # not at once


def test_an_answer_that_is_none_is_kept_and_asked_after(desk: Desk) -> None:
    desk.begin(0)
    turn = desk.turn()
    kept = AnswerKept(answer=Answer(id=9, queue=QUEUE, at=NOW, body=b"<html>", job=NUMBER))
    desk.acquiring.parse(kept, turn)
    assert turn.changes.answers_read == [9]
    assert desk.acquiring.unsure == {NUMBER}
