"""Jobs that somebody wants stopped, and other requests, put while a controller runs or while none does."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from hpcharvest.model.ids import AllocationId, JobId
from hpcharvest.model.request import Verb
from hpcharvest.model.states import AllocationOutcome, JobState, RequestState
from hpcharvest.sandbox.world import Recipe, World
from tests import worlds
from tests.worlds import Controller

TALKATIVE = Recipe(panda={"heartbeat_interval_s": 1.0})
"""PanDA hears of every job each second, and so can say that it wants no more of it."""


def ask(inside: World, verb: Verb, subject: int) -> int:
    with worlds.database(inside) as opened:
        return opened.inbox.add(verb, subject, "a test", time.time())


def until_answered(inside: World, number: int) -> str:
    with worlds.database(inside) as opened:

        def answered() -> bool:
            request = opened.inbox.get(number)
            return request is not None and request.state is not RequestState.NEW

        worlds.eventually(answered, "the request is answered")
        request = opened.inbox.get(number)
        assert request is not None
        return f"{request.state}: {request.answer}"


def record(inside: World, number: int) -> JobState:
    with worlds.database(inside) as opened:
        job = opened.jobs.get(JobId(number))
    return job.state if job else JobState.RECEIVED


def test_panda_stops_running_jobs(tmp_path: Path) -> None:
    with worlds.world(tmp_path, TALKATIVE) as inside, Controller(inside):
        long, short = worlds.submit(inside, [worlds.job("sleep 60 write {out}"), worlds.copying_job(inside, seconds=5)])
        worlds.eventually(lambda: len(worlds.tally(inside, "start")) == 2, "both payloads run")
        worlds.kill(inside, [long])
        states = worlds.until_all_over(inside, timeout_s=180)
        assert states == {long: "cancelled", short: "finished"} or states[long] in {"failed", "closed"}
        assert record(inside, long) is JobState.CANCELLED
        assert inside.books()["double_reports"] == 0


def test_panda_stops_jobs_that_wait_in_the_batch_queue(tmp_path: Path) -> None:
    with worlds.world(tmp_path, TALKATIVE) as inside:
        for name in inside.cluster.settings.node_names:
            inside.cluster.node_down(name)
        with Controller(inside):
            numbers = worlds.submit(inside, [worlds.job() for _ in range(3)])
            worlds.eventually(inside.cluster.status, "an allocation waits")
            worlds.kill(inside, numbers)
            worlds.eventually(
                lambda: {record(inside, number) for number in numbers} == {JobState.CANCELLED},
                lambda: worlds.log_of(inside),
            )
            worlds.eventually(
                lambda: {one["state"] for one in inside.cluster.status()} == {"CANCELLED"},
                "its allocation is withdrawn",
            )
        assert not worlds.tally(inside, "start")


@pytest.mark.parametrize("while_nobody_listens", [False, True])
def test_an_operator_stops_one_job_and_no_other(tmp_path: Path, *, while_nobody_listens: bool) -> None:
    with worlds.world(tmp_path) as inside:
        long, short = worlds.submit(inside, [worlds.job("sleep 60 write {out}"), worlds.copying_job(inside, seconds=6)])
        with Controller(inside) as first:
            worlds.eventually(lambda: len(worlds.tally(inside, "start")) == 2, "both payloads run")
            if while_nobody_listens:
                first.end()
            request = ask(inside, Verb.KILL_JOB, long)
            if not while_nobody_listens:
                assert until_answered(inside, request).startswith("done")
                worlds.until_all_over(inside, timeout_s=180)
        with Controller(inside):
            worlds.until_all_over(inside, timeout_s=180)
            assert record(inside, long) is JobState.CANCELLED
            assert record(inside, short) is JobState.FINISHED
        assert worlds.tally(inside)[short] == 1
        assert [one.name for one in inside.outputs.rglob("out.*")] == [f"out.{short}.txt"]


def test_an_operator_withdraws_an_allocation_and_its_jobs_run_elsewhere(tmp_path: Path) -> None:
    with worlds.world(tmp_path) as inside, Controller(inside):
        numbers = worlds.submit(inside, [worlds.job("sleep 4 write {out}") for _ in range(2)])
        worlds.eventually(lambda: len(worlds.tally(inside, "start")) == 2, "both payloads run")
        assert until_answered(inside, ask(inside, Verb.CANCEL_ALLOCATION, 1)).startswith("done")
        worlds.until_all_over(inside)
        worlds.assert_books_agree(inside, numbers)
        with worlds.database(inside) as opened:
            first = opened.allocations.get(AllocationId(1))
            assert first is not None
            assert first.outcome is AllocationOutcome.CANCELLED
            assert {job.attempt for job in opened.jobs.page()} == {2}
        assert set(worlds.tally(inside).values()) == {1}


def test_what_cannot_be_asked_for_is_refused_with_the_reason(tmp_path: Path) -> None:
    with worlds.world(tmp_path) as inside, Controller(inside):
        (number,) = worlds.submit(inside, [worlds.job()])
        worlds.until_all_over(inside)
        asked = [(Verb.KILL_JOB, 99), (Verb.KILL_JOB, number), (Verb.CANCEL_ALLOCATION, 99), (Verb.RETRY_JOB, number)]
        answers = [until_answered(inside, ask(inside, verb, subject)) for verb, subject in asked]
        assert all(answer.startswith("refused") for answer in answers)
        assert "no job 99" in answers[0]
        assert "finished already" in answers[1]
        assert "no allocation 99" in answers[2]


def test_a_job_stopped_while_its_input_is_on_the_way_leaves_no_dag_behind(tmp_path: Path) -> None:
    """With a window of one, a DAG that stayed behind would keep all others out."""
    with worlds.world(tmp_path, Recipe(controller={"dag_window": 1})) as inside, Controller(inside):
        slow = worlds.copying_job(inside)
        pipe = inside.inputs / "sandbox" / slow["inFiles"]
        content = pipe.read_bytes()
        pipe.unlink()
        os.mkfifo(pipe)
        (stopped,) = worlds.submit(inside, [slow])
        worlds.eventually(lambda: worlds.states(inside)[stopped] not in {"activated", "sent"}, "PanDA hears of it")
        assert until_answered(inside, ask(inside, Verb.KILL_JOB, stopped)).startswith("done")
        worlds.until_all_over(inside)
        (other,) = worlds.submit(inside, [worlds.job()])
        time.sleep(1.0)
        writer = threading.Thread(target=pipe.write_bytes, args=(content,))
        writer.start()
        worlds.until_all_over(inside, timeout_s=180)
        writer.join(10)
        assert worlds.states(inside)[other] == "finished"
