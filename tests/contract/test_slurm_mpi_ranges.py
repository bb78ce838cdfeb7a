"""Event ranges in a real Slurm whose srun starts head and nodes as ranks; also such as are programs of MPI."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hpcharvest.sandbox import slurm as service
from hpcharvest.sandbox.slurm import Slurm
from hpcharvest.sandbox.world import BRISK, Recipe
from tests import worlds

pytestmark = pytest.mark.needs("slurm")
PROGRAM = '#!/bin/sh\nsleep 0.3\n[ "${PMI_RANK:-0}" != 0 ] || echo "$1 ${PMI_SIZE:-1}" >"$2"\n'


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    with service.cluster(4, cores=2) as made:
        yield made


@pytest.mark.slow
@pytest.mark.parametrize(("given", "ranks"), [({}, 1), ({"kind": "mpi", "nodes_per_slot": 2}, 2)])
def test_ranges_are_done_by_ranks_of_srun(slurm: Slurm, tmp_path: Path, given: dict[str, Any], ranks: int) -> None:
    programs = tmp_path / "transformations"
    programs.mkdir()
    (programs / "ranks").write_text(PROGRAM)
    (programs / "ranks").chmod(0o755)
    section = {"arguments": ["{eventRangeID}", "{output}"], "expected_range_s": 1.0, "archive_age_s": 3.0, **given}
    recipe = Recipe(
        batch={"dialect": "slurm", "environment": slurm.environment},
        launcher={"name": "srun", "options": ["--mpi=pmi2", "--overlap"], "link": "mpi"},
        nodes=4,
        cores_per_node=2,
        allocation={"min_nodes": 4},
        payload={"transformation_dir": str(programs), "event_ranges": {**section, "nodes": 4, "walltime_s": 180}},
        patience=BRISK,
    )
    with worlds.world(tmp_path, recipe) as inside:
        inputs = [inside.put_input(f"in{number}", b"x") for number in range(2)]
        inside.submit_events(worlds.job("", inputs=inputs, outputs=[], transformation="ranks"), 8)
        with worlds.Controller(inside):
            assert set(worlds.until_all_over(inside).values()) == {"finished"}, worlds.log_of(inside)
        told = inside.books()["events"]
        assert (told["states"], told["finished_again"]) == ({"done": 8}, 0)
        assert _sizes(inside.outputs) == [str(ranks)] * 8


def _sizes(folder: Path) -> list[str]:
    """Give the number of ranks by which each range was done."""
    sizes = []
    for path in folder.rglob("EventService_premerge_*"):
        with tarfile.open(path) as tar:
            for member in tar:
                content = tar.extractfile(member)
                if member.name != "manifest.json" and content is not None:
                    sizes.append(content.read().decode().split()[1])
    return sizes
