"""What the engine does about event ranges, turn by turn; nothing leaves the house but into a folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from hpcharvest.apps.archive import ArchiveTicket
from hpcharvest.apps.folders import Folders
from hpcharvest.clock import ManualClock
from hpcharvest.config.schema import EventRanges as Section
from hpcharvest.config.schema import Payload
from hpcharvest.engine.acquiring import Acquiring
from hpcharvest.engine.bundles import SALVAGE_TRIES, Bundles
from hpcharvest.engine.effects import Hands
from hpcharvest.engine.events import (
    AnswerKept,
    BundleFailed,
    BundleStored,
    Event,
    Fetched,
    RangesCounted,
    RangesFetchFailed,
    RangesReported,
    RangesUnreported,
    Salvaged,
)
from hpcharvest.engine.feeding import AT_ONCE, Feeding
from hpcharvest.engine.mirror import Mirror
from hpcharvest.engine.parts import client_of, open_database
from hpcharvest.engine.range_book import RangeBook
from hpcharvest.engine.range_reports import RangeReports
from hpcharvest.engine.turn import Turn
from hpcharvest.errors import AnswerLost, IllegalTransition, ServerUnreachable
from hpcharvest.messenger.mailbox import Mailbox
from hpcharvest.messenger.protocol import Record
from hpcharvest.messenger.ranges import FEED, ArchiveClosed, RangeDone, RangeFailed, RangesFailed
from hpcharvest.model.allocation import Allocation
from hpcharvest.model.event_range import Bundle, EventRange
from hpcharvest.model.ids import AllocationId, Attempt, BundleId, JobId
from hpcharvest.model.job import Job, JobSpec
from hpcharvest.model.shape import Shape
from hpcharvest.model.states import AllocationState, BundleState, JobState, RangeState
from hpcharvest.sandbox.world import QUEUE
from hpcharvest.store.changes import Answer, Changes, NewRanges
from tests import worlds

NUMBER, HERE, THERE = JobId(7), AllocationId(1), AllocationId(2)
NOW = 1000.0
SPEC = JobSpec(panda_id=NUMBER, attempt_nr=1, transformation="x", job_pars="", event_service=True, task_id=1)


class Desk:
    """Those who care for ranges, with what is around them."""

    def __init__(self, folder: Path) -> None:
        payload = Payload(transformation_dir=folder, event_ranges=Section(cores=4))
        settings = worlds.configuration(folder, queue={"payload": payload})
        self.clock = ManualClock(NOW)
        self.mirror = Mirror()
        self.events: SimpleQueue[Event] = SimpleQueue()
        self.hands = Hands(self.events)
        self.database = open_database(settings)
        self.patience = settings.controller.patience
        self.folders = Folders(folder / "work")
        self.started: list[ArchiveTicket] = []
        self.salvage: tuple[Record, ...] = ()
        self.settled: list[Bundle] = []
        self.book = RangeBook(self.database)
        common: dict[str, Any] = {
            "configuration": settings,
            "hands": self.hands,
            "events": self.events,
            "clock": self.clock,
        }
        client = client_of(settings)
        kept: dict[str, Any] = {"database": self.database, "book": self.book}
        self.acquiring = Acquiring(client=client, **common)
        self.feeding = Feeding(folders=self.folders, **kept, **common)
        self.bundles = Bundles(
            folders=self.folders,
            start=self.started.append,
            salvage=lambda _folder, _archives, _ranges: self.salvage,
            **kept,
            **common,
        )
        self.reports = RangeReports(client=client, bundles=self.bundles, settled=self.settled.append, **kept, **common)

    def turn(self) -> Turn:
        return Turn(self.mirror, self.database, self.patience, self.clock.wall())

    def commit(self, turn: Turn) -> None:
        self.database.commit(turn.changes)
        self.mirror.follow(turn.changes)
        self.book.follow(turn.changes)

    def begin(self, ranges: int = 10, *allocations: Allocation) -> Job:
        """Have a job that is served, with so many ranges, and these allocations."""
        turn = self.turn()
        job = Job(spec=SPEC, queue=QUEUE, state=JobState.SERVED, attempt=Attempt(1))
        turn.changes.new_jobs[NUMBER] = job
        turn.changes.allocations |= {one.id: one for one in allocations}
        self.commit(turn)
        turn = self.turn()
        turn.changes.new_ranges.append(NewRanges(job=NUMBER, ranges=tuple(a_range(one) for one in range(ranges))))
        self.commit(turn)
        return job

    def feed(self, *, more: bool = True) -> Changes:
        turn = self.turn()
        self.feeding.feed(self.mirror.served[NUMBER], turn, more=more)
        self.commit(turn)
        return turn.changes

    def states(self) -> dict[RangeState, int]:
        return {state: found for state in RangeState if (found := self.book.number(NUMBER, state))}


def a_range(number: int) -> EventRange:
    return EventRange(id=name(number), start=number, last=number, lfn="in")


def name(number: int) -> str:
    return f"1-7-2-{number}-3"


def allocation(
    number: AllocationId = HERE, state: AllocationState = AllocationState.RUNNING, *, wanted: int = 0, nodes: int = 1
) -> Allocation:
    return Allocation(
        id=number,
        queue=QUEUE,
        shape=Shape(nodes=nodes, walltime_s=600),
        tag=f"t{number}",
        state=state,
        event_jobs=((NUMBER, Attempt(1)),),
        wanted=((NUMBER, wanted),),
    )


def closed(*numbers: int, archive: str = "a.tar") -> ArchiveClosed:
    ranges = tuple(RangeDone(id=name(one), wall_s=2.0) for one in numbers)
    return ArchiveClosed(at=NOW, job=NUMBER, name=archive, size=9, adler32="00000009", ranges=ranges)


def failed(*numbers: int) -> RangesFailed:
    ranges = tuple(RangeFailed(id=name(one), error="it broke", node="n1", fatal=one > 5) for one in numbers)
    return RangesFailed(at=NOW, job=NUMBER, ranges=ranges)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.hands.close()
    made.database.close()


def test_an_allocation_that_runs_is_fed_one_range_for_each_slot_before_it_asks(desk: Desk) -> None:
    desk.begin(10, allocation(), allocation(THERE, AllocationState.SUBMITTED))
    (one,) = desk.feed().feeds
    assert (one.allocation, one.number, one.first, one.size, one.last) == (HERE, 0, 0, 2, False)
    assert desk.states() == {RangeState.READY: 8, RangeState.FED: 2}
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
    desk.mirror.allocations.clear()  # over, and the database does not know it
    turn = desk.turn()
    turn.changes.allocations[HERE] = replace(allocation(), state=AllocationState.ENDED)
    for _ in range(SALVAGE_TRIES + 1):
        desk.hands.ended(("salvage", HERE))
        desk.bundles.look_through(turn)
        desk.clock.advance(60.0)
    desk.commit(turn)
    assert desk.states() == {RangeState.READY: 2}


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
