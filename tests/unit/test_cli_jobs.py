"""`hpcharvest jobs`, `allocations` and `status`, on a database with a few records."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from hpcharvest.cli.requests import login_name
from hpcharvest.model.ids import AllocationId
from hpcharvest.model.request import Verb
from hpcharvest.model.states import AllocationState, JobState, RequestState
from hpcharvest.store.changes import Changes
from tests.unit.test_cli_harvest import NOW, Office, busy, held, make_allocation, make_job, office

__all__ = ["busy", "held", "office"]  # fixtures


def test_jobs_are_listed_in_three_ways(busy: Office) -> None:
    table = busy.call("jobs", "list")
    records = json.loads(busy.call("jobs", "list", "--output", "json").stdout)["jobs"]
    quiet = busy.call("jobs", "list", "--output", "quiet")

    assert table.stdout.splitlines()[1].split() == [
        "id", "queue", "state", "since", "attempt", "allocation", "not", "before", "error",
    ]  # fmt: skip
    assert [one["id"] for one in records] == [7, 8, 9, 10]
    assert records[0]["since"] == NOW
    assert records[0]["not_before"] is None
    assert quiet.stdout == "7\n8\n9\n10\n"


def test_what_came_from_outside_cannot_do_anything_to_a_terminal(busy: Office) -> None:
    for words in (["jobs", "list"], ["jobs", "show", "9"], ["jobs", "why", "9"], ["status"]):
        told = busy.call(*words)

        assert told.exit_code == 0, told.output
        assert "\x1b" not in told.stdout
        assert "\u202e" not in told.stdout
        assert "[red]name[/red]" in told.stdout
        assert not any(line.startswith("line two") for line in told.stdout.splitlines())


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        (["--state", "failed", "--state", "finished"], "9\n10\n"),
        (["--queue", "OTHER"], ""),
        (["--limit", "2"], "7\n8\n"),
        (["--limit", "2", "--after", "8"], "9\n10\n"),
    ],
)
def test_a_list_of_jobs_can_be_narrowed(busy: Office, words: list[str], ids: str) -> None:
    assert busy.call("jobs", "list", "--output", "quiet", *words).stdout == ids


def test_a_full_page_says_how_to_go_on(busy: Office) -> None:
    assert "go on with --after 8" in busy.call("jobs", "list", "--limit", "2").stdout


def test_a_job_is_shown_with_files_attempts_and_journal(busy: Office) -> None:
    told = json.loads(busy.call("jobs", "show", "7", "--output", "json").stdout)

    assert told["job"]["state"] == "assigned"
    assert told["spec"]["transformation"] == "collide.py"
    assert [(one["lfn"], one["role"]) for one in told["files"]] == [
        ("cards.txt", "input"),
        ("hits.root", "output"),
        ("log.tgz", "log"),
    ]
    assert [(one["attempt"], one["allocation"]) for one in told["attempts"]] == [(1, 3)]
    assert [one["action"] for one in told["journal"]] == ["Assigned"]
    assert told["report"] == {"owed": False}


def test_a_job_that_nobody_knows_is_one_line_on_stderr(busy: Office) -> None:
    told = busy.call("jobs", "show", "11")

    assert told.exit_code == 1
    assert told.stderr.splitlines() == ["hpcharvest: there is no job 11, or it was over so long ago that it was purged"]


def test_a_traceback_is_shown_to_those_who_ask(busy: Office) -> None:
    told = busy.call("--traceback", "jobs", "show", "11")

    assert told.exit_code == 1
    assert told.stderr.startswith("Traceback")
    assert told.stderr.splitlines()[-1].startswith("hpcharvest: there is no job 11")


def test_why_tells_what_a_job_waits_for(busy: Office, held: Callable[[], None]) -> None:
    held()

    told = busy.call("jobs", "why", "7").stdout

    assert told.startswith("job 7 waits since ")
    assert told.endswith("for allocation 3, which the batch system has as PENDING (Priority)\n")


def test_why_says_that_no_controller_runs(busy: Office) -> None:
    assert "no controller runs" in busy.call("jobs", "why", "8").stdout
    assert "no controller runs" not in busy.call("jobs", "why", "10").stdout


def test_why_knows_who_has_no_place_among_the_dags(busy: Office) -> None:
    text = busy.config.read_text().replace("[panda]", "dag_window = 2\n\n[panda]", 1)
    busy.config.write_text(text)
    late = make_job(20, received_at=NOW + 1)
    busy.database.commit(Changes(new_jobs={late.id: late}))

    assert "for a place among the 2 DAGs in hand" in busy.call("jobs", "why", "20").stdout
    assert "for its inputs" in busy.call("jobs", "why", "8").stdout


def test_requests_go_into_the_inbox_under_our_name(busy: Office) -> None:
    told = busy.call("jobs", "kill", "7", "8", "--output", "quiet")

    requests = busy.database.inbox.new()
    assert told.exit_code == 0
    assert told.stdout == "".join(f"{one.id}\n" for one in requests)
    assert [(one.verb, one.subject, one.by) for one in requests] == [
        (Verb.KILL_JOB, 7, login_name()),
        (Verb.KILL_JOB, 8, login_name()),
    ]
    assert "no controller runs" in told.stderr


def test_other_wishes_have_other_verbs(busy: Office, held: Callable[[], None]) -> None:
    held()
    assert busy.call("jobs", "retry", "8").stderr == ""
    assert busy.call("allocations", "cancel", "3").exit_code == 0

    assert [(one.verb, one.subject) for one in busy.database.inbox.new()] == [
        (Verb.RETRY_JOB, 8),
        (Verb.CANCEL_ALLOCATION, 3),
    ]


@pytest.mark.parametrize(("state", "code"), [(RequestState.DONE, 0), (RequestState.REFUSED, 1)])
def test_an_answer_is_waited_for(busy: Office, state: RequestState, code: int) -> None:
    gone = threading.Event()

    def answer() -> None:
        while not gone.wait(0.02):
            if asked := busy.database.inbox.new():
                done = [replace(one, state=state, answer="job 7 is told") for one in asked]
                busy.database.commit(Changes(requests=done))
                return

    controller = threading.Thread(target=answer)
    controller.start()
    try:
        told = busy.call("jobs", "kill", "7", "--wait", "20")
    finally:
        gone.set()
        controller.join()

    assert told.exit_code == code
    assert "job 7 is told" in told.stdout


def test_an_answer_that_does_not_come_is_exit_code_one(busy: Office) -> None:
    told = busy.call("jobs", "kill", "7", "--wait", "0.2", "--output", "json")

    assert told.exit_code == 1
    assert json.loads(told.stdout)["requests"][0]["state"] == "new"


def test_allocations_are_listed_and_shown(busy: Office) -> None:
    over = make_allocation(4, state=AllocationState.ENDED)
    busy.database.commit(Changes(allocations={AllocationId(4): over}))

    assert busy.call("allocations", "list", "--output", "quiet").stdout == "3\n4\n"
    assert busy.call("allocations", "list", "--state", "ended", "--output", "quiet").stdout == "4\n"
    told = json.loads(busy.call("allocations", "show", "3", "--output", "json").stdout)
    assert told["allocation"]["batch_words"] == "PENDING (Priority)"
    assert told["jobs"] == [{"job": 7, "attempt": 1}]
    assert [one["action"] for one in told["journal"]] == ["Submitted"]
    assert busy.call("allocations", "show", "5").exit_code == 1


def test_the_status_is_one_page(busy: Office, held: Callable[[], None]) -> None:
    held()

    table = busy.call("status")
    told = json.loads(busy.call("status", "--output", "json").stdout)

    assert len(table.stdout.splitlines()) < 50
    assert "is the controller" in table.stdout
    assert told["harvester"]["controller"] == "alive"
    assert told["jobs"] == [
        {"queue": "TOY", **{state.value: int(state in _STATES) for state in JobState}},
    ]
    assert [one["id"] for one in told["live_allocations"]] == [3]
    assert (told["reports"]["owed"], told["reports"]["with_problem"]) == (1, 1)
    assert told["report_problems"][0]["problem"] == "no such job"
    assert len(told["journal"]) == 3
    assert busy.call("status", "--output", "quiet").stdout == "alive\n"


_STATES = {JobState.ASSIGNED, JobState.RECEIVED, JobState.FAILED, JobState.FINISHED}


def test_the_status_of_a_harvester_without_any_job(office: Office) -> None:
    told = office.call("status")

    assert told.exit_code == 0
    assert "jobs: none" in told.stdout
    assert "no controller runs" in told.stdout
