"""Merging on site, turn by turn: what is planned, begun once, tried again, and when nothing is left to merge."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue

import pytest

from hpcharvest.clock import ManualClock
from hpcharvest.config.schema import EventRanges, Payload
from hpcharvest.engine.effects import Hands
from hpcharvest.engine.events import EffectEnded, Event, MergesPlanned
from hpcharvest.engine.merging import TRIES, Merged, Merging
from hpcharvest.engine.mirror import Mirror
from hpcharvest.engine.parts import open_database
from hpcharvest.engine.turn import Turn
from hpcharvest.model.event_range import Bundle, EventRange, RangeOutcome
from hpcharvest.model.ids import AllocationId, Attempt, BundleId, JobId
from hpcharvest.model.job import InputFile, Job, JobSpec, MergeStep, OutputFile, StoredFile
from hpcharvest.model.states import BundleState, JobState, RangeState
from hpcharvest.sandbox.world import QUEUE
from hpcharvest.store.changes import Changes, Fed, NewRanges, Outcomes
from tests import worlds

NUMBER, HERE = JobId(7), AllocationId(1)
STEP = MergeStep(transformation="merge", job_pars="", per_output=2, per_input=4)
SPEC = JobSpec(
    panda_id=NUMBER,
    attempt_nr=1,
    transformation="x",
    job_pars="",
    event_service=True,
    inputs=(InputFile(lfn="in", scope="s"),),
    outputs=(OutputFile(lfn="HITS", scope="s"),),
    merge=STEP,
)


class Desk:
    """Who merges, with what is around it, and a job of four ranges that goes into two outputs."""

    def __init__(self, folder: Path) -> None:
        payload = Payload(transformation_dir=folder, event_ranges=EventRanges(merge=True))
        self.settings = worlds.configuration(folder, queue={"payload": payload})
        self.clock = ManualClock(1000.0)
        self.mirror = Mirror()
        self.database = open_database(self.settings)
        self.events: SimpleQueue[Event] = SimpleQueue()
        self.hands = Hands(self.events)
        self.merging = self.another()
        self.job = Job(spec=SPEC, queue=QUEUE, state=JobState.SERVED, attempt=Attempt(1))
        ranges = tuple(EventRange(id=str(number), start=number, last=number, lfn="in") for number in range(1, 5))
        self.commit(Changes(new_jobs={NUMBER: self.job}))
        self.commit(Changes(new_ranges=[NewRanges(job=NUMBER, ranges=ranges)]))
        self.commit(Changes(feeds=[Fed(job=NUMBER, allocation=HERE, number=0, first=0, size=4)]))

    def another(self) -> Merging:
        return Merging(
            configuration=self.settings,
            database=self.database,
            hands=self.hands,
            events=self.events,
            clock=self.clock,
        )

    def turn(self) -> Turn:
        return Turn(self.mirror, self.database, self.settings.controller.patience, self.clock.wall())

    def commit(self, changes: Changes) -> None:
        self.database.commit(changes)
        self.mirror.follow(changes)
        self.merging.follow(changes)

    def store(self, *numbers: int) -> None:
        """Have ranges in an archive of their own, at its destination."""
        number = BundleId(self.database.bundles.last_id() + 1)
        bundle = Bundle(
            id=number,
            job=NUMBER,
            allocation=HERE,
            archive=f"{number}.tar",
            size=1,
            adler32="00000001",
            state=BundleState.STORED,
        )
        outcomes = tuple(RangeOutcome(id=str(one), state=RangeState.FINISHED) for one in numbers)
        told = Outcomes(job=NUMBER, allocation=HERE, bundle=number, outcomes=outcomes)
        self.commit(Changes(bundles={number: bundle}, outcomes=[told]))

    def look(self, *, over: bool = False) -> tuple[Merged | None, list[Job]]:
        """Look, and if something is planned, again in that very turn; give what that said, and which jobs are new."""
        self.clock.advance(1000.0)
        found, turn = self.merging.look(self.job, self.turn(), over=over), self.turn()
        while found is None and not isinstance(event := self.events.get(timeout=30), EffectEnded):
            assert isinstance(event, MergesPlanned)
            self.merging.planned(event, turn)
        self.hands.ended(("merge", NUMBER))
        found = found or self.merging.look(self.job, turn, over=over)
        new = list(turn.changes.new_jobs.values())
        self.commit(turn.changes)
        return found, new

    def end(self, job: Job, state: JobState) -> None:
        stored = (StoredFile(lfn=job.spec.outputs[0].lfn, size=1, adler32="00000001"),)
        ended = replace(job, state=state, stored=stored if state is JobState.FINISHED else ())
        self.commit(Changes(jobs={job.id: ended}))


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.hands.close()
    made.database.close()


def test_what_is_whole_is_merged_at_once_and_nothing_twice(desk: Desk) -> None:
    desk.store(1, 3)
    assert desk.look() == (None, [])
    desk.store(2)
    found, (one,) = desk.look()
    assert found is None
    assert (one.spec.outputs[0].lfn, one.spec.lists[0].names) == ("HITS._000001", ("HITS.1", "HITS.2"))
    assert [file.lfn for file in one.spec.inputs] == ["1.tar", "2.tar"]
    assert desk.mirror.reports.keys() == set()  # PanDA hears nothing of it
    assert desk.look()[1] == []


def test_nothing_is_over_in_the_turn_in_which_a_merge_begins(desk: Desk) -> None:
    desk.store(1, 2, 3, 4)
    found, new = desk.look(over=True)
    assert (found, len(new)) == (None, 2)
    for one in new:
        desk.end(one, JobState.FINISHED)
    merged = desk.merging.look(desk.job, desk.turn(), over=True)
    assert merged is not None
    assert ([one.lfn for one in merged.stored], merged.failed) == (["HITS._000001", "HITS._000002"], 0)
    assert merged.words == "; 2 of 2 outputs merged"
    assert desk.mirror.jobs.keys() == {NUMBER}


def test_what_fails_is_tried_again_and_given_up_alone(desk: Desk) -> None:
    desk.store(1, 2, 3, 4)
    first, *others = desk.look(over=True)[1]
    for one in others:
        desk.end(one, JobState.FINISHED)
    for _ in range(TRIES - 1):
        desk.end(first, JobState.FAILED)
        found, (first,) = desk.look(over=True)
        assert found is None
    desk.end(first, JobState.FAILED)
    merged, new = desk.look(over=True)
    assert new == []
    assert merged is not None
    assert ([one.lfn for one in merged.stored], merged.failed) == (["HITS._000002"], 1)


def test_what_will_never_be_whole_is_not_waited_for(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    desk.store(1, 2, 3)
    (one,) = desk.look(over=True)[1]
    assert "HITS._000002 is not made: 1 of its events are not there" in caplog.text
    desk.end(one, JobState.FINISHED)
    merged = desk.merging.look(desk.job, desk.turn(), over=True)
    assert merged is not None
    assert merged.words == "; 1 of 2 outputs merged"


def test_another_process_goes_on_where_one_ended(desk: Desk) -> None:
    desk.store(1, 2)
    (one,) = desk.look()[1]
    desk.merging = desk.another()
    desk.merging.recover({NUMBER})
    desk.store(3, 4)
    (other,) = desk.look()[1]
    assert other.id == one.id + 1
    assert other.spec.outputs[0].lfn == "HITS._000002"


def test_a_job_that_is_stopped_takes_its_merges_with_it(desk: Desk) -> None:
    desk.store(1, 2)
    (one,) = desk.look()[1]
    turn = desk.turn()
    desk.merging.give_up(desk.job, turn)
    assert turn.changes.jobs[one.id].state is JobState.CANCELLED
    desk.commit(turn.changes)
    again = desk.turn()
    desk.merging.give_up(desk.job, again)
    assert not again.changes
