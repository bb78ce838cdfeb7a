"""PanDA jobs harvested through PBS: the embedded batch system behind PBS's command line."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from hpcharvest.sandbox.batch import faces
from hpcharvest.sandbox.batch.cluster import Cluster
from hpcharvest.sandbox.batch.settings import Settings
from hpcharvest.sandbox.world import Recipe
from tests import worlds

COPIED = ("PYTHONPATH", "TALLY")
"""What the tests give to all processes below them; PBS gives a job only what it is asked for."""


def test_jobs_are_harvested_through_it_and_all_books_agree(tmp_path: Path) -> None:
    with Cluster(tmp_path / "spool", Settings(nodes=2, cores_per_node=2, kill_grace_s=1.0)) as cluster:
        path = f"{faces.install('pbs', cluster.spool, tmp_path / 'bin')}{os.pathsep}{os.environ['PATH']}"
        batch = {"dialect": "pbs", "environment": {"PATH": path}, "options": [f"-v {','.join(COPIED)}"]}
        with worlds.world(tmp_path, replace(Recipe(batch=batch), nodes=2)) as inside, worlds.Controller(inside):
            numbers = worlds.submit(inside, [worlds.copying_job(inside, seconds=0.5) for _ in range(6)])
            worlds.until_all_over(inside, timeout_s=180)
            worlds.assert_books_agree(inside, numbers)
            assert set(worlds.tally(inside, "start").values()) == {1}
            with worlds.database(inside) as opened:
                ids = {one.batch_id for one in opened.allocations.page(limit=100)}
        assert ids
        for batch_id in ids:
            ended = cluster.wait(int(batch_id.removesuffix(".vm")))
            assert ended["state"] == "COMPLETED"
