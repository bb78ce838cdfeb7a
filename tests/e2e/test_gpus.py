"""GPUs that are counted and not there: each payload has its own, whoever runs beside it."""

from __future__ import annotations

from pathlib import Path

from hpcharvest.sandbox.world import Recipe
from tests import worlds
from tests.worlds import Controller

CLAIM = """\
#!/bin/bash
# Claims each GPU that it was given while it runs; fails if another payload has claimed one.
set -e
IFS=, read -ra gpus <<<"$CUDA_VISIBLE_DEVICES"
[ ${#gpus[@]} = 2 ]
for gpu in "${gpus[@]}"; do mkdir "$CLAIMS/$gpu"; done
sleep 0.5
for gpu in "${gpus[@]}"; do rmdir "$CLAIMS/$gpu"; done
echo "$CUDA_VISIBLE_DEVICES" >"$1"
"""


def test_payloads_side_by_side_have_gpus_of_their_own(tmp_path: Path) -> None:
    claims = tmp_path / "claims"
    claims.mkdir()
    recipe = Recipe(
        nodes=1, cores_per_node=8, gpus_per_node=4, payload={"gpus": 2, "environment": {"CLAIMS": str(claims)}}
    )
    with worlds.world(tmp_path, recipe, {"claim": CLAIM}) as inside, Controller(inside):
        numbers = worlds.submit(inside, [worlds.job("{out}", transformation="claim") for _ in range(8)])
        assert worlds.until_all_over(inside) == dict.fromkeys(numbers, "finished")
        found = {one.read_text().strip() for one in inside.outputs.rglob("out.*.txt")}
    assert found == {"0,1", "2,3"}
