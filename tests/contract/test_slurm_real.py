"""A real Slurm, spoken to in its dialect: what every provider must do, and what only Slurm does."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from hpcharvest.engine.launchers import LAUNCHERS
from hpcharvest.errors import BatchUnreachable, SubmissionRefused
from hpcharvest.model.shape import Shape
from hpcharvest.model.states import BatchState
from hpcharvest.providers.batch import BatchSystem
from hpcharvest.providers.dialect import BatchRequest, BatchStatus, Spoken
from hpcharvest.providers.script import render
from hpcharvest.providers.slurm import SlurmDialect
from hpcharvest.sandbox import slurm as service
from hpcharvest.sandbox.slurm import Slurm
from hpcharvest.sandbox.world import Recipe
from tests import worlds

pytestmark = pytest.mark.needs("slurm")
_numbers = itertools.count(1)


@dataclass(frozen=True, kw_only=True)
class Place:
    """A Slurm, how to speak to it, and a folder for its batch jobs with a name that makes trouble."""

    slurm: Slurm
    folder: Path
    system: BatchSystem

    def request(self, code: str, *, walltime_s: int = 600, nodes: int = 1, partition: str = "", **more: Any) -> Any:
        """Make a request whose runner is a line of shell, run as the real one is."""
        number = next(_numbers)
        folder = self.folder / f"it's {number} = 100% $HOME"
        folder.mkdir()
        shape = Shape(nodes=nodes, walltime_s=walltime_s, partition=partition)
        request = BatchRequest(tag=f"tag-{number}", shape=shape, folder=folder, **more)
        request.script.write_text(render(self.system.dialect, request, ["bash", "-c", code, "-", str(folder)]))
        return request

    def submit(self, code: str, **more: Any) -> str:
        """Submit a line of shell, whose $1 is its folder; give the batch id."""
        return self.system.submit(self.request(code, **more))

    def until(self, batch_id: str, *states: BatchState, timeout_s: float = 60.0) -> BatchStatus:
        """Wait until the batch job is in one of these states."""
        found: list[BatchStatus] = []

        def holds() -> bool:
            found[:] = [self.system.status()[batch_id]]
            return found[0].state in states

        worlds.eventually(holds, lambda: f"{states}, but {found}", timeout_s, pause_s=0.3)
        return found[0]

    def end(self, *ids: str) -> None:
        """Cancel batch jobs and wait until their nodes are free."""
        self.system.cancel(ids)
        for batch_id in ids:
            self.until(batch_id, BatchState.CANCELLED)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with service.cluster(4, accounting=True) as slurm:
        system = BatchSystem(SlurmDialect(), timeout_s=180, per_minute=6000, environment=slurm.environment)
        yield Place(slurm=slurm, folder=tmp_path_factory.mktemp("slurm"), system=system)


@pytest.fixture(scope="module", autouse=True)
def long_job(place: Place) -> tuple[BatchRequest, str]:
    """Submit a batch job that its walltime will end: Slurm knows whole minutes only, so it begins first."""
    code = """trap 'date +%s >"$1/warned"' USR1; date +%s >"$1/began"; while true; do sleep 0.5; done"""
    request = place.request(code, walltime_s=60, signal_before_end_s=20)
    return request, place.system.submit(request)


def test_a_batch_job_gets_its_nodes_its_id_and_its_deadline(place: Place) -> None:
    told = 'echo "$HPCHARVEST_NODES|$HPCHARVEST_BATCH_ID|$HPCHARVEST_RESTART|$HPCHARVEST_DEADLINE|$(date +%s)"'
    request = place.request(f"{told}; echo err >&2", nodes=2)
    batch_id = place.system.submit(request)
    place.until(batch_id, BatchState.COMPLETED)
    nodes, found, restart, deadline, now = (request.folder / "stdout").read_text().strip().split("|")
    assert len(set(nodes.split(",")) & set(place.slurm.nodes)) == 2
    assert (found, restart) == (batch_id, "0")
    assert 590 < int(deadline) - int(now) <= 601
    assert (request.folder / "stderr").read_text() == "err\n"


def test_srun_as_we_word_it_starts_a_rank_on_each_node(place: Place) -> None:
    values = {"nodes": 2, "ranks": 2, "ranks_per_node": 1, "cores": 2, "gpus": 0, "hosts": '"$HPCHARVEST_NODES"'}
    words = " ".join(LAUNCHERS["srun"].words).format(**values)
    request = place.request(f"{words} printenv SLURMD_NODENAME; {words} true", nodes=2)
    place.until(place.system.submit(request), BatchState.COMPLETED)
    assert len(set((request.folder / "stdout").read_text().split()) & set(place.slurm.nodes)) == 2


def test_a_batch_job_is_found_by_its_tag(place: Place) -> None:
    request = place.request("true")
    assert place.system.find(request.tag) == ""
    batch_id = place.system.submit(request)
    assert place.system.find(request.tag) == batch_id
    place.until(batch_id, BatchState.COMPLETED)
    assert place.system.find(request.tag) == batch_id  # also when it has ended


def test_what_a_users_shell_wants_of_slurm_changes_neither_batch_job_nor_answer(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    wishes = {"JOB_NAME": "mine", "TIMELIMIT": "1", "PARTITION": "debug", "REQUEUE": "1", "ARRAY_INX": "1-3"}
    for name, value in wishes.items():
        monkeypatch.setenv(f"SBATCH_{name}", value)
    for name in ("NAMES", "PARTITION", "ACCOUNT"):
        monkeypatch.setenv(f"SQUEUE_{name}", "another")
    request = place.request("sleep 60", partition="regular")
    batch_id = place.system.submit(request)
    assert place.system.find(request.tag) == batch_id
    told = place.slurm.run("scontrol", "show", "job", batch_id, "--oneliner")
    assert "Partition=regular" in told
    assert "Requeue=0" in told
    assert "TimeLimit=00:10:00" in told
    place.system.cancel([batch_id])


def test_the_newest_of_two_with_one_tag_is_found(place: Place) -> None:
    request = place.request("true")
    first = place.system.submit(request)
    second = place.system.submit(request)
    assert int(second) > int(first)
    assert place.system.find(request.tag) == second


def test_a_failure_is_told_and_the_accounting_knows_its_exit_code(place: Place) -> None:
    batch_id = place.submit("exit 3")
    assert "NonZeroExitCode" in place.until(batch_id, BatchState.FAILED).words
    worlds.eventually(lambda: "3:0" in accounted(place, batch_id).words, "it is in the accounts")
    assert accounted(place, batch_id).state is BatchState.FAILED


def accounted(place: Place, batch_id: str) -> BatchStatus:
    dialect = place.system.dialect
    out = place.slurm.run(*dialect.accounting_argv({batch_id: None, "999999": None}))
    said = dialect.read_accounting(Spoken(exit_code=0, out=out))
    assert said.keys() <= {batch_id}
    return said.get(batch_id) or BatchStatus(id=batch_id, state=BatchState.ABSENT, words="")


def test_a_batch_job_is_cancelled_and_may_be_cancelled_again(place: Place) -> None:
    batch_id = place.submit("sleep 60")
    place.until(batch_id, BatchState.RUNNING)
    place.end(batch_id)
    place.end(batch_id)
    worlds.eventually(lambda: accounted(place, batch_id).words.startswith("CANCELLED by"), "it is in the accounts")
    assert accounted(place, batch_id).state is BatchState.CANCELLED


def test_what_can_never_run_waits_and_says_so(place: Place) -> None:
    waiting = [place.submit("true", partition="debug", walltime_s=7200), place.submit("true", nodes=99)]
    for batch_id in waiting:
        words = place.until(batch_id, BatchState.PENDING).words
        assert re.fullmatch(r"PENDING Partition(Config|TimeLimit) \(as it is, it will never run\)", words)
    place.end(*waiting)


@pytest.mark.parametrize("change", [{"partition": "nosuch"}, {"options": ("--nosuch",)}])
def test_what_cannot_be_is_refused_in_slurms_words(place: Place, change: dict[str, Any]) -> None:
    with pytest.raises(SubmissionRefused, match="nosuch"):
        place.submit("true", **change)


def test_a_drained_node_lets_its_batch_job_end(place: Place) -> None:
    batch_id = place.submit("sleep 3", options=("--nodelist=n4",))
    place.until(batch_id, BatchState.RUNNING)
    place.slurm.run("scontrol", "update", "NodeName=n4", "State=DRAIN", "Reason=a test, no more")
    later = place.submit("true", options=("--nodelist=n4",))
    place.until(batch_id, BatchState.COMPLETED)
    assert "ReqNodeNotAvail" in place.until(later, BatchState.PENDING).words
    place.slurm.run("scontrol", "update", "NodeName=n4", "State=RESUME")
    place.until(later, BatchState.COMPLETED)


def test_who_may_not_be_requeued_ends_preempted_and_who_may_goes_on_waiting(place: Place) -> None:
    victim = place.submit("sleep 90", partition="preempt", options=("--nodelist=n3",))
    patient = place.submit("sleep 90", partition="preempt", options=("--nodelist=n4", "--requeue"))
    for batch_id in (victim, patient):
        place.until(batch_id, BatchState.RUNNING)
    important = place.submit("sleep 90", nodes=2, options=("--nodelist=n3,n4",))
    assert place.until(victim, BatchState.PREEMPTED).state.ended
    found = place.until(patient, BatchState.PENDING)
    assert "BeginTime" in found.words
    place.end(patient, important)


@pytest.mark.slow
def test_a_lost_node_is_told_as_such(place: Place) -> None:
    batch_id = place.submit("sleep 30", nodes=2, options=("--nodelist=n3,n4",))
    place.until(batch_id, BatchState.RUNNING)
    place.slurm.kill("slurmd n4")
    place.until(batch_id, BatchState.NODE_FAILED)
    place.slurm.start_node("n4")


@pytest.mark.slow
def test_the_walltime_warns_first_and_ends_it_then(place: Place, long_job: tuple[BatchRequest, str]) -> None:
    request, batch_id = long_job
    assert place.until(batch_id, BatchState.TIMED_OUT, timeout_s=180).words.startswith("TIMEOUT")
    began, warned = (int((request.folder / name).read_text()) for name in ("began", "warned"))
    assert 0 <= warned - began <= 45


def test_a_controller_that_is_away_says_nothing_about_any_job(place: Place) -> None:
    batch_id = place.submit("sleep 90")
    place.until(batch_id, BatchState.RUNNING)
    request = place.request("true")
    place.slurm.stop("slurmctld")
    for question in (place.system.status, lambda: place.system.submit(request)):
        with pytest.raises(BatchUnreachable, match="Unable to contact slurm controller"):
            question()
    place.slurm.start_controller()
    assert place.system.find(request.tag) == ""
    assert place.until(batch_id, BatchState.RUNNING)
    place.end(batch_id)


def test_accounts_that_are_closed_blind_nobody(place: Place) -> None:
    batch_id = place.submit("true")
    place.until(batch_id, BatchState.COMPLETED)
    place.slurm.stop("slurmdbd")
    assert "999999" not in place.system.status({"999999": None})
    assert place.until(batch_id, BatchState.COMPLETED)
    place.slurm.start("slurmdbd", "-D")
    place.slurm.wait(lambda: "999999" not in place.slurm.run("sacct", "-n"), "slurmdbd answers")


def test_jobs_are_harvested_through_it_and_all_books_agree(place: Place, tmp_path: Path) -> None:
    prologue = tmp_path / "virtual.sh"
    prologue.write_text("export HPCHARVEST_VIRTUAL_NODES=1\n")  # all nodes are this host
    recipe = Recipe(
        batch={"dialect": "slurm", "environment": place.slurm.environment, "partition": "regular"},
        software={"prologue": str(prologue)},
    )
    with worlds.world(tmp_path, replace(recipe, nodes=2)) as inside, worlds.Controller(inside):
        numbers = worlds.submit(inside, [worlds.copying_job(inside, seconds=0.5) for _ in range(6)])
        worlds.until_all_over(inside, timeout_s=180)
        worlds.assert_books_agree(inside, numbers)
        assert set(worlds.tally(inside, "start").values()) == {1}
        with worlds.database(inside) as opened:
            ids = {one.batch_id for one in opened.allocations.page(limit=100)}
    assert ids
    for batch_id in ids:
        assert place.until(batch_id, BatchState.COMPLETED)
