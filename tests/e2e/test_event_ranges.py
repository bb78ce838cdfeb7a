"""Event-service jobs, from PanDA's books to PanDA's books: every range is told of once, whoever dies on the way."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hpcharvest.model.ids import JobId
from hpcharvest.model.request import Verb
from hpcharvest.model.states import BundleState, JobState, RangeState
from hpcharvest.sandbox.world import Recipe, World
from tests import worlds
from tests.worlds import Controller

RUNNER = Path(__file__).parents[1] / "range_runner.py"
PATIENCE = {
    "batch_poll_s": 0.5,
    "batch_grace_s": 0.5,
    "heartbeat_s": 0.5,
    "heartbeat_stale_s": 1.5,
    "retry_first_s": 0.3,
    "retry_max_s": 2.0,
}


@dataclass(frozen=True)
class Place:
    """A world in which allocations are run by the runner of `tests/range_runner.py`."""

    world: World
    notes: Path

    def job(self, ranges: int, *, files: int = 2) -> int:
        """Give an event-service job to the server, and its number."""
        inputs = [self.world.put_input(f"in.{worlds.next_number()}", b"events\n") for _ in range(files)]
        job = worlds.job(inputs=inputs, outputs=["HITS"], jobsetID=worlds.next_number())
        (number,) = worlds.submit(self.world, [job])
        self.world._call("/sandbox/events", [{"job_id": number, "n_ranges": ranges}])
        return number

    @property
    def ranges(self) -> dict[str, Any]:
        """Give the server's account of ranges."""
        found: dict[str, Any] = self.world.books()["events"]
        return found

    def done(self) -> Counter[str]:
        """Count how often each range was done."""
        path = self.notes / "tally"
        return Counter(path.read_text().split()) if path.exists() else Counter()

    def archived(self) -> Counter[str]:
        """Count how often each range is in an archive at the destination."""
        files = self.world.outputs.rglob("EventService_premerge_*")
        return Counter(line.split()[0] for one in files for line in one.read_text().splitlines())


@contextlib.contextmanager
def place(
    folder: Path,
    *,
    healthy: bool = False,
    recipe: dict[str, Any] | None = None,
    expected_range_s: float = 1.0,
    **behaviour: Any,
) -> Iterator[Place]:
    notes = folder / "notes"
    notes.mkdir()
    (notes / "behaviour.json").write_text(json.dumps(behaviour))
    python = folder / "python"
    python.write_text(
        f'#!/bin/sh\nPYTHONPATH="{RUNNER.parents[1]}" exec "{sys.executable}" "{RUNNER}" "{notes}" "$@"\n'
    )
    python.chmod(0o755)
    options = ("--healthy-event-updates",) if healthy else ()
    made = Recipe(
        patience=PATIENCE,
        software={"python": str(python)},
        server_options=options,
        payload={"event_ranges": {"objstore_id": 5, "expected_range_s": expected_range_s, "walltime_s": 600}},
        **(recipe or {}),
    )
    with worlds.world(folder, made) as inside:
        yield Place(inside, notes)


def assert_told_once(here: Place, ranges: int, finished: int) -> None:
    """Assert that server, database and destination agree on what finished, and that nothing was told twice."""
    told = here.ranges
    assert told["ranges"] == ranges
    assert told["finished_reports"] == finished, told
    assert told["finished_again"] == 0, told
    archived = here.archived()
    assert len(archived) >= finished
    assert here.world.books()["double_reports"] == 0
    with worlds.database(here.world) as opened:
        assert opened.bundles.unfinished() == []


def test_ranges_are_done_archived_and_told(tmp_path: Path) -> None:
    with place(tmp_path) as here, Controller(here.world):
        number = here.job(30)
        assert worlds.until_all_over(here.world) == {number: "finished"}, worlds.log_of(here.world)
        assert_told_once(here, 30, 30)
        assert set(here.done().values()) == {1}
        assert set(here.archived().values()) == {1}
        with worlds.database(here.world) as opened:
            job = opened.jobs.get(JobId(number))
            assert job is not None
            assert (job.state, job.attempt, job.ranges_lost) == (JobState.FINISHED, 1, 0)
            counts = Counter[RangeState]()
            for (_, _, state), found in opened.event_ranges.counts([JobId(number)]).items():
                counts[state] += found
            assert counts == {RangeState.FINISHED: 30}
        archives = list((here.world.work / "sandbox" / "allocations").glob("*/archives/*"))
        worlds.eventually(lambda: not any(one.exists() for one in archives), "settled archives are removed", 30)


@pytest.mark.parametrize("healthy", [True, False], ids=["as documented", "500"])
def test_failures_are_told_and_may_be_fatal(*, healthy: bool, tmp_path: Path) -> None:
    with place(tmp_path, healthy=healthy, fails=5, fatal=10) as here, Controller(here.world):
        number = here.job(20, files=1)
        assert worlds.until_all_over(here.world) == {number: "finished"}, worlds.log_of(here.world)
        assert_told_once(here, 20, 16)
        # They failed, and may be tried elsewhere, but for the one that is fatal.
        assert (here.ranges["states"]["ready"], here.ranges["states"]["fatal"]) == (3, 1)
        asked = here.world.books()["requests"].get("event/get_event_range_statuses", 0)
        assert (asked == 0) is healthy  # who got an answer asks nothing


def test_a_job_of_which_every_range_fails_is_a_failed_one(tmp_path: Path) -> None:
    with place(tmp_path, fails=1) as here, Controller(here.world):
        number = here.job(5, files=1)
        assert worlds.until_all_over(here.world) == {number: "failed"}, worlds.log_of(here.world)
        assert here.ranges["finished_reports"] == 0
        with worlds.database(here.world) as opened:
            job = opened.jobs.get(JobId(number))
        assert job is not None
        assert job.error == "none of its 5 event ranges finished"


def test_a_job_without_any_range_finishes_and_the_server_closes_it(tmp_path: Path) -> None:
    with place(tmp_path) as here, Controller(here.world):
        number = here.job(0)
        assert worlds.until_all_over(here.world) == {number: "closed"}, worlds.log_of(here.world)
        with worlds.database(here.world) as opened:
            job = opened.jobs.get(JobId(number))
            assert job is not None
            assert job.state is JobState.FINISHED
            assert opened.allocations.page() == []


def test_ranges_of_an_allocation_that_died_are_done_in_others(tmp_path: Path) -> None:
    with place(tmp_path, dies=10) as here, Controller(here.world):
        number = here.job(30)
        worlds.eventually(lambda: here.ranges["finished_reports"] >= 16, lambda: worlds.log_of(here.world))
        (here.notes / "behaviour.json").write_text("{}")
        assert worlds.until_all_over(here.world) == {number: "finished"}, worlds.log_of(here.world)
        assert_told_once(here, 30, 30)
        assert max(here.done().values()) > 1
        with worlds.database(here.world) as opened:
            assert len(opened.allocations.page()) >= 3


def test_an_archive_that_is_not_what_it_was_gives_its_ranges_back(tmp_path: Path) -> None:
    with place(tmp_path, spoils=True) as here, Controller(here.world):
        number = here.job(12)
        assert worlds.until_all_over(here.world) == {number: "finished"}, worlds.log_of(here.world)
        assert_told_once(here, 12, 12)
        with worlds.database(here.world) as opened:
            states = opened.bundles.counts()[JobId(number)]
        assert states[BundleState.LOST] == 1
        assert "spoilt" not in {one.read_text() for one in here.world.outputs.rglob("*.tar")}


def test_whole_jobs_and_ranges_share_an_allocation(tmp_path: Path) -> None:
    recipe = {"allocation": {"max_allocations": 2}}
    with place(tmp_path, recipe=recipe, expected_range_s=30.0, pause_s=0.3, life_s=1.0) as here, Controller(here.world):
        number = here.job(60)
        worlds.eventually(lambda: here.ranges["finished_reports"], lambda: worlds.log_of(here.world))
        (whole,) = worlds.submit(here.world, [worlds.job()])
        assert worlds.until_all_over(here.world) == {number: "finished", whole: "finished"}
        assert_told_once(here, 60, 60)
        with worlds.database(here.world) as opened:
            (shared,) = [one for one in opened.allocations.page() if one.jobs]
        assert (shared.jobs, shared.event_jobs) == (((whole, 1),), ((number, 1),))


def test_ranges_that_came_with_a_lost_answer_are_counted_and_told_of(tmp_path: Path) -> None:
    rule = {"kind": "drop_after_commit", "method": "event/acquire_event_ranges", "count": 1}
    with place(tmp_path) as here:
        here.world.faults([rule])
        with Controller(here.world):
            number = here.job(200)
            assert worlds.until_all_over(here.world) == {number: "finished"}, worlds.log_of(here.world)
        with worlds.database(here.world) as opened:
            job = opened.jobs.get(JobId(number))
        assert job is not None
        assert job.ranges_lost > 0
        assert_told_once(here, 200, 200 - job.ranges_lost)
        assert here.ranges["states"]["ready"] == job.ranges_lost  # given back when the job ended


FAULTS = [
    [{"kind": "error_500", "method": "event/*", "probability": 0.4}],
    [{"kind": "drop_before", "method": "event/*", "probability": 0.4}],
    [{"kind": "drop_after_commit", "method": "event/update_event_ranges", "count": 4}],
    [{"kind": "torn_body", "method": "event/update_event_ranges", "probability": 0.5}],
    [{"kind": "garbage", "method": "event/get_*", "probability": 0.5}],
]


@pytest.mark.parametrize("rules", FAULTS, ids=lambda rules: rules[0]["kind"])
@pytest.mark.parametrize("healthy", [True, False], ids=["as documented", "500"])
def test_a_server_that_fails_hears_of_every_range_once(
    rules: list[dict[str, Any]], *, healthy: bool, tmp_path: Path
) -> None:
    with place(tmp_path, healthy=healthy) as here:
        here.world.faults(rules)
        with Controller(here.world):
            number = here.job(40)
            assert worlds.until_all_over(here.world) == {number: "finished"}, worlds.log_of(here.world)
        with worlds.database(here.world) as opened:
            job = opened.jobs.get(JobId(number))
        assert job is not None
        assert_told_once(here, 40, 40 - job.ranges_lost)


@pytest.mark.slow
def test_a_controller_that_is_killed_at_any_commit_loses_nothing_and_tells_nothing_twice(tmp_path: Path) -> None:
    with place(tmp_path, each=3, pause_s=0.1) as here:
        number = here.job(150)
        kills, died = 0, -int(signal.SIGKILL)
        while not worlds.all_over(here.world) and kills < 25:
            with Controller(here.world, "--wait", "--die-at", str(3 + 5 * kills % 34)) as controller:
                while controller.process.poll() is None and not worlds.all_over(here.world):
                    time.sleep(0.1)
                if controller.process.poll() is None:
                    break
                assert controller.process.returncode == died, worlds.log_of(here.world)
            kills += 1
        assert kills >= 5
        with Controller(here.world):
            assert worlds.until_all_over(here.world) == {number: "finished"}, worlds.log_of(here.world)
        with worlds.database(here.world) as opened:
            job = opened.jobs.get(JobId(number))
        assert job is not None
        assert_told_once(here, 150, 150 - job.ranges_lost)


def test_a_job_that_is_killed_tells_of_what_is_done_and_stops(tmp_path: Path) -> None:
    with place(tmp_path, pause_s=0.3) as here, Controller(here.world):
        number = here.job(400)
        worlds.eventually(lambda: here.ranges["finished_reports"] > 4, lambda: worlds.log_of(here.world))
        with worlds.database(here.world) as opened:
            opened.inbox.add(Verb.KILL_JOB, number, "somebody", 1.0)
        assert worlds.until_all_over(here.world) == {number: "failed"}, worlds.log_of(here.world)
        with worlds.database(here.world) as opened:
            job = opened.jobs.get(JobId(number))
            assert job is not None
            assert job.state is JobState.CANCELLED
            worlds.eventually(lambda: not opened.allocations.live(), "its allocations end", 60)
        assert here.ranges["finished_again"] == 0
        assert sum(here.done().values()) < 400


def test_a_job_that_panda_kills_stops(tmp_path: Path) -> None:
    with place(tmp_path, healthy=True, pause_s=0.3) as here, Controller(here.world):
        number = here.job(400)
        worlds.eventually(lambda: here.ranges["finished_reports"] > 4, lambda: worlds.log_of(here.world))
        worlds.kill(here.world, [number])
        with worlds.database(here.world) as opened:
            worlds.eventually(
                lambda: (job := opened.jobs.get(JobId(number))) is not None and job.state is JobState.CANCELLED,
                lambda: worlds.log_of(here.world),
            )
            worlds.eventually(lambda: not opened.allocations.live(), "its allocations end", 60)


def test_an_event_service_job_in_a_queue_without_the_section_is_refused(tmp_path: Path) -> None:
    with worlds.world(tmp_path, Recipe(patience=PATIENCE)) as inside, Controller(inside):
        (number,) = worlds.submit(inside, [worlds.job(inputs=[inside.put_input("in", b"x")])])
        inside._call("/sandbox/events", [{"job_id": number, "n_ranges": 3}])
        assert worlds.until_all_over(inside) == {number: "failed"}
        assert "has no section payload.event_ranges" in worlds.log_of(inside)
