from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue

import pytest

from hpcharvest.clock import ManualClock
from hpcharvest.engine.effects import Hands
from hpcharvest.engine.events import Event, ReportsAnswered, ReportsFailed
from hpcharvest.engine.mirror import Mirror
from hpcharvest.engine.parts import client_of, open_database
from hpcharvest.engine.reports import Reports
from hpcharvest.engine.turn import Turn
from hpcharvest.errors import AnswerLost, ServerUnreachable
from hpcharvest.model.ids import JobId
from hpcharvest.model.job import Job, JobSpec
from hpcharvest.model.report import Report
from hpcharvest.model.states import JobState, ReportState
from hpcharvest.panda.client import UpdateAnswer
from tests import worlds

JOB = JobId(7)
NOW = 1000.0


class Desk:
    """Reports with what is around them; no request ever leaves."""

    def __init__(self, folder: Path) -> None:
        settings = worlds.configuration(folder)
        self.clock = ManualClock(NOW)
        self.mirror = Mirror()
        self.events: SimpleQueue[Event] = SimpleQueue()
        self.hands = Hands(self.events)
        self.database = open_database(settings)
        self.patience = settings.controller.patience
        self.reports = Reports(
            configuration=settings,
            client=client_of(settings),
            hands=self.hands,
            events=self.events,
            clock=self.clock,
        )

    def owe(self, *, final: bool, **more: object) -> Report:
        state = JobState.FINISHED if final else JobState.RUNNING
        spec = JobSpec(panda_id=JOB, attempt_nr=1, transformation="work", job_pars="")
        self.mirror.add(Job(spec=spec, queue="Q", state=state))
        report = Report(job=JOB, serial=1, status=state, final=final, **more)  # type: ignore[arg-type]  # a test's own
        self.mirror.owe(report)
        return report

    def turn(self) -> Turn:
        return Turn(self.mirror, self.database, self.patience, self.clock.wall())

    def wait(self) -> float:
        return self.reports.next_at(self.mirror) - self.clock.steady()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.hands.close()
    made.database.close()


def test_nothing_owed_is_nothing_to_wait_for(desk: Desk) -> None:
    assert desk.wait() == float("inf")


def test_a_report_that_is_owed_is_due_at_once(desk: Desk) -> None:
    desk.owe(final=False)
    assert desk.wait() <= 0


def test_a_report_that_must_wait_does_not_keep_the_loop_awake(desk: Desk) -> None:
    desk.owe(final=True, not_before=NOW + 300)
    assert desk.wait() == pytest.approx(300)
    turn = desk.turn()
    desk.reports.pick(turn)
    assert not turn.changes


def test_a_final_report_is_marked_before_it_is_sent(desk: Desk) -> None:
    desk.owe(final=True)
    turn = desk.turn()
    desk.reports.pick(turn)
    assert turn.changes.reports[JOB].state is ReportState.SENDING


def test_another_report_is_sent_without_a_mark(desk: Desk) -> None:
    desk.owe(final=False)
    turn = desk.turn()
    desk.reports.pick(turn)
    assert not turn.changes.reports


@pytest.mark.parametrize(("unsure", "state"), [(True, ReportState.SENDING), (False, ReportState.OWED)])
def test_after_a_failure_what_may_have_arrived_is_asked_after(desk: Desk, *, unsure: bool, state: ReportState) -> None:
    desk.owe(final=True, state=ReportState.SENDING)
    turn = desk.turn()
    error = AnswerLost() if unsure else ServerUnreachable()
    desk.reports.failed(ReportsFailed(sent=((JOB, 1),), unsure=unsure, error=error), turn)
    report = turn.report(JOB)
    assert report is not None
    assert report.state is state


def test_an_answer_to_an_older_report_settles_no_newer_one(desk: Desk) -> None:
    desk.owe(final=False)
    turn = desk.turn()
    turn.remind(desk.mirror.jobs[JOB])
    desk.reports.answered(ReportsAnswered(sent=((JOB, 1),), answers=[UpdateAnswer(accepted=True)]), turn)
    report = turn.report(JOB)
    assert report is not None
    assert report.serial > 1
    assert (JOB, report.serial) not in turn.changes.settled


def test_a_refusal_is_kept_and_tried_rarely(desk: Desk) -> None:
    desk.owe(final=True, state=ReportState.SENDING)
    turn = desk.turn()
    answer = UpdateAnswer(accepted=False, message="never")
    desk.reports.answered(ReportsAnswered(sent=((JOB, 1),), answers=[answer]), turn)
    report = turn.report(JOB)
    assert report is not None
    assert (report.state, report.problem) == (ReportState.OWED, "never")
    assert report.not_before > NOW


def test_the_servers_wish_to_stop_becomes_a_fact(desk: Desk) -> None:
    desk.owe(final=False)
    turn = desk.turn()
    answer = UpdateAnswer(accepted=True, command="tobekilled")
    desk.mirror.add(Job(spec=desk.mirror.jobs[JOB].spec, queue="Q", state=JobState.QUEUED))
    desk.reports.answered(ReportsAnswered(sent=((JOB, 1),), answers=[answer]), turn)
    assert turn.changes.jobs[JOB].state is JobState.CANCELLED
