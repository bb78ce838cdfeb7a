"""What batch jobs find behind the face of PBS, and what hpcharvest's dialect makes of their lives there."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from hpcharvest.errors import BatchFull
from hpcharvest.model.shape import NodeShape, Shape
from hpcharvest.model.states import BatchState
from hpcharvest.providers.dialect import BatchRequest
from hpcharvest.providers.pbs import VARIANTS, PbsDialect
from hpcharvest.providers.script import render
from hpcharvest.sandbox.batch.cluster import Cluster
from hpcharvest.sandbox.batch.settings import Settings
from tests import worlds
from tests.services.pbs_desk import SETTINGS, Desk


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("pbs")
    with Cluster(folder / "spool", SETTINGS) as cluster:
        yield Desk(cluster, folder)


def test_a_job_finds_its_environment(desk: Desk) -> None:
    text = (
        "#PBS -N named -q debug\n#PBS -l select=2:ncpus=4:mpiprocs=2 -l place=scatter\n"
        'env | grep ^PBS_ >env; cat "$PBS_NODEFILE" >nodes; pwd >where'
    )
    number = desk.submit(text, "-v", "A=1,B", B="2")
    desk.wait(number)
    told = dict(line.split("=", 1) for line in (desk.folder / "env").read_text().splitlines())
    named = ("PBS_JOBID", "PBS_JOBNAME", "PBS_QUEUE", "PBS_O_WORKDIR", "PBS_O_HOST", "PBS_ENVIRONMENT")
    assert [told[name] for name in named] == [number, "named", "debug", str(desk.folder), "vm", "PBS_BATCH"]
    first, _, second, _ = (desk.folder / "nodes").read_text().split()
    assert first != second
    assert (desk.folder / "nodes").read_text().split() == [first, first, second, second]
    assert (desk.folder / "where").read_text() == f"{desk.folder}\n"
    assert (desk.folder / f"named.o{number.partition('.')[0]}").read_text() == ""


@pytest.mark.parametrize("place", [(), ("-l", "place=scatter")])
def test_chunks_share_a_node_unless_they_are_scattered(desk: Desk, place: Sequence[str]) -> None:
    """As in the real one: `-l select=3:ncpus=4` came to a single node."""
    number = desk.submit("true", "-l", "select=2:ncpus=4", *place)
    desk.wait(number)
    (said,) = desk.json("qstat", "-x", "-f", "-F", "json", number)["Jobs"].values()
    first, *others = sorted(set(re.findall(r"vn\d+", said["exec_vnode"])))
    assert len(others) == (1 if place else 0)
    assert said["exec_host"] == (f"{first}/0*4+{others[0]}/0*4" if place else f"{first}/0*4+{first}/1*4")


def test_what_the_embedded_batch_system_has_not_is_refused(desk: Desk) -> None:
    for option in (("-h",), ("-J", "0-5"), ("-W", "depend=afterok:1")):
        answer = desk.ask("qsub", *option, desk.script("true"))
        assert answer.exit_code == 2
        assert "this face of the embedded batch system knows no" in answer.err
    answer = desk.ask("qsub", "-v", "foo", desk.script("true"), foo='a"b')
    assert (answer.exit_code, answer.err) == (1, "qsub: cannot send environment with the job\n")


def test_jobs_are_selected(desk: Desk) -> None:
    number = desk.submit("sleep 600", "-N", "chosen", "-q", "debug")
    desk.wait(number, "RUNNING")
    assert desk.ask("qselect", "-N", "chosen").out == f"{number}\n"
    assert desk.ask("qselect", "-N", "chosen", "-s", "Q").out == ""
    assert desk.ask("qselect", "-q", "debug", "-s", "R").out == f"{number}\n"
    assert desk.ask("qdel", number).exit_code == 0
    desk.wait(number, "CANCELLED")
    assert desk.ask("qselect", "-x", "-N", "chosen").out == f"{number}\n"


def request(desk: Desk, name: str, code: str, options: tuple[str, ...] = ()) -> BatchRequest:
    folder = desk.folder / name
    folder.mkdir()
    made = BatchRequest(tag=name, shape=Shape(nodes=1, walltime_s=600), folder=folder, options=options)
    dialect = PbsDialect(VARIANTS["pbs"], NodeShape(cores=16))
    made.script.write_text(render(dialect, made, ["sh", "-c", code, str(folder)]))
    return made


def test_a_job_that_is_started_again_counts_it(desk: Desk) -> None:
    """Where the operator lets it be requeued (`-r y`), each start has a number of its own."""
    system = desk.system()
    told = 'echo "$HPCHARVEST_RESTART" >>"$0/starts"; [ "$HPCHARVEST_RESTART" -gt 0 ] || sleep 600'
    made = request(desk, "again", told, ("-r y",))
    number = system.submit(made)
    worlds.eventually((made.folder / "starts").exists, lambda: "it did not start", 60)
    desk.cluster.preempt(int(number.partition(".")[0]))
    ended = until(lambda: system.status({number: None}).get(number), BatchState.COMPLETED)
    assert (made.folder / "starts").read_text() == "0\n1\n"
    (said,) = desk.json("qstat", "-x", "-f", "-F", "json", number)["Jobs"].values()
    assert (said["run_count"], ended) == (2, BatchState.COMPLETED)


def until(ask: Callable[[], Any], state: BatchState) -> BatchState:
    found: list[Any] = []

    def holds() -> bool:
        found[:] = [ask()]
        return found[0] is not None and found[0].state is state

    worlds.eventually(holds, lambda: f"{state}, but {found}", 60)
    return state


def test_who_traps_the_end_and_leaves_with_zero_is_cancelled_all_the_same(desk: Desk) -> None:
    system = desk.system()
    made = request(desk, "traps", 'trap "exit 0" TERM; : >"$0/ready"; sleep 600 & wait')
    number = system.submit(made)
    worlds.eventually((made.folder / "ready").exists, lambda: "it did not start", 60)
    system.cancel([number])
    until(lambda: system.status({number: None}).get(number), BatchState.CANCELLED)
    (said,) = desk.json("qstat", "-x", "-f", "-F", "json", number)["Jobs"].values()
    assert said["Exit_status"] == 0


def test_who_has_as_many_as_may_be_is_told_so(tmp_path: Path) -> None:
    with Cluster(tmp_path / "spool", Settings(nodes=1, cores_per_node=16, max_jobs_per_user=1)) as cluster:
        desk = Desk(cluster, tmp_path)
        system = desk.system()
        system.submit(request(desk, "first", "sleep 600"))
        with pytest.raises(BatchFull, match="would exceed queue generic's per-user limit"):
            system.submit(request(desk, "second", "true"))
