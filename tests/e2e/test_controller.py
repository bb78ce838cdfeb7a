"""A controller from its start to the end of its jobs: stopped, crashed, run by cron, kept off by its lease."""

from __future__ import annotations

import random
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from hpcharvest.sandbox.world import Recipe, World
from tests import worlds
from tests.start_controller import LEASE_HELD_EXIT
from tests.worlds import Controller

LONG_LEASE = Recipe(controller={"lease_s": 300.0})
"""Nobody takes such a lease over by waiting within a test."""


def test_thirty_jobs_are_harvested_and_all_books_agree(tmp_path: Path) -> None:
    with worlds.world(tmp_path) as inside, Controller(inside):
        numbers = worlds.submit(inside, [worlds.copying_job(inside) for _ in range(30)])
        worlds.until_all_over(inside)
        worlds.assert_books_agree(inside, numbers)
        assert set(worlds.tally(inside, "start").values()) == {1}


def test_allocations_go_on_while_nobody_controls_them(tmp_path: Path) -> None:
    with worlds.world(tmp_path) as inside:
        with Controller(inside) as controller:
            numbers = worlds.submit(inside, [worlds.copying_job(inside, seconds=8) for _ in range(8)])
            worlds.eventually(lambda: len(worlds.tally(inside, "start")) == 8, "all payloads run")
            assert controller.end() == 0
        worlds.eventually(lambda: len(worlds.tally(inside)) == 8, "all payloads end")
        with Controller(inside):
            worlds.until_all_over(inside)
            worlds.assert_books_agree(inside, numbers)
        assert set(worlds.tally(inside, "start").values()) == {1}


def test_crashes_at_any_moment_lose_nothing_and_repeat_nothing(tmp_path: Path) -> None:
    dice = random.Random(7)
    with worlds.world(tmp_path, LONG_LEASE) as inside:
        numbers = worlds.submit(inside, [worlds.copying_job(inside, seconds=0.2) for _ in range(20)])
        for _ in range(6):
            with Controller(inside) as controller:
                time.sleep(dice.uniform(0.8, 2.5))
                controller.end(signal.SIGKILL)
        with Controller(inside):
            worlds.until_all_over(inside)
            worlds.assert_books_agree(inside, numbers)
        assert set(worlds.tally(inside, "start").values()) == {1}


def test_crashes_around_commits_lose_nothing_and_repeat_nothing(tmp_path: Path) -> None:
    recipe = replace(LONG_LEASE, server_options=("--redeliver-after", "2"))  # of an answer that we did not live to keep
    with worlds.world(tmp_path, recipe) as inside:
        numbers = worlds.submit(inside, [worlds.copying_job(inside) for _ in range(10)])
        for number in (1, 2, 3, 4, 5, 6, 7, 8, 11, 14):
            with Controller(inside, "--die-at", str(number)) as controller:
                worlds.eventually(
                    lambda: controller.process.poll() is not None or worlds.all_over(inside), "the end", pause_s=0.2
                )
        with Controller(inside):
            worlds.until_all_over(inside)
            worlds.assert_books_agree(inside, numbers)
        assert set(worlds.tally(inside, "start").values()) == {1}


def tick_to_the_end(inside: World) -> None:
    """Run controllers as cron does, until every job is over; none of them stays for long."""
    for _ in range(30):
        worlds.tick(inside)
        if worlds.all_over(inside):
            return
    worlds.until_all_over(inside, timeout_s=1)


def test_ticks_of_cron_bring_jobs_to_their_end(tmp_path: Path) -> None:
    with worlds.world(tmp_path) as inside:
        numbers = worlds.submit(inside, [worlds.copying_job(inside, seconds=0.5) for _ in range(5)])
        tick_to_the_end(inside)
        worlds.assert_books_agree(inside, numbers)


def test_jobs_wait_for_company_over_several_ticks(tmp_path: Path) -> None:
    recipe = Recipe(allocation={"linger_s": 20.0})
    with worlds.world(tmp_path, recipe) as inside:
        numbers = worlds.submit(inside, [worlds.job()])
        worlds.tick(inside)
        assert "for company" not in worlds.log_of(inside)
        time.sleep(20.0)
        tick_to_the_end(inside)
        worlds.assert_books_agree(inside, numbers)


def test_a_second_controller_is_kept_off(tmp_path: Path) -> None:
    with worlds.world(tmp_path, LONG_LEASE) as inside, Controller(inside):
        lease = inside.work / inside.recipe.harvester_id / "lease.json"
        worlds.eventually(lease.exists, "the first has its lease")
        with Controller(inside) as second:
            assert second.wait() == LEASE_HELD_EXIT
        assert "holds" in worlds.log_of(inside)


def test_one_that_waits_takes_over_when_the_first_leaves(tmp_path: Path) -> None:
    with worlds.world(tmp_path, LONG_LEASE) as inside, Controller(inside) as first:
        lease = inside.work / inside.recipe.harvester_id / "lease.json"
        worlds.eventually(lease.exists, "the first has its lease")
        with Controller(inside, "--wait"):
            time.sleep(1.0)
            first.end()
            numbers = worlds.submit(inside, [worlds.job()])
            worlds.until_all_over(inside)
            worlds.assert_books_agree(inside, numbers)


def test_a_dead_controllers_lease_is_taken_over_at_once_even_if_nobody_reaped_it(tmp_path: Path) -> None:
    with worlds.world(tmp_path, LONG_LEASE) as inside, Controller(inside) as first:
        lease = inside.work / inside.recipe.harvester_id / "lease.json"
        worlds.eventually(lease.exists, "the first has its lease")
        first.process.send_signal(signal.SIGKILL)
        worlds.eventually(lambda: b"Z" in _stat(first.process.pid), "it is a zombie")
        with Controller(inside):
            numbers = worlds.submit(inside, [worlds.job()])
            worlds.until_all_over(inside)
            worlds.assert_books_agree(inside, numbers)


def test_few_jobs_at_a_time_are_fetched_too(tmp_path: Path) -> None:
    recipe = Recipe(queue={"fetch_chunk": 3})
    with worlds.world(tmp_path, recipe) as inside, Controller(inside):
        numbers = worlds.submit(inside, [worlds.job() for _ in range(7)])
        worlds.until_all_over(inside, timeout_s=180)
        worlds.assert_books_agree(inside, numbers)


def test_a_small_window_lets_everything_through(tmp_path: Path) -> None:
    recipe = Recipe(controller={"dag_window": 2})
    with worlds.world(tmp_path, recipe) as inside, Controller(inside):
        numbers = worlds.submit(inside, [worlds.copying_job(inside) for _ in range(7)])
        worlds.until_all_over(inside)
        worlds.assert_books_agree(inside, numbers)


def test_an_allocation_of_a_queue_that_is_configured_no_more_harms_nobody(tmp_path: Path) -> None:
    with worlds.world(tmp_path) as inside:
        kept = inside.config.read_text()
        inside.cluster.stop()
        with Controller(inside):
            worlds.submit(inside, [worlds.job()])
            worlds.eventually(lambda: "was not submitted" in worlds.log_of(inside), "an allocation that waits")
        inside.config.write_text(kept.replace("SANDBOX_HPC", "ANOTHER"))
        inside.cluster.start()
        with Controller(inside) as controller:
            time.sleep(4)
            lines = (inside.folder / "controller.log").read_text().count("nobody foresaw")
            assert controller.process.poll() is None
        assert lines == 0
        inside.config.write_text(kept)
        with Controller(inside):
            assert set(worlds.until_all_over(inside).values()) == {"finished"}


def _stat(pid: int) -> bytes:
    return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2]


@pytest.mark.parametrize("number", [1, 2])
def test_a_job_of_the_longest_time_runs_on_a_slow_node_too(tmp_path: Path, number: int) -> None:
    """Its batch job has begun some seconds before its runner can start it."""
    prologue = tmp_path / "prologue.sh"
    prologue.write_text("sleep 3\n")
    recipe = Recipe(
        allocation={"max_walltime_s": 600, "margin_s": 20.0},
        payload={"default_walltime_s": 60},
        software={"prologue": str(prologue)},
    )
    with worlds.world(tmp_path, recipe) as inside, Controller(inside):
        numbers = worlds.submit(inside, [worlds.job(max_walltime=580) for _ in range(number)])
        worlds.until_all_over(inside, timeout_s=180)
        worlds.assert_books_agree(inside, numbers)
