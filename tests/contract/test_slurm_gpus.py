"""GPUs under a real Slurm, which counts some that are not there: asked for, handed out, and shared by nobody.

On the first node the runner starts payloads itself, and binds them; elsewhere srun does both.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcharvest.sandbox import slurm as service
from hpcharvest.sandbox.slurm import Slurm
from hpcharvest.sandbox.world import Recipe
from tests import worlds

pytestmark = pytest.mark.needs("slurm")
CLAIM = """\
#!/bin/bash
# Claims each GPU of its node that it was given while it runs, fails if another payload has; tells node and GPUs.
set -e
IFS=, read -ra gpus <<<"$CUDA_VISIBLE_DEVICES"
[ ${#gpus[@]} = "$WANTED" ]
for gpu in "${gpus[@]}"; do mkdir "$CLAIMS/$SLURMD_NODENAME-$gpu"; done
echo >"$CLAIMS/beside-$(ls "$CLAIMS" | grep -c "^$SLURMD_NODENAME-")"
sleep 1.5
for gpu in "${gpus[@]}"; do rmdir "$CLAIMS/$SLURMD_NODENAME-$gpu"; done
echo "$SLURMD_NODENAME $CUDA_VISIBLE_DEVICES" >"$1"
"""
RANKS = """\
#!/bin/bash
# The ranks of one payload share its GPUs.
echo "$SLURM_PROCID of $SLURM_NTASKS: $CUDA_VISIBLE_DEVICES" >"rank.$SLURM_PROCID"
[ "$SLURM_PROCID" = 0 ] || exit 0
until [ "$(ls rank.* | wc -l)" = "$SLURM_NTASKS" ]; do sleep 0.1; done
sleep 0.2
sort rank.* >"$1"
"""
MEET = """\
#!/bin/bash
# Waits for another payload on the same node.
touch "$CLAIMS/$SLURMD_NODENAME-$$"
until [ "$(ls "$CLAIMS" | grep -c "^$SLURMD_NODENAME-")" -gt 1 ]; do sleep 0.1; done
echo "$SLURMD_NODENAME met" >"$1"
"""


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    with service.cluster(2, gpus=4) as made:
        yield made


def recipe(slurm: Slurm, tmp_path: Path, **payload: object) -> Recipe:
    claims = tmp_path / "claims"
    claims.mkdir()
    gpus = payload.get("gpus", 0)
    return Recipe(
        nodes=2,
        cores_per_node=4,
        gpus_per_node=4,
        batch={"dialect": "slurm", "environment": slurm.environment},
        launcher={"name": "srun", "options": ["--mpi=none"]},
        allocation={"min_nodes": 2},
        payload={**payload, "environment": {"CLAIMS": str(claims), "WANTED": str(gpus)}},
    )


def test_no_gpu_is_given_to_two_payloads_on_any_node(slurm: Slurm, tmp_path: Path) -> None:
    made = recipe(slurm, tmp_path, gpus=2)
    with worlds.world(tmp_path, made, {"claim": CLAIM}) as inside, worlds.Controller(inside):
        numbers = worlds.submit(inside, [worlds.job("{out}", transformation="claim") for _ in range(8)])
        assert worlds.until_all_over(inside) == dict.fromkeys(numbers, "finished")
        found = {one.read_text().strip() for one in inside.outputs.rglob("out.*.txt")}
    assert found == {f"{node} {gpus}" for node in ("n1", "n2") for gpus in ("0,1", "2,3")}
    assert (tmp_path / "claims" / "beside-4").exists()  # two payloads ran side by side


def test_ranks_share_the_gpus_of_their_payload(slurm: Slurm, tmp_path: Path) -> None:
    made = recipe(slurm, tmp_path, gpus=3, mpi=True, ranks_per_node=2)
    with worlds.world(tmp_path, made, {"ranks": RANKS}) as inside, worlds.Controller(inside):
        numbers = worlds.submit(inside, [worlds.job("{out}", transformation="ranks", core_count=8)])
        assert worlds.until_all_over(inside) == dict.fromkeys(numbers, "finished")
        (out,) = inside.outputs.rglob("out.*.txt")
        assert out.read_text() == "".join(f"{rank} of 4: 0,1,2\n" for rank in range(4))


def test_payloads_that_need_no_gpu_do_not_wait_for_each_other(slurm: Slurm, tmp_path: Path) -> None:
    made = recipe(slurm, tmp_path)
    with worlds.world(tmp_path, made, {"meet": MEET}) as inside, worlds.Controller(inside):
        numbers = worlds.submit(inside, [worlds.job("{out}", transformation="meet") for _ in range(8)])
        assert worlds.until_all_over(inside) == dict.fromkeys(numbers, "finished")
        found = {one.read_text().strip() for one in inside.outputs.rglob("out.*.txt")}
    assert found == {"n1 met", "n2 met"}
