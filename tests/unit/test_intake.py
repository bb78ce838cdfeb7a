from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from hpcharvest.clock import ManualClock
from hpcharvest.engine.effects import Hands
from hpcharvest.engine.events import AnswerKept, Event, Fetched
from hpcharvest.engine.intake import Intake
from hpcharvest.engine.mirror import Mirror
from hpcharvest.engine.parts import client_of, open_database
from hpcharvest.engine.turn import Turn
from hpcharvest.model.states import JobState
from hpcharvest.sandbox.jobs import make_job
from hpcharvest.sandbox.world import QUEUE
from hpcharvest.store.changes import Answer
from tests import worlds


class Desk:
    """An intake with what is around it; no request ever leaves."""

    def __init__(self, folder: Path, max_jobs: int = 20) -> None:
        settings = worlds.configuration(folder, queue={"max_jobs": max_jobs, "fetch_chunk": 10})
        self.clock = ManualClock(1000.0)
        self.mirror = Mirror()
        self.database = open_database(settings)
        self.patience = settings.controller.patience
        events: SimpleQueue[Event] = SimpleQueue()
        self.hands = Hands(events)
        self.intake = Intake(
            configuration=settings,
            client=client_of(settings),
            database=self.database,
            hands=self.hands,
            events=events,
            clock=self.clock,
        )
        self._serial = 0

    def turn(self) -> Turn:
        return Turn(self.mirror, self.database, self.patience, self.clock.wall())

    def parse(self, jobs: Sequence[dict[str, Any]], turn: Turn, queue: str = QUEUE) -> None:
        self._serial += 1
        body = json.dumps({"success": True, "message": "", "data": {"jobs": list(jobs)}}).encode()
        self.intake.parse(AnswerKept(answer=Answer(id=self._serial, queue=queue, at=999.0, body=body)), turn)

    def commit(self, turn: Turn) -> None:
        self.database.commit(turn.changes)
        self.mirror.follow(turn.changes)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.hands.close()
    made.database.close()


def job(number: int, **more: Any) -> dict[str, Any]:
    made = make_job(number, site=QUEUE, transformation="work", job_pars="", max_walltime=60, **more)
    return {key: value for key, value in made.items() if key != "computingSite"}


def test_an_answer_is_kept_before_anything_else(desk: Desk) -> None:
    turn = desk.turn()
    desk.intake.keep(Fetched(queue=QUEUE, at=999.0, body=b"whatever it is"), turn)
    desk.intake.keep(Fetched(queue=QUEUE, at=999.0, body=None), turn)
    assert [one.body for one in turn.changes.answers] == [b"whatever it is"]


def test_good_and_bad_jobs_of_one_answer_are_taken_in(desk: Desk) -> None:
    turn = desk.turn()
    bad = job(2)
    del bad["jobPars"]
    desk.parse([job(1), bad, job(3), {"no": "job"}], turn)
    found = {one.id: one.state for one in turn.changes.new_jobs.values()}
    assert found == {1: JobState.RECEIVED, 2: JobState.FAILED, 3: JobState.RECEIVED}
    assert {one.job for one in turn.changes.reports.values()} == {1, 2, 3}
    assert turn.changes.answers_read == [1]


def test_the_log_says_which_jobs_can_never_run_and_how_many(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    desk.parse([job(1), job(2, core_count=10_000)], desk.turn())
    assert "job 2 fails at once: job 2 cannot run at" in caplog.text
    assert f"answer 1 for {QUEUE}: 2 jobs, 1 refused" in caplog.text


def test_an_answer_that_is_no_answer_is_left_and_harms_nobody(desk: Desk) -> None:
    turn = desk.turn()
    answer = Answer(id=5, queue=QUEUE, at=0.0, body=b"<html>")
    desk.intake.parse(AnswerKept(answer=answer), turn)
    assert not turn.changes.new_jobs
    assert turn.changes.answers_read == [5]


def test_a_job_that_was_handed_out_again_is_not_taken_in_again(desk: Desk) -> None:
    turn = desk.turn()
    desk.parse([job(1), job(2)], turn)
    desk.parse([job(2), job(3)], turn)  # in the same turn
    assert set(turn.changes.new_jobs) == {1, 2, 3}
    desk.commit(turn)
    later = desk.turn()
    desk.parse([job(1), job(3)], later)
    assert not later.changes.new_jobs


def test_another_attempt_of_a_job_that_is_over_is_a_new_life(desk: Desk) -> None:
    turn = desk.turn()
    bad = job(1) | {"transformation": "not/plain"}
    desk.parse([bad], turn)
    desk.commit(turn)
    later = desk.turn()
    desk.parse([job(1, attempt_nr=2)], later)
    assert later.changes.new_jobs[1].state is JobState.RECEIVED  # type: ignore[index]  # a plain number is one


def test_answers_of_one_turn_are_counted_once(desk: Desk) -> None:
    """Twenty may be held; twice six leave room for eight, and that is still asked for."""
    turn = desk.turn()
    desk.parse([job(number) for number in range(1, 7)], turn)
    desk.parse([job(number) for number in range(11, 17)], turn)
    assert desk.intake.next_at() < float("inf")
    desk.parse([job(21)], turn)
    assert desk.intake.next_at() == float("inf")  # seven are too few to ask for
    desk.intake.finished(QUEUE)
    assert desk.intake.next_at() < float("inf")


def test_jobs_of_a_queue_that_is_gone_fail_with_that_reason(desk: Desk) -> None:
    turn = desk.turn()
    desk.parse([job(1)], turn, queue="GONE")
    (one,) = turn.changes.new_jobs.values()
    assert (one.state, one.error) == (JobState.FAILED, "the queue GONE is configured no more")


def test_who_stops_asks_no_more(desk: Desk) -> None:
    desk.intake.stopped = True
    desk.intake.ask()
    assert not desk.hands.busy
    assert desk.intake.next_at() == float("inf")
