"""The srun line of the site files, on a real Slurm: payloads of one batch job share a node, each with all its cores."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from hpcharvest.config.loader import load_site, shipped_sites
from hpcharvest.config.schema import Launcher
from hpcharvest.engine import launchers
from hpcharvest.jumbo import command
from hpcharvest.messenger.protocol import Task
from hpcharvest.model.ids import Attempt, JobId
from hpcharvest.sandbox import slurm as service

pytestmark = pytest.mark.needs("slurm")

MEETS = """
touch "$0.$1"
for _ in {1..200}; do
    [ -e "$0.a" ] && [ -e "$0.b" ] && echo "$1 met, $(nproc) cores" && break
    sleep 0.1
done
"""
"""A payload that waits for its neighbour, and so tells that both were there at once."""


def line(launcher: tuple[str, ...], code: str, *words: str, nodes: int) -> str:
    """Give the command line of a payload, for a shell that knows the nodes' names."""
    task = Task(
        job=JobId(1),
        attempt=Attempt(1),
        argv=("bash", "-c", code, *words),
        folder="/f",
        nodes=nodes,
        mpi=nodes > 1,
        ranks_per_node=2 if nodes > 1 else 1,
    )
    argv = command.words(task, ["$N1", "$N2"][-nodes:], launcher, here=False)
    return " ".join(f'"{word}"' if "$N" in word else shlex.quote(word) for word in argv)


def launcher_of_slurm() -> tuple[str, ...]:
    """Give the line that all site files with Slurm have."""
    sites = map(load_site, sorted(shipped_sites().rglob("*.toml")))
    [argv] = {site.launcher.argv for site in sites if site.batch.dialect == "slurm"}
    return argv


def submitted(script: Path) -> subprocess.CompletedProcess[str]:
    """Run a batch script on two nodes of a Slurm."""
    with service.cluster(2) as slurm:
        return subprocess.run(
            ["sbatch", "--wait", str(script)],
            env={**os.environ, **slurm.environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


def test_payloads_under_srun_share_a_node_where_memory_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the first step takes all memory that the batch job asked for, and the next one waits for its end."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(service, "SLURM_CONF", service.SLURM_CONF.replace("CR_Core", "CR_Core_Memory"))
    launcher = launchers.words(Launcher(name="srun"), "")
    payloads = [line(launcher, MEETS, str(tmp_path / "met"), who, nodes=1) for who in "ab"]
    script = tmp_path / "script.sh"
    script.write_text(
        f"#!/bin/bash\n#SBATCH --nodes=2 --exclusive --mem=900 --output={tmp_path}/out --error={tmp_path}/err\n"
        'read -r N1 N2 <<<"$(scontrol show hostnames "$SLURM_JOB_NODELIST" | paste -sd" ")"\n'
        f"{payloads[0]} &\n{payloads[1]} &\nwait\n"
    )
    submitted(script)
    said = sorted((tmp_path / "out").read_text().splitlines())
    assert [words.partition(",")[0] for words in said] == ["a met", "b met"], (tmp_path / "err").read_text()


def test_payloads_share_a_node_and_each_may_use_all_its_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --cpus-per-task, each of the two would be bound to the first core."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(service, "SLURM_CONF", service.SLURM_CONF.replace("task/none", "task/affinity"))
    launcher, met = launcher_of_slurm(), str(tmp_path / "met")
    alone = [line(launcher, MEETS, met, who, nodes=1) for who in "ab"]
    ranks = line(launcher, 'echo "rank $SLURM_PROCID of $SLURM_NTASKS at $SLURM_NODEID"', nodes=2)
    script = tmp_path / "script.sh"
    script.write_text(
        f"#!/bin/bash\n#SBATCH --nodes=2 --exclusive --output={tmp_path}/out --error={tmp_path}/err\n"
        'read -r N1 N2 <<<"$(scontrol show hostnames "$SLURM_JOB_NODELIST" | paste -sd" ")"\n'
        f"{alone[0]} &\n{alone[1]} &\nwait\n{ranks}\n"
    )
    ended = submitted(script)
    said = sorted((tmp_path / "out").read_text().splitlines())
    assert ended.returncode == 0, ended.stderr + (tmp_path / "err").read_text()
    cores = len(os.sched_getaffinity(0))
    assert said[:2] == [f"a met, {cores} cores", f"b met, {cores} cores"]
    assert said[2:] == ["rank 0 of 4 at 0", "rank 1 of 4 at 0", "rank 2 of 4 at 1", "rank 3 of 4 at 1"]
