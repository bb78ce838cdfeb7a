"""The runner whose head and nodes are ranks of one MPI program, on virtual nodes, with a real mpiexec."""

from __future__ import annotations

import collections
import dataclasses
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcharvest.jumbo import kin
from hpcharvest.jumbo.salvage import salvage
from hpcharvest.messenger.protocol import ExitCode, LinkName, Manifest, PayloadEnded, RunnerLeft, RunnerStarted, Task
from hpcharvest.messenger.ranges import PayloadKind
from hpcharvest.model.ids import Attempt, JobId
from hpcharvest.model.states import PayloadResult
from tests.e2e.test_runner_ranges import PATIENCE_S, WRITE, Allocation, command_line, ranges, slow, until

MPIEXEC = str(Path(sys.executable).with_name("mpiexec"))
LAUNCHER = (MPIEXEC, "-launcher", "fork", "-hosts", "{hosts}", "-ppn", "{ranks_per_node}", "-n", "{ranks}")
OF_A_RANK = 'env | grep -E "^(PMI|PMIX|OMPI|HYDI|MPI_LOCAL|HPCHARVEST_MPI)" >&2 && exit 9'
RANK = re.compile(rb"(?:^|\0)PMI_RANK=(\d+)")
NODES = "v1,v2,v3"


class Ensemble(Allocation):
    """An allocation whose runner is a program of MPI."""

    launcher: tuple[str, ...] = LAUNCHER
    nodes_each = 1

    def _start(self, manifest: Manifest, nodes: str, left_s: float) -> subprocess.Popen[bytes]:
        tasks = tuple(dataclasses.replace(task, nodes=self.nodes_each) for task in manifest.event_tasks)
        made = dataclasses.replace(manifest, launcher=self.launcher, link=LinkName.MPI, event_tasks=tasks)
        return super()._start(made, nodes, left_s)

    def task(self, number: int, *argv: str, **more: int | bool) -> None:
        """Add a whole job."""
        folder = str(self.folder / f"job{number}")
        self.tasks.append(Task(job=JobId(number), attempt=Attempt(1), argv=argv, folder=folder, **more))  # type: ignore[arg-type]  # the caller knows

    @property
    def ranks(self) -> dict[int, int]:
        """Give the ranks' processes, by their numbers."""
        found = {}
        for one in Path("/proc").glob("[0-9]*"):
            line = command_line(int(one.name))
            if line.startswith(sys.executable) and f"-m hpcharvest.jumbo.rank {self.mailbox.folder} " in line:
                found[int(one.name)] = RANK.search(one.joinpath("environ").read_bytes())
        return {int(rank[1]): pid for pid, rank in found.items() if rank}

    def outcomes(self) -> dict[int, PayloadResult]:
        """Give the ends of whole jobs."""
        return {one.job: one.outcome.result for one in self.records() if isinstance(one, PayloadEnded)}

    def saved(self) -> collections.Counter[str]:
        """Do as the controller does when all have died: count what is in archives, also those that are salvaged."""
        told = self.records()
        names = {archive.name for archive in self.archives(told)}
        assert self.mailbox.journal.close(len(self.mailbox.read_segments(0)), by="test", at=0)
        return self.done(told) + self.done(list(salvage(self.mailbox.folder, None, names)))

    def clean_up(self) -> None:
        super().clean_up()
        kin.send(self.ranks.values(), signal.SIGKILL)


@pytest.fixture
def ensemble(tmp_path: Path) -> Iterator[Ensemble]:
    made = Ensemble(tmp_path)
    yield made
    made.clean_up()


def under_way(ensemble: Ensemble, count: int = 200) -> subprocess.Popen[bytes]:
    """Have three nodes at work, of whose ranges some are done."""
    runner = ensemble.start(*slow(0.1), nodes=NODES)
    ensemble.feed(ranges(count), last=False)
    spools = ensemble.mailbox.folder / "nodes"
    until(lambda: len([one for one in spools.glob("*.jsonl") if one.stat().st_size > 500]) == 3, "three nodes at work")
    return runner


def test_every_range_is_done_once_and_archived_and_no_payload_takes_itself_for_a_rank(ensemble: Ensemble) -> None:
    runner = ensemble.start("sh", "-c", f"{OF_A_RANK}; {WRITE[2]}; sleep 0.1", *WRITE[3:], nodes=NODES)
    ensemble.feed(ranges(40))
    assert runner.wait(PATIENCE_S) == ExitCode.LEFT
    assert ensemble.done() == collections.Counter(one.id for one in ensemble.fed)
    first, last = ensemble.records()[0], ensemble.records()[-1]
    assert isinstance(first, RunnerStarted)
    assert first.nodes == ("v1", "v2", "v3")
    assert isinstance(last, RunnerLeft)
    assert {one.name for one in (ensemble.mailbox.folder / "nodes").iterdir()} == {f"v{n}.0.jsonl" for n in (1, 2, 3)}
    assert not list(ensemble.folder.glob("scratch/*")), "nothing is left on the node"
    assert not ensemble.ranks


def test_whole_jobs_run_beside_also_those_that_the_launcher_starts(ensemble: Ensemble) -> None:
    ensemble.task(1, "sh", "-c", OF_A_RANK + "; exit 0")
    world = "from mpi4py import MPI; assert MPI.COMM_WORLD.allreduce(1) == 4"
    ensemble.task(2, sys.executable, "-c", world, nodes=2, cores=2, mpi=True, ranks_per_node=2)
    runner = ensemble.start(*slow(0.1), nodes=NODES)
    ensemble.feed(ranges(12))
    assert runner.wait(PATIENCE_S) == ExitCode.LEFT
    assert ensemble.outcomes() == {1: PayloadResult.DONE, 2: PayloadResult.DONE}
    assert sum(ensemble.done().values()) == 12


def test_ranges_may_be_programs_of_mpi_themselves(ensemble: Ensemble) -> None:
    ensemble.nodes_each = 2
    program = (
        "import sys; from mpi4py import MPI; assert MPI.COMM_WORLD.allreduce(1) == 2; "
        "MPI.COMM_WORLD.rank or open(sys.argv[2], 'w').write(sys.argv[1])"
    )
    argv = (sys.executable, "-c", program, "{eventRangeID}", "{output}")
    runner = ensemble.start(*argv, kind=PayloadKind.MPI, nodes=f"{NODES},v4", cores=2)
    ensemble.feed(ranges(8))
    assert runner.wait(PATIENCE_S) == ExitCode.LEFT
    assert ensemble.done() == collections.Counter(one.id for one in ensemble.fed)


def test_when_everything_is_killed_all_that_was_finished_is_salvaged(ensemble: Ensemble) -> None:
    runner = under_way(ensemble)
    kin.send({runner.pid, *ensemble.ranks.values(), *kin.of_this_start(ensemble.tag, 0)}, signal.SIGKILL)
    runner.wait()
    until(lambda: not ensemble.ranks, "the end of all")
    counted = ensemble.saved()
    assert set(counted.values()) == {1}
    assert len(counted) >= 6


@pytest.mark.parametrize("rank", [0, 2])
def test_when_one_rank_dies_mpi_ends_all_and_nothing_that_was_finished_is_lost(ensemble: Ensemble, rank: int) -> None:
    runner = under_way(ensemble)
    os.kill(ensemble.ranks[rank], signal.SIGKILL)
    assert runner.wait(PATIENCE_S) == ExitCode.UNPUBLISHED
    assert not ensemble.ranks
    assert not kin.of_this_start(ensemble.tag, 0), "the runner's first process ends what it finds"
    counted = ensemble.saved()
    assert set(counted.values()) == {1}
    assert len(counted) >= 6


def test_a_word_of_the_batch_system_lets_all_leave_in_good_order(ensemble: Ensemble) -> None:
    runner = under_way(ensemble, 2000)
    begun = time.monotonic()
    runner.send_signal(signal.SIGTERM)
    assert runner.wait(PATIENCE_S) == ExitCode.LEFT
    assert time.monotonic() - begun < 15
    last = ensemble.records()[-1]
    assert isinstance(last, RunnerLeft)
    assert last.reason == "the runner was told to leave by a signal"
    assert set(ensemble.done().values()) == {1}


def test_the_process_of_the_first_node_is_no_rank_and_is_started_again(ensemble: Ensemble) -> None:
    runner = under_way(ensemble, 60)
    (agent,) = ensemble.agents()
    os.kill(agent, signal.SIGKILL)
    until((ensemble.mailbox.folder / "nodes" / "v1.1.jsonl").exists, "the next one")
    ensemble.feed((), last=True)
    assert runner.wait(PATIENCE_S) == ExitCode.LEFT
    assert ensemble.done() == collections.Counter(one.id for one in ensemble.fed)


def test_a_start_that_is_not_to_run_ends_all_ranks_at_once(ensemble: Ensemble) -> None:
    ensemble.mailbox.folder.joinpath("journal").mkdir(parents=True)
    assert ensemble.mailbox.journal.close(0, by="test", at=0)
    begun = time.monotonic()
    assert ensemble.start(*WRITE, nodes=NODES).wait(PATIENCE_S) == ExitCode.FENCED
    assert time.monotonic() - begun < 20


@pytest.mark.parametrize(
    "launcher", [(), ("no-such-launcher",), (MPIEXEC, "-n", "1"), (MPIEXEC, "-launcher", "fork", "-n", "2")]
)
def test_a_launcher_that_does_not_start_one_rank_on_each_node_is_told(
    ensemble: Ensemble, launcher: tuple[str, ...]
) -> None:
    ensemble.launcher = launcher
    assert ensemble.start(*WRITE, nodes=NODES).wait(PATIENCE_S) == ExitCode.USAGE


def test_on_one_node_there_is_nothing_to_link(ensemble: Ensemble) -> None:
    ensemble.launcher = ("no-such-launcher",)
    runner = ensemble.start(*WRITE, nodes="v1")
    ensemble.feed(ranges(4))
    assert runner.wait(PATIENCE_S) == ExitCode.LEFT
    assert sum(ensemble.done().values()) == 4
