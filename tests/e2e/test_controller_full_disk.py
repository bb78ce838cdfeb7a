"""Disks that are full, for a while: the controller says so, and goes on when there is room."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hpcharvest.sandbox.world import Recipe
from tests import worlds
from tests.services.small_disk import as_seen_by, fill, on_small_disk
from tests.worlds import Controller

RECIPE = Recipe(patience={"retry_first_s": 0.5, "retry_max_s": 1.0, "stage_tries": 60})


def test_outputs_wait_for_room_at_their_destination(tmp_path: Path) -> None:
    with worlds.world(tmp_path, RECIPE) as inside:
        with Controller(inside, around=on_small_disk(inside.outputs, "64k")) as controller:
            worlds.eventually(lambda: inside.books()["requests"], "the controller is there")
            filler = fill(as_seen_by(controller.process.pid, inside.outputs))
            numbers = worlds.submit(inside, [worlds.job() for _ in range(3)])
            worlds.eventually(lambda: len(worlds.tally(inside)) == len(numbers), "all payloads ran")
            with worlds.database(inside) as opened:
                worlds.eventually(
                    lambda: all("No space left" in job.error for job in opened.jobs.page()),
                    lambda: f"the reason is told: {opened.jobs.page()}",
                )
            assert not worlds.all_over(inside)
            filler.unlink()
            assert set(worlds.until_all_over(inside).values()) == {"finished"}
        assert set(worlds.tally(inside, "start").values()) == {1}


def test_the_loop_waits_for_room_for_its_database(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    recipe = replace(RECIPE, controller={"state_dir": str(state)})
    with worlds.world(tmp_path, recipe) as inside:
        with Controller(inside, around=on_small_disk(state, "2m")) as controller:
            worlds.eventually(lambda: inside.books()["requests"], "the controller is there")
            filler = fill(as_seen_by(controller.process.pid, state))
            worlds.submit(inside, [worlds.job("say " + "x" * 2000 + " write {out}") for _ in range(50)])
            worlds.eventually(lambda: "does not answer" in worlds.log_of(inside), lambda: worlds.log_of(inside))
            assert not any(state in worlds.ENDS for state in worlds.states(inside).values())
            filler.unlink()
            assert set(worlds.until_all_over(inside).values()) == {"finished"}
        assert set(worlds.tally(inside, "start").values()) == {1}


def test_a_disk_that_is_full_at_the_start_is_told(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    recipe = replace(RECIPE, controller={"state_dir": str(state)})
    with worlds.world(tmp_path, recipe) as inside, Controller(inside, around=on_small_disk(state, "4k")) as controller:
        assert controller.wait() != 0
        assert "make room" in worlds.log_of(inside)
