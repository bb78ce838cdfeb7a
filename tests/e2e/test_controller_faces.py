"""A controller on batch systems that cannot be had: whole harvests through their faces."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hpcharvest.model.states import BatchState
from hpcharvest.sandbox.batch import faces
from hpcharvest.sandbox.batch.cluster import Cluster
from hpcharvest.sandbox.batch.settings import Settings
from hpcharvest.sandbox.world import Recipe
from tests import worlds


@pytest.mark.parametrize("face", ["cobalt", "lsf"])
def test_jobs_are_harvested_once_and_their_batch_jobs_end_well(face: str, tmp_path: Path) -> None:
    with Cluster(tmp_path / "cluster", Settings(nodes=2, cores_per_node=2)) as cluster:
        programs = faces.install(face, cluster.spool, tmp_path / "bin")
        path = f"{programs}{os.pathsep}{os.environ['PATH']}"
        recipe = Recipe(nodes=2, batch={"dialect": face, "environment": {"PATH": path}})
        (tmp_path / "world").mkdir()
        with worlds.world(tmp_path / "world", recipe) as inside:
            with worlds.Controller(inside):
                numbers = worlds.submit(inside, [worlds.copying_job(inside, seconds=0.5) for _ in range(4)])
                worlds.until_all_over(inside)
            worlds.assert_books_agree(inside, numbers)
            assert set(worlds.tally(inside, "start").values()) == {1}
            with worlds.database(inside) as opened:
                ended = {one.batch_id: one.batch_state for one in opened.allocations.page(limit=100)}
        assert ended
        assert set(ended.values()) <= {BatchState.COMPLETED, BatchState.RUNNING, BatchState.ABSENT}
        assert {job["state"] for job in cluster.status()} <= {"COMPLETED", "RUNNING"}
