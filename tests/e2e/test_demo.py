"""The demonstration as people start it: it succeeds through crashes, notices fraud, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from hpcharvest.cli.demo.audit import audit
from hpcharvest.cli.demo.evidence import gather
from hpcharvest.cli.demo.ledger import Ledger
from hpcharvest.cli.demo.orders import submit
from hpcharvest.cli.demo.venue import VENUES
from hpcharvest.sandbox.world import World

pytestmark = [pytest.mark.needs("pythia"), pytest.mark.needs("mpi"), pytest.mark.slow]

COMMAND = [sys.executable, "-m", "hpcharvest", "demo"]
TIMEOUT_S = 200


def demo(*arguments: str, temporary: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        env={**os.environ, "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    place = tmp_path / "tmp"
    place.mkdir()
    return place


@pytest.mark.needs("slurm")
@pytest.mark.timeout(240)
def test_all_agree_on_a_real_slurm(temporary: Path) -> None:
    done = demo(
        *("--batch", "slurm", "--jobs", "3", "--events", "6", "--ranges", "20", "--output", "json"), temporary=temporary
    )
    assert done.returncode == 0, done.stderr + done.stdout
    told: dict[str, Any] = json.loads(done.stdout)
    assert [(one["verdict"], one["events"]) for one in told["jobs"]] == [("agrees", 6)] * 3
    assert [(one["verdict"], one["ranges"], one["killed"]) for one in told["jumbo"]] == [("agrees", 20, 0)]
    assert {node for one in told["jobs"] for node in one["nodes"].split(",")} <= {"n1", "n2", "n3", "n4"}
    assert list(temporary.glob("slurm-*")) == []


@pytest.mark.timeout(240)
def test_all_agree_although_the_controller_is_killed_and_a_node_is_lost(temporary: Path) -> None:
    words = ("--jobs", "3", "--events", "6", "--ranges", "24", "--kill", "2", "--output", "json")
    done = demo(*words, temporary=temporary)
    assert done.returncode == 0, done.stderr + done.stdout
    told: dict[str, Any] = json.loads(done.stdout)
    assert [one["verdict"] for one in told["jobs"]] == ["agrees"] * 3
    assert [one["events"] for one in told["jobs"]] == [6] * 3
    assert len({one["adler32"] for one in told["jobs"]}) == 3
    assert all(len(one["nodes"].split(",")) == 2 for one in told["jobs"])
    assert "3 jobs, 18 collisions" in told["verdict"]
    kills = done.stderr.count("the controller was killed")
    assert kills
    assert f"through {kills} crash" in told["verdict"]
    assert list(temporary.glob("hpcharvest-demo-*")) == []
    (jumbo,) = told["jumbo"]
    assert (jumbo["verdict"], jumbo["ranges"], jumbo["events"], jumbo["killed"]) == ("agrees", 24, 120, 1)
    assert jumbo["allocations"] > 1
    assert "in the middle of event ranges" in done.stderr
    assert "1 of them killed, each finished exactly once" in told["verdict"]


def test_too_few_ranges_are_refused(temporary: Path) -> None:
    done = demo("--ranges", "5", temporary=temporary)
    assert done.returncode == 2
    assert "--ranges must be 0, or 20 at least" in done.stderr


def test_a_ctrl_c_leaves_nothing_behind(temporary: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, "--jobs", "2", "--events", "500"],
        env={**os.environ, "TMPDIR": str(temporary)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "running" in line:
            break
    family = psutil.Process(process.pid).children(recursive=True)
    assert family
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=180)
    assert process.returncode != 0
    _, alive = psutil.wait_procs(family, timeout=60)
    assert alive == []
    assert list(temporary.iterdir()) == []


def test_a_folder_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    done = demo("--folder", str(tmp_path), temporary=tmp_path)
    assert done.returncode == 2
    assert "is not empty" in done.stderr
    assert [one.name for one in tmp_path.iterdir()] == ["mine"]


def test_jobs_that_never_ran_are_not_taken_for_good(tmp_path: Path) -> None:
    """No controller runs in this world: the evidence is gathered from a real server, and all of it is bad."""
    with VENUES["local"](tmp_path) as recipe, World(tmp_path, recipe) as world:
        orders = submit(world, jobs=2, events=5)
        state = world.work / "demo" / "state"
        state.mkdir(parents=True)
        ledger = Ledger(world.config)
        try:
            found = {one.what for one in audit(gather(world, orders, ledger)) if one.job == orders[0].job}
        finally:
            ledger.close()
    assert {"the server has it as activated", "the local ledger does not know it"} <= found
    assert {"its payload was started 0 times", f"{orders[0].log} is not in the outputs storage"} <= found


def test_a_failure_is_told_and_the_folder_is_kept(tmp_path: Path) -> None:
    """The steering card is spoiled in the storage after its checksum was promised, so the job must fail."""
    folder = tmp_path / "world"
    process = subprocess.Popen(
        [*COMMAND, "--jobs", "1", "--events", "2", "--ranges", "0", "--folder", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    card = folder / "remote" / "inputs" / "sandbox" / "drell_yan_mumu.cmnd"
    deadline = time.monotonic() + 120
    while not (card.exists() and card.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.002)
    card.write_text("! nothing is on")
    stdout, stderr = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 1
    assert "the server has it as failed" in stdout
    assert "its payload was started 0 times" in stdout
    assert f"everything is kept in {folder}" in stderr
    assert card.exists()
