"""A controller on batch systems that cannot be had: whole harvests through their faces."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hpcharvest.model.states import BatchState
from hpcharvest.sandbox.batch import faces
from hpcharvest.sandbox.batch.cluster import Cluster
from hpcharvest.sandbox.batch.settings import Settings
from hpcharvest.sandbox.world import BRISK, Recipe
from tests import worlds

COPIED = "PYTHONPATH,TALLY"
"""What the tests give to all processes below them; PBS gives a job only what it is asked for."""


@pytest.mark.parametrize(
    ("face", "options"),
    [("cobalt", []), ("lsf", []), ("pbs", [f"-v {COPIED}"]), ("torque", [f"-v {COPIED}"])],
    ids=["cobalt", "lsf", "pbs", "torque"],
)
def test_jobs_are_harvested_once_and_their_batch_jobs_end_well(face: str, options: list[str], tmp_path: Path) -> None:
    with Cluster(tmp_path / "cluster", Settings(nodes=2, cores_per_node=2)) as cluster:
        programs = faces.install(face, cluster.spool, tmp_path / "bin")
        path = f"{programs}{os.pathsep}{os.environ['PATH']}"
        batch = {"dialect": face, "environment": {"PATH": path}, "options": options}
        recipe = Recipe(nodes=2, batch=batch, patience={**BRISK, "batch_poll_s": 0.5})
        (tmp_path / "world").mkdir()
        with worlds.world(tmp_path / "world", recipe) as inside:
            with worlds.Controller(inside):
                numbers = worlds.submit(inside, [worlds.copying_job(inside, seconds=0.5) for _ in range(4)])
                worlds.until_all_over(inside)
            worlds.assert_books_agree(inside, numbers)
            assert set(worlds.tally(inside, "start").values()) == {1}
            with worlds.database(inside) as opened:
                known = {one.batch_state for one in opened.allocations.page(limit=100)}
        assert known
        assert known <= {BatchState.COMPLETED, BatchState.RUNNING, BatchState.ABSENT}
        assert {cluster.wait(job["id"])["state"] for job in cluster.status()} == {"COMPLETED"}
