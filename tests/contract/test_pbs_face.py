"""The face of PBS, held to recordings of a real one: keys, formats, words and exit codes; and what jobs find in it."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from hpcharvest.errors import BatchFull
from hpcharvest.model.shape import NodeShape, Shape
from hpcharvest.model.states import BatchState
from hpcharvest.providers.batch import BatchSystem
from hpcharvest.providers.dialect import BatchRequest, Spoken
from hpcharvest.providers.pbs import VARIANTS, PbsDialect
from hpcharvest.providers.script import render
from hpcharvest.sandbox.batch import faces
from hpcharvest.sandbox.batch.cluster import Cluster
from hpcharvest.sandbox.batch.faces.pbs_jobs import loose
from hpcharvest.sandbox.batch.settings import Settings
from tests import worlds
from tests.services.pbs import recorded, recorded_jobs

CTIME = r"\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}"
CLOCK = r"\d\d:\d\d:\d\d"
FORMS = {
    "exec_host": r"\w+/0(\*\d+)?(\+\w+/0(\*\d+)?)*",
    "exec_vnode": r"\(\w+:ncpus=\d+(:mem=\w+)?\)(\+\(\w+:ncpus=\d+(:mem=\w+)?\))*",
    **dict.fromkeys(("ctime", "mtime", "qtime", "etime", "stime", "obittime"), CTIME),
    **dict.fromkeys(("Error_Path", "Output_Path"), r"vm:/.+\.[eo]\d+"),
    "Job_Owner": r"\w+@vm",
    "schedselect": r"\d+:ncpus=\d+(:mem=1gb)?",
    "hashname": r"\d+\.vm",
}
ONLY_THERE = {"depend", "executable", "argument_list"}
"""Attributes of what the embedded batch system has not: dependencies, and commands without a script."""

RECORDED = {
    "never": ("qstat_mixed_json", "3.vm"),
    "running": ("bf_qstat_json", "15.vm"),
    "failed": ("qstat_xf_finished_json", "0.vm"),
    "walltime": ("qstat_walltime_json", "13.vm"),
    "deleted": ("qstat_xf_deleted_json", "4.vm"),
}


class Desk:
    """A cluster of four nodes with a face, and a folder from which jobs are submitted."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster, self.folder = cluster, folder
        path = f"{faces.install('pbs', cluster.spool, folder / 'bin')}{os.pathsep}{os.environ['PATH']}"
        self.environment = os.environ | {"PATH": path, "HOME": str(folder)}

    def ask(self, *argv: str, **variables: str) -> Spoken:
        done = subprocess.run(
            argv, cwd=self.folder, env=self.environment | variables, capture_output=True, text=True, check=False
        )
        return Spoken(exit_code=done.returncode, out=done.stdout, err=done.stderr)

    def script(self, text: str, name: str = "p.sh") -> str:
        (self.folder / name).write_text(f"#!/bin/bash\n{text}\n")
        return name

    def submit(self, text: str, *options: str, **variables: str) -> str:
        answer = self.ask("qsub", *options, self.script(text), **variables)
        assert answer.exit_code == 0, answer.err
        return answer.out.strip()

    def wait(self, job: str, *states: str) -> None:
        self.cluster.wait(int(job.partition(".")[0]), states=states)

    def json(self, *argv: str) -> dict[str, Any]:
        answer = self.ask(*argv)
        assert answer.exit_code == 0, answer.err
        told: dict[str, Any] = json.loads(answer.out)
        return told

    def system(self) -> BatchSystem:
        path = {"PATH": self.environment["PATH"]}
        return BatchSystem(PbsDialect(VARIANTS["pbs"], NodeShape(cores=16)), per_minute=6000, environment=path)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("pbs")
    queues = {"workq": 86_400.0, "debug": 1_800.0}
    settings = Settings(nodes=4, cores_per_node=16, queues=queues, kill_grace_s=1.0)
    with Cluster(folder / "spool", settings) as cluster:
        yield Desk(cluster, folder)


@pytest.fixture(scope="module")
def jobs(desk: Desk) -> dict[str, dict[str, Any]]:
    """Give what the face says of a job in each of the states on record."""
    scattered = ("-l", "select=1:ncpus=16", "-l", "place=scatter:excl")
    ids = {
        "never": desk.submit("true", "-l", "select=99:ncpus=1", "-l", "place=scatter", "-l", "walltime=1800"),
        "failed": desk.submit("exit 3", *scattered),
        "walltime": desk.submit("sleep 600", "-l", "select=1:ncpus=1,walltime=1"),
        "deleted": desk.submit("trap 'exit 0' TERM; sleep 600 & wait", "-N", "D1", *scattered),
    }
    desk.wait(ids["deleted"], "RUNNING")
    worlds.eventually(lambda: _is_stopped(desk, ids["deleted"]), lambda: "no end of the job that was deleted", 60)
    for name, state in {"failed": "FAILED", "walltime": "TIMEOUT", "deleted": "CANCELLED"}.items():
        desk.wait(ids[name], state)
    ids["running"] = desk.submit("sleep 600", *scattered)
    desk.wait(ids["running"], "RUNNING")
    said = desk.json("qstat", "-x", "-f", "-F", "json")["Jobs"]
    return {name: said[number] for name, number in ids.items()}


def _is_stopped(desk: Desk, number: str) -> bool:
    desk.ask("qdel", number)
    return desk.ask("qstat", number).exit_code == 35


def form(value: Any) -> Any:
    """Give the type of a value, and of what is in it."""
    return {name: form(one) for name, one in value.items()} if isinstance(value, dict) else type(value).__name__


@pytest.mark.parametrize("name", RECORDED)
def test_a_job_is_told_of_as_by_the_real_one(name: str, jobs: dict[str, dict[str, Any]]) -> None:
    recording, number = RECORDED[name]
    real, ours = recorded_jobs(recording)[number], jobs[name]
    assert list(ours) == [key for key in real if key not in ONLY_THERE]
    loosely = {"Variable_List", "Resource_List", "resources_used"}
    assert {key: form(value) for key, value in ours.items() if key not in loosely} == {
        key: form(value) for key, value in real.items() if key not in loosely | ONLY_THERE
    }
    assert form(ours.get("resources_used")) == form(real.get("resources_used"))
    assert list(ours["Resource_List"]) == [key for key in real["Resource_List"] if key != "mem"]
    for key in FORMS.keys() & real.keys():
        assert re.fullmatch(FORMS[key], real[key]), f"the form of {key} is not that of the recording"
        assert re.fullmatch(FORMS[key], ours[key]), key
    said = ("job_state", "substate", "Exit_status", "run_count", "Rerunable", "Hold_Types", "Mail_Points", "project")
    assert {key: ours.get(key) for key in said} == {key: real.get(key) for key in said}


@pytest.mark.parametrize("name", RECORDED)
def test_the_remark_on_a_job_is_that_of_the_real_one(name: str, jobs: dict[str, dict[str, Any]]) -> None:
    def plain(text: str) -> str:
        placed = re.sub(r"\+?\(\w+:ncpus=\d+(:mem=\w+)?\)", "N", text)
        moment = re.sub(r"at \w+ \w+ \d\d at \d\d:\d\d on N+", "at THEN on N", placed)
        return re.sub(r"by \w+@vm", "by ME", moment)

    recording, number = RECORDED[name]
    assert plain(jobs[name]["comment"]) == plain(recorded_jobs(recording)[number]["comment"])


def test_the_text_form_has_the_same_names_in_the_same_order(desk: Desk, jobs: dict[str, dict[str, Any]]) -> None:
    number = jobs["failed"]["hashname"]
    ours = desk.ask("qstat", "-x", "-f", number)
    pattern = re.compile(r"^    ([\w.]+) = ", re.MULTILINE)
    real = [name for name in pattern.findall(recorded("qstat_xf_finished").out) if name != "Resource_List.mem"]
    assert pattern.findall(ours.out) == real
    assert ours.out.startswith(f"Job Id: {number}\n")
    assert max(map(len, ours.out.splitlines())) <= max(map(len, recorded("qstat_xf_finished").out.splitlines()))


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        (("qsub", "-q", "nosuch", "p.sh"), "qsub_badqueue"),
        (("qsub", "--nosuch", "p.sh"), "qsub_badopt"),
        (("qsub", "/nonexistent.sh"), "qsub_noscript"),
        (("qsub", "-q", "debug", "-l", "walltime=10:00:00", "p.sh"), "qsub_toolong"),
        (("qsub", "-I", "-l", "select=1"), "hold_qsub_I"),
        (("qstat", "99999"), "qstat_unknown"),
        (("qstat", "-f", "-F", "json", "99999"), "qstat_unknown_json"),
        (("qstat", "-u", "root", "-f", "-F", "json"), "json_u"),
        (("qdel", "99999"), "qdel_unknown"),
        (("pbs_rstat", "-F", "json"), "rstat_F_json"),
        (("pbsnodes", "-l"), "pbsnodes_l"),
    ],
)
def test_a_no_has_the_words_and_the_code_of_the_real_one(argv: Sequence[str], name: str, desk: Desk) -> None:
    desk.script("true")
    real, ours = recorded(name), desk.ask(*argv)
    err = "".join(line for line in real.err.splitlines(keepends=True) if not line.startswith("bash: "))
    now = re.sub(r'"timestamp":\t\d+', '"timestamp":\t1', ours.out)
    assert (ours.exit_code, ours.err) == (real.exit_code, err)
    assert now == re.sub(r'"timestamp":\t\d+', '"timestamp":\t1', real.out)


def test_who_has_finished_is_told_with_the_code_of_the_real_one(desk: Desk, jobs: dict[str, dict[str, Any]]) -> None:
    number = jobs["failed"]["hashname"]
    real, ours = recorded("qstat_finished_known_noX"), desk.ask("qstat", number)
    assert (ours.exit_code, ours.out, ours.err) == (real.exit_code, real.out, real.err.replace("0.vm", number))


def test_of_several_in_json_only_the_first_is_told_of(desk: Desk, jobs: dict[str, dict[str, Any]]) -> None:
    first, second = jobs["failed"]["hashname"], jobs["deleted"]["hashname"]
    real = recorded("multi_json_unknown")
    ours = desk.ask("qstat", "-x", "-f", "-F", "json", first, "99999", second)
    assert (ours.exit_code, ours.err) == (real.exit_code, real.err)
    assert list(json.loads(ours.out)["Jobs"]) == [first]
    assert len(json.loads(real.out)["Jobs"]) == 1


@pytest.mark.parametrize(
    ("argv", "name", "head"),
    [
        (("qstat",), "qstat_mixed", 2),
        (("qstat", "-a"), "qstat_mixed_a", 5),
        (("qstat", "-T"), "qstat_T", 6),
        (("qstat", "-Q"), "qstat_Q", 2),
        (("pbsnodes", "-aSj"), "pbsnodes_busy_aSj", 3),
    ],
)
def test_a_table_has_the_columns_of_the_real_one(
    argv: Sequence[str], name: str, head: int, desk: Desk, jobs: dict[str, dict[str, Any]]
) -> None:
    assert jobs
    real, ours = recorded(name).out.splitlines(), desk.ask(*argv).out.splitlines()
    assert ours[:head] == real[:head]

    def ends(row: str) -> set[int]:
        """Give where the rule of dashes has its gaps, and there is none in this row."""
        rule = real[head - 1]
        return {at for at, character in enumerate(rule) if character == " " and row[at : at + 1] not in {"", " "}}

    assert [ends(row) for row in ours[head:]] == [set()] * len(ours[head:])
    assert [ends(row) for row in real[head:]] == [set()] * len(real[head:])
    assert len({len(row.split()) for row in (ours[head], real[head])}) == 1


def test_nodes_and_queues_in_json_are_told_of_as_by_the_real_one(desk: Desk, jobs: dict[str, dict[str, Any]]) -> None:
    holder = jobs["running"]["hashname"]
    real = json.loads(recorded("pbsnodes_busy_json").out)
    ours = desk.json("pbsnodes", "-a", "-F", "json")
    busy, there = ours["nodes"]["vn001"], real["nodes"]["n1"]
    lately = {"last_used_time"}
    assert list(ours) == list(real)
    assert list(busy) == [key for key in there if key not in lately]
    assert {key: form(busy[key]) for key in busy} == {key: form(there[key]) for key in busy}
    assert (busy["state"], busy["jobs"]) == ("job-exclusive", [holder])
    assert ours["nodes"]["vn002"]["state"] == "free"
    short, its = desk.json("pbsnodes", "-aSj", "-F", "json"), json.loads(recorded("pbsnodes_aSj_json").out)
    assert form(short["nodes"]["vn002"]) == form(its["nodes"]["n1"])
    queues, known = desk.json("qstat", "-Q", "-f", "-F", "json"), json.loads(recorded("qstat_Qf_json").out)
    assert set(queues["Queue"]["workq"]) <= {key for queue in known["Queue"].values() for key in queue}


def test_a_node_that_is_down_says_so(desk: Desk) -> None:
    desk.cluster.node_down("vn002")
    try:
        real = json.loads(recorded("pbsnodes_down_json").out)["nodes"]["n1"]
        ours = desk.json("pbsnodes", "-a", "-F", "json")["nodes"]["vn002"]
        listed = desk.ask("pbsnodes", "-l").out
    finally:
        desk.cluster.node_up("vn002")
    assert (ours["state"], ours["comment"]) == (real["state"], real["comment"])
    assert listed == recorded("pbsnodes_down_l").out.replace("n1   ", "vn002")
    assert list(ours) == [key for key in real if key != "last_used_time"]


def test_a_server_that_is_away_says_what_the_real_one_said(tmp_path: Path) -> None:
    desk = Desk(Cluster(tmp_path / "spool"), tmp_path)
    desk.script("true")
    for argv, name in (
        (("qsub", "p.sh"), "srvdown_qsub"),
        (("qstat", "-f", "-F", "json"), "srvdown_qstat"),
        (("pbsnodes", "-a"), "srvdown_pbsnodes"),
    ):
        real, ours = recorded(name), desk.ask(*argv)
        assert (ours.exit_code, ours.err) == (real.exit_code, real.err), name
        assert len(ours.out) == len(real.out)


@pytest.mark.parametrize("value", ["005", "1e5", "true", "x", "0x10", "NaN", "-", "a,b", "é", "l1\nl2"], ids=repr)
def test_a_variable_looks_as_in_the_real_answer(value: str) -> None:
    shown = {"005": 5, "1e5": 100_000, "true": True}
    assert loose(value) == shown.get(value, value)


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
