"""Ranges that are programs of MPI on several nodes each, by the runner on virtual nodes, with a real mpiexec."""

from __future__ import annotations

import collections
import dataclasses
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcharvest.jumbo import kin
from hpcharvest.messenger.protocol import ExitCode, Manifest
from hpcharvest.messenger.ranges import PayloadKind
from hpcharvest.sandbox.world import BRISK, Recipe
from tests import worlds
from tests.e2e.test_runner_ranges import PATIENCE_S, Allocation, command_line, content_of, ranges, until

MPIEXEC = str(Path(sys.executable).with_name("mpiexec"))
LAUNCHER = (MPIEXEC, "-launcher", "fork", "-hosts", "{hosts}", "-ppn", "{ranks_per_node}", "-n", "{ranks}")
PROGRAM = """
import os, sys, time
from mpi4py import MPI

name, output, tally, go = sys.argv[1:]
hosts = MPI.COMM_WORLD.gather(os.environ["PMI_HOSTNAME"])
if hosts:
    with open(tally, "a") as begun:
        begun.write(f"{name} {hosts[0]}\\n")
while not os.path.exists(go):
    time.sleep(0.05)
if hosts:
    open(output, "w").write(f"{name} {','.join(hosts)}")
"""


class Cluster(Allocation):
    """An allocation with a launcher, whose payload is a program on two nodes."""

    def _start(self, manifest: Manifest, nodes: str, left_s: float) -> subprocess.Popen[bytes]:
        wide = tuple(dataclasses.replace(task, nodes=2) for task in manifest.event_tasks)
        return super()._start(dataclasses.replace(manifest, launcher=LAUNCHER, event_tasks=wide), nodes, left_s)

    def begin(self) -> subprocess.Popen[bytes]:
        """Start a runner, whose payloads wait for the word to go."""
        program = self.folder / "program.py"
        program.write_text(PROGRAM)
        argv = (sys.executable, str(program), "{eventRangeID}", "{output}", str(self.folder / "tally"), str(self.go))
        return self.start(*argv, kind=PayloadKind.MPI, nodes="v1,v2,v3,v4", cores=2, ranks_per_node=2)

    @property
    def go(self) -> Path:
        """The file for which payloads wait."""
        return self.folder / "go"

    def begun(self) -> list[tuple[str, str]]:
        """Give each start of a range, and the first of the nodes on which it was."""
        tally = self.folder / "tally"
        lines = tally.read_text().splitlines() if tally.exists() else []
        return [(name, node) for name, node in (line.split() for line in lines)]

    def hosts(self) -> set[str]:
        """Give the hosts of the ranks of ranges that are in archives."""
        found = set()
        for archive in self.archives():
            with tarfile.open(self.mailbox.folder / "archives" / archive.name) as tar:
                members = [member for member in tar if member.name.startswith("in.")]
                found |= {content_of(tar, member.name).read().decode().split()[1] for member in members}
        return found

    def agent(self, node: str) -> int:
        (found,) = (pid for pid in self.agents() if f" {node} " in command_line(pid))
        return found

    def launchers(self) -> dict[int, str]:
        """Give the launchers that run now, with the nodes whose agents have them."""
        marks = kin.marks_of(self.tag)
        return {pid: mark.split("/")[3] for pid, mark in marks.items() if command_line(pid).startswith(MPIEXEC)}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path)
    yield made
    made.clean_up()


def test_each_range_is_one_program_on_the_two_nodes_of_a_group(cluster: Cluster) -> None:
    runner = cluster.begin()
    cluster.go.touch()
    cluster.feed(ranges(8))
    assert runner.wait(PATIENCE_S) == ExitCode.LEFT
    assert cluster.done() == collections.Counter(one.id for one in cluster.fed)
    assert cluster.hosts() == {"v1,v1,v2,v2", "v3,v3,v4,v4"}
    assert sorted(name for name, _ in cluster.begun()) == sorted(one.id for one in cluster.fed)
    assert not list(cluster.folder.glob("job/mpi.*")), "nothing is left on the shared file system"


DEATHS = [
    ("v3", signal.SIGKILL),
    pytest.param("v4", signal.SIGSTOP, marks=pytest.mark.slow),  # found out after half a minute of silence
]


@pytest.mark.parametrize(("node", "deadly"), DEATHS)
def test_a_dead_node_costs_its_group_what_is_under_way_there_and_the_other_group_nothing(
    cluster: Cluster, node: str, deadly: signal.Signals
) -> None:
    runner = cluster.begin()
    cluster.feed(ranges(4))
    until(lambda: len(cluster.begun()) == 2, "a program on each group")
    launchers = cluster.launchers()
    assert sorted(launchers.values()) == ["v1", "v3"]
    (there,) = (pid for pid, at in launchers.items() if at == "v3")
    os.kill(cluster.agent(node), deadly)
    until(lambda: there not in cluster.launchers(), "the end of what is on the group")
    cluster.go.touch()
    assert runner.wait(PATIENCE_S) == ExitCode.LEFT
    assert cluster.done() == collections.Counter(one.id for one in cluster.fed)
    begun = collections.Counter(name for name, _ in cluster.begun())
    assert sorted(begun.values()) == [1, 1, 1, 2]
    (twice,) = (name for name, times in begun.items() if times == 2)
    assert (twice, "v3") in cluster.begun()[:2]
    assert not cluster.failed()


@pytest.mark.slow
def test_a_job_whose_ranges_are_programs_of_mpi_is_done_from_panda_to_panda_over_a_link_of_mpi(tmp_path: Path) -> None:
    programs = tmp_path / "transformations"
    programs.mkdir()
    program = programs / "hosts"
    program.write_text('#!/bin/sh\n[ "$PMI_RANK" != 0 ] || echo "$1 of $PMI_SIZE" >"$2"\n')
    program.chmod(0o755)
    section = {
        "kind": "mpi",
        "nodes_per_slot": 2,
        "ranks_per_node": 3,
        "arguments": ["{eventRangeID}", "{output}"],
        "expected_range_s": 1.0,
        "archive_age_s": 1.0,
        "nodes": 4,
        "walltime_s": 120,
    }
    recipe = Recipe(
        nodes=4,
        launcher={"argv": list(LAUNCHER), "link": "mpi"},
        payload={"transformation_dir": str(programs), "event_ranges": section},
        patience=BRISK,
    )
    with worlds.world(tmp_path, recipe) as inside:
        job = worlds.job("", inputs=[inside.put_input("in", b"x")], outputs=[], transformation="hosts")
        inside.submit_events(job, 6)
        with worlds.Controller(inside):
            assert set(worlds.until_all_over(inside).values()) == {"finished"}, worlds.log_of(inside)
        told = inside.books()["events"]
        assert (told["states"], told["finished_again"]) == ({"done": 6}, 0)
        outputs = []
        for path in inside.outputs.rglob("EventService_premerge_*"):
            with tarfile.open(path) as tar:
                outputs += [content_of(tar, member.name).read() for member in tar]
    assert sum(text.endswith(b" of 6\n") for text in outputs) == 6
