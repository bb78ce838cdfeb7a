"""Batch jobs of ours that the database does not know: nobody's are ended, somebody else's are left alone."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

from hpcharvest.sandbox.world import Recipe, World
from tests import worlds
from tests.worlds import Controller

QUICK = Recipe(patience={"batch_poll_s": 0.5, "heartbeat_s": 0.5, "heartbeat_stale_s": 1.5})


def submit_as(inside: World, name: str, nodes: int = 1) -> int:
    """Submit a batch job under a name like ours, behind the controller's back."""
    script = inside.folder / "stranger.sh"
    script.write_text("#!/bin/sh\nsleep 600\n")
    return inside.cluster.submit(script, name=name, nodes=nodes, output=os.devnull)


def state(inside: World, batch_id: int) -> str:
    (job,) = inside.cluster.status([batch_id])
    return str(job["state"])


def test_a_batch_job_whose_database_is_lost_is_ended(tmp_path: Path) -> None:
    with worlds.world(tmp_path, QUICK) as inside:
        with Controller(inside) as controller:
            worlds.submit(inside, [worlds.copying_job(inside, seconds=600)])
            worlds.eventually(lambda: worlds.tally(inside, "start"), "the payload runs")
            controller.end(signal.SIGKILL)
        (job,) = inside.cluster.status()
        shutil.rmtree(inside.work / inside.recipe.harvester_id / "state")
        with Controller(inside):
            worlds.eventually(lambda: state(inside, job["id"]) != "RUNNING", lambda: worlds.log_of(inside))
        assert "wanted by nobody" in worlds.log_of(inside)


def test_a_batch_job_of_another_work_folder_is_left_alone_and_told(tmp_path: Path) -> None:
    with worlds.world(tmp_path, QUICK) as inside:
        stranger = submit_as(inside, f"{inside.recipe.harvester_id}-12-0a1b2c")
        with Controller(inside):
            worlds.eventually(lambda: "it is left alone" in worlds.log_of(inside), lambda: worlds.log_of(inside))
        assert state(inside, stranger) == "RUNNING"


def test_a_second_batch_job_of_a_live_allocation_is_ended_and_the_first_goes_on(tmp_path: Path) -> None:
    with worlds.world(tmp_path, QUICK) as inside:
        blocker = submit_as(inside, "somebody-else", nodes=inside.recipe.nodes - 1)
        with Controller(inside):
            (number,) = worlds.submit(inside, [worlds.copying_job(inside, seconds=8)])
            worlds.eventually(lambda: worlds.tally(inside, "start"), "the payload runs")
            (ours,) = (job for job in inside.cluster.status() if job["id"] != blocker)
            second = submit_as(inside, ours["name"], nodes=inside.recipe.nodes)  # has to wait
            worlds.eventually(lambda: state(inside, second) == "CANCELLED", lambda: worlds.log_of(inside))
            assert worlds.until_all_over(inside) == {number: "finished"}
        assert worlds.tally(inside, "start") == {number: 1}


def test_a_second_batch_job_that_won_the_start_is_not_ended(tmp_path: Path) -> None:
    with worlds.world(tmp_path, QUICK) as inside:
        with Controller(inside):
            (number,) = worlds.submit(inside, [worlds.copying_job(inside, seconds=5)])
            worlds.eventually(lambda: worlds.tally(inside, "start"), "the payload runs")
            (ours,) = inside.cluster.status()
            second = submit_as(inside, ours["name"])  # the batch system's word for it may come before the journal's
            assert worlds.until_all_over(inside) == {number: "finished"}
        assert state(inside, second) == "RUNNING"


def test_what_the_last_allocation_leaves_behind_is_ended_though_nothing_else_is_alive(tmp_path: Path) -> None:
    hasty = Recipe(patience={**QUICK.patience, "batch_grace_s": 1.0})
    with worlds.world(tmp_path, hasty) as inside, Controller(inside):
        worlds.submit(inside, [worlds.copying_job(inside, seconds=3)])
        worlds.eventually(lambda: worlds.tally(inside, "start"), "the payload runs")
        (ours,) = inside.cluster.status()
        second = submit_as(inside, ours["name"])
        worlds.until_all_over(inside)
        worlds.eventually(lambda: state(inside, second) == "CANCELLED", lambda: worlds.log_of(inside), 30.0)
