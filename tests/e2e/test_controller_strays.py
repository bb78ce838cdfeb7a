"""Batch jobs of ours that the database does not know: nobody's are ended, somebody else's are left alone."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

from hpcharvest.sandbox.world import Recipe, World
from tests import worlds
from tests.worlds import Controller

QUICK = Recipe(patience={"batch_poll_s": 0.5, "heartbeat_s": 0.5, "heartbeat_stale_s": 1.5})


def submit_as(inside: World, name: str) -> int:
    """Submit a batch job under a name like ours, behind the controller's back."""
    script = inside.folder / "stranger.sh"
    script.write_text("#!/bin/sh\nsleep 600\n")
    return inside.cluster.submit(script, name=name)


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
