"""Words of a batch system that nobody knows are told, and nothing follows from them."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from hpcharvest.sandbox.batch.cluster import Cluster
from hpcharvest.sandbox.batch.settings import Settings
from hpcharvest.sandbox.world import Recipe
from tests import worlds
from tests.worlds import Controller

STRANGE = """\
import subprocess, sys
words = sys.argv[1:]
done = subprocess.run([sys.executable, "-m", "hpcharvest.sandbox.batch", *words], capture_output=True, text=True)
print(done.stdout.replace("RUNNING", "DREAMING"), end="")
print(done.stderr, end="", file=sys.stderr)
sys.exit(done.returncode)
"""
"""The embedded batch system, but for one word."""


def test_a_state_never_seen_before_is_told_and_the_job_is_harvested(tmp_path: Path) -> None:
    program = tmp_path / "strange.py"
    program.write_text(STRANGE)
    spool = tmp_path / "spool"
    recipe = Recipe(
        batch={"dialect": "local", "command": [sys.executable, str(program), "--spool", str(spool)]},
        patience={"batch_poll_s": 0.5, "batch_grace_s": 0.5, "heartbeat_s": 0.5, "heartbeat_stale_s": 1.5},
    )
    (tmp_path / "world").mkdir()
    with (
        Cluster(spool, Settings(nodes=2, cores_per_node=2)),
        worlds.world(tmp_path / "world", replace(recipe, nodes=2)) as inside,
        Controller(inside),
    ):
        numbers = worlds.submit(inside, [worlds.copying_job(inside, seconds=4)])
        worlds.eventually(lambda: "'DREAMING'" in worlds.log_of(inside), lambda: worlds.log_of(inside))
        with worlds.database(inside) as opened:
            worlds.eventually(lambda: opened.allocations.live()[0].batch_words == "DREAMING", "the words are kept")
        worlds.until_all_over(inside)
        worlds.assert_books_agree(inside, numbers)
        assert set(worlds.tally(inside, "start").values()) == {1}
