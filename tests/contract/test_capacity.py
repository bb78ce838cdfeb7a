"""What is free, asked of a real Slurm and of the embedded batch system; and a site file of the machine under us."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from hpcharvest.cli.main import main
from hpcharvest.sandbox import slurm as service
from hpcharvest.sandbox.slurm import Slurm
from tests import worlds
from tests.services.places import PLACES

SITE = """\
[site]
name = "here"

[nodes]
cores = 4

[allocation]
max_walltime_s = 3600

[batch]
dialect = "{dialect}"
{more}
"""


def call(*words: object, env: dict[str, str] | None = None) -> str:
    """Run a command of ours; give what it printed."""
    told = CliRunner().invoke(main, [str(word) for word in words], env=env)
    assert told.exit_code == 0, told.output
    return told.stdout


def capacity(file: Path, *words: str) -> Any:
    return json.loads(call("site", "capacity", file, "--output", "json", *words))


def free(page: Any, partition: str) -> int:
    return sum(one["free"] for one in page["free"] if one["partition"] == partition)


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    with service.cluster(3) as started:
        yield started


@pytest.fixture(scope="module")
def site(slurm: Slurm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("site") / "here.toml"
    environment = ", ".join(f'{name} = "{value}"' for name, value in slurm.environment.items())
    file.write_text(SITE.format(dialect="slurm", more=f"environment = {{ {environment} }}"))
    return file


@pytest.mark.needs("slurm")
def test_the_nodes_and_limits_of_a_slurm_are_seen(site: Path) -> None:
    page = capacity(site, "--try", "2x600", "--try", "9x600")
    assert (free(page, "regular"), free(page, "debug")) == (3, 2)
    assert {(one["partition"], one["nodes"], one["seconds"]) for one in page["holes"]} == {
        ("regular", 3, None),
        ("debug", 2, None),
        ("preempt", 3, None),
    }
    debug = next(one for one in page["limits"] if one["name"] == "debug")
    assert (debug["max_nodes"], debug["max_walltime_s"]) == (2, 1800)
    soon, never = page["starts"]
    assert abs(soon["at"] - page["heard"][0]["at"]) < 60
    assert never["at"] is None
    assert all(0 <= one["age_s"] < 60 for one in page["free"])
    assert {one["command"].split()[0] for one in page["skipped"]} == {"sacctmgr"}  # no accounting here


@pytest.mark.needs("slurm")
def test_a_job_takes_its_node_a_plan_and_a_reservation_bound_the_hole(slurm: Slurm, site: Path) -> None:
    running = slurm.run("sbatch", "--parsable", "-N1", "-t5", "--output=/dev/null", "--wrap=sleep 300").strip()
    slurm.wait(lambda: slurm.run("squeue", "-h", "-t", "R") != "", "the job runs")
    slurm.run("scontrol", "create", "reservation", "ReservationName=m", "StartTime=now+20minutes", "Duration=30", *MINE)
    try:
        page = capacity(site)
        assert free(page, "regular") == 2
        (kept,) = page["reservations"]
        assert (kept["name"], kept["maintenance"], kept["usable"], kept["nodes"]) == ("m", True, False, 3)
        (hole,) = (one for one in page["holes"] if one["partition"] == "regular")
        assert hole["nodes"] == 2
        assert 1100 < hole["seconds"] <= 1200
        assert [(one["id"], one["state"], one["nodes"]) for one in page["own"]] == [(running, "running", 1)]
        waiting = slurm.run("sbatch", "--parsable", "-N3", "-t5", "--output=/dev/null", "--wrap=true").strip()
        worlds.eventually(lambda: capacity(site).get("planned"), "the big job has its plan", pause_s=0.5)
        page = capacity(site)
        assert [(one["id"], one["nodes"]) for one in page["planned"]] == [(waiting, 3)]
        (hole,) = (one for one in page["holes"] if one["partition"] == "regular")
        assert (hole["nodes"], 0 < hole["seconds"] <= 300) == (2, True)
    finally:
        slurm.run("scancel", "--user=root")
        slurm.run("scontrol", "delete", "ReservationName=m")
        slurm.wait(lambda: not slurm.run("squeue", "-h"), "all batch jobs are gone")


MINE = ("Nodes=ALL", "Users=root", "Flags=MAINT")


@pytest.mark.needs("slurm")
def test_a_drained_node_is_not_free(slurm: Slurm, site: Path) -> None:
    slurm.run("scontrol", "update", "NodeName=n3", "State=DRAIN", "Reason=test")
    try:
        assert free(capacity(site), "regular") == 2
    finally:
        slurm.run("scontrol", "update", "NodeName=n3", "State=RESUME")
        slurm.wait(lambda: slurm.node_state("n3") == "idle", "n3 is back")


@pytest.mark.needs("slurm")
def test_a_site_file_is_made_of_this_machine_and_slurm_takes_its_script(slurm: Slurm, tmp_path: Path) -> None:
    file, script = tmp_path / "new.toml", tmp_path / "script.sh"
    call("site", "init", "--output-file", file, "--name", "mine", "--partition", "debug", env=slurm.environment)
    assert "is a valid site file" in call("site", "validate", file)
    script.write_text(call("site", "preview", file))
    assert "#SBATCH --partition=debug" in script.read_text()
    done = subprocess.run(
        ["env", *(f"{name}={value}" for name, value in slurm.environment.items()), "sbatch", "--test-only", script],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "to start at" in done.stderr
    assert "in partition debug" in done.stderr
    assert call("site", "capacity", file, "--output", "quiet").splitlines()[0] == "regular:3xinf"


@pytest.mark.needs("slurm")
def test_a_controller_that_is_away_says_nothing_and_not_zero(slurm: Slurm, site: Path) -> None:
    slurm.stop("slurmctld")
    try:
        told = CliRunner().invoke(main, ["site", "capacity", str(site), "--output", "json"])
        assert told.exit_code == 1
        page = json.loads(told.stdout)
        assert page["free"] == page["holes"] == []
        assert {"nodes", "own", "limits"} <= {one["topic"] for one in page["skipped"]}
        assert "Unable to contact slurm controller" in page["skipped"][0]["reason"]
    finally:
        slurm.start_controller()


def test_the_embedded_batch_system_tells_what_is_free(tmp_path: Path) -> None:
    with PLACES["local"](tmp_path) as place:
        words = json.dumps(list(place.system.dialect.status_argv())[:-2])
        file = tmp_path / "here.toml"
        file.write_text(SITE.format(dialect="local", more=f"command = {words}"))
        before = capacity(file)
        batch_id = place.run("sleep 600")
        worlds.eventually(lambda: free(capacity(file), "") == free(before, "") - 1, "the job has its node")
        page = capacity(file)
        assert [(one["id"], one["state"], one["nodes"]) for one in page["own"]] == [(batch_id, "running", 1)]
        assert page["limits"][0]["default"]
        assert page["skipped"] == []
        place.end(batch_id)
        assert free(capacity(file), "") == free(before, "")
