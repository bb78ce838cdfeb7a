"""The face of PBS, held to recordings of a real one: keys, formats, words and exit codes."""

from __future__ import annotations

import getpass
import json
import re
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from hpcharvest.config.loader import load_site
from hpcharvest.providers.dialect import Spoken
from hpcharvest.sandbox.batch.cluster import Cluster
from hpcharvest.sandbox.batch.faces.pbs_jobs import loose
from hpcharvest.sandbox.batch.faces.pbs_reservations import FILE
from tests import worlds
from tests.services.pbs import recorded_jobs
from tests.services.pbs_desk import SETTINGS, Desk
from tests.services.recordings import recorded

CTIME = r"\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}"
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


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("pbs")
    with Cluster(folder / "spool", SETTINGS) as cluster:
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
    real = [name for name in pattern.findall(recorded("pbs", "qstat_xf_finished").out) if name != "Resource_List.mem"]
    assert pattern.findall(ours.out) == real
    assert ours.out.startswith(f"Job Id: {number}\n")
    assert max(map(len, ours.out.splitlines())) <= max(map(len, recorded("pbs", "qstat_xf_finished").out.splitlines()))


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
    real, ours = recorded("pbs", name), desk.ask(*argv)
    err = "".join(line for line in real.err.splitlines(keepends=True) if not line.startswith("bash: "))
    now = re.sub(r'"timestamp":\t\d+', '"timestamp":\t1', ours.out)
    assert (ours.exit_code, ours.err) == (real.exit_code, err)
    assert now == re.sub(r'"timestamp":\t\d+', '"timestamp":\t1', real.out)


def test_who_has_finished_is_told_with_the_code_of_the_real_one(desk: Desk, jobs: dict[str, dict[str, Any]]) -> None:
    number = jobs["failed"]["hashname"]
    real, ours = recorded("pbs", "qstat_finished_known_noX"), desk.ask("qstat", number)
    assert (ours.exit_code, ours.out, ours.err) == (real.exit_code, real.out, real.err.replace("0.vm", number))


def test_of_several_in_json_only_the_first_is_told_of(desk: Desk, jobs: dict[str, dict[str, Any]]) -> None:
    first, second = jobs["failed"]["hashname"], jobs["deleted"]["hashname"]
    real = recorded("pbs", "multi_json_unknown")
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
    real, ours = recorded("pbs", name).out.splitlines(), desk.ask(*argv).out.splitlines()
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
    real = json.loads(recorded("pbs", "pbsnodes_busy_json").out)
    ours = desk.json("pbsnodes", "-a", "-F", "json")
    busy, there = ours["nodes"]["vn001"], real["nodes"]["n1"]
    lately = {"last_used_time"}
    assert list(ours) == list(real)
    assert list(busy) == [key for key in there if key not in lately]
    assert {key: form(busy[key]) for key in busy} == {key: form(there[key]) for key in busy}
    assert (busy["state"], busy["jobs"]) == ("job-exclusive", [holder])
    assert ours["nodes"]["vn002"]["state"] == "free"
    short, its = desk.json("pbsnodes", "-aSj", "-F", "json"), json.loads(recorded("pbs", "pbsnodes_aSj_json").out)
    assert form(short["nodes"]["vn002"]) == form(its["nodes"]["n1"])
    queues, known = desk.json("qstat", "-Q", "-f", "-F", "json"), json.loads(recorded("pbs", "qstat_Qf_json").out)
    assert set(queues["Queue"]["workq"]) <= {key for queue in known["Queue"].values() for key in queue}


def test_the_server_in_json_is_told_of_as_by_the_real_one(desk: Desk) -> None:
    real = json.loads(recorded("pbs", "qstat_Bf_json").out)["Server"]["vm"]
    ours = desk.json("qstat", "-B", "-f", "-F", "json")["Server"]["vm"]
    assert list(ours) == [key for key in real if key in ours]
    assert {key: form(ours[key]) for key in ours} == {key: form(real[key]) for key in ours}
    assert ours["default_queue"] == "workq"
    assert "    default_queue = workq\n" in desk.ask("qstat", "-B", "-f").out
    assert [len(row) for row in desk.ask("qstat", "-B").out.splitlines()] == [71, 76, 75]


def test_every_program_tells_its_version(desk: Desk) -> None:
    for program in ("qsub", "qstat", "qdel", "qselect", "pbsnodes", "pbs_rstat"):
        assert desk.ask(program, "--version") == Spoken(exit_code=0, out="pbs_version = 23.06.06\n")


def test_a_machine_with_the_face_is_surveyed_into_a_site_file(desk: Desk, tmp_path: Path) -> None:
    written = tmp_path / "pbs.toml"
    command = (sys.executable, "-m", "hpcharvest", "site", "init", "--dialect", "pbs", "--output-file", str(written))
    told = desk.ask(*command)
    assert told.exit_code == 0, told.err
    site = load_site(written)
    assert (site.batch.partition, site.nodes.cores, site.allocation.max_walltime_s) == ("workq", 16, 86_400)


def test_a_node_that_is_down_says_so(desk: Desk) -> None:
    desk.cluster.node_down("vn002")
    try:
        real = json.loads(recorded("pbs", "pbsnodes_down_json").out)["nodes"]["n1"]
        ours = desk.json("pbsnodes", "-a", "-F", "json")["nodes"]["vn002"]
        listed = desk.ask("pbsnodes", "-l").out
    finally:
        desk.cluster.node_up("vn002")
    assert (ours["state"], ours["comment"]) == (real["state"], real["comment"])
    assert listed == recorded("pbs", "pbsnodes_down_l").out.replace("n1   ", "vn002")
    assert list(ours) == [key for key in real if key != "last_used_time"]


def test_reservations_are_told_of_as_by_the_real_one(desk: Desk) -> None:
    assert desk.ask("pbs_rstat") == Spoken(exit_code=0, out="")
    soon = time.time() + 60
    one = {"number": 20, "name": "maint", "start": soon, "duration_s": 1800, "nodes": ["vn001", "vn002"]}
    (desk.cluster.spool / FILE).write_text(json.dumps([one]))
    try:
        table, whole = desk.ask("pbs_rstat").out, desk.ask("pbs_rstat", "-f").out
    finally:
        (desk.cluster.spool / FILE).unlink()
    head, rule, row = recorded("pbs", "rstat").out.splitlines()
    assert table.splitlines()[:2] == [head, rule]
    moments = re.compile(r"(Today|\w{3}) \d\d:\d\d")
    ours = moments.sub("THEN", " ".join(table.splitlines()[2].split()))
    assert ours.replace(getpass.getuser(), "root") == moments.sub("THEN", " ".join(row.split()))
    name = re.compile(r"^(\w[\w. ]*?)(?: = |: )", re.MULTILINE)
    assert name.findall(whole) == name.findall(recorded("pbs", "rstat_f").out)
    assert whole.count("\n") == recorded("pbs", "rstat_f").out.count("\n")


def test_a_server_that_is_away_says_what_the_real_one_said(tmp_path: Path) -> None:
    desk = Desk(Cluster(tmp_path / "spool"), tmp_path)
    desk.script("true")
    for argv, name in (
        (("qsub", "p.sh"), "srvdown_qsub"),
        (("qstat", "-f", "-F", "json"), "srvdown_qstat"),
        (("pbsnodes", "-a"), "srvdown_pbsnodes"),
    ):
        real, ours = recorded("pbs", name), desk.ask(*argv)
        assert (ours.exit_code, ours.err) == (real.exit_code, real.err), name
        assert len(ours.out) == len(real.out)


@pytest.mark.parametrize("value", ["005", "1e5", "true", "x", "0x10", "NaN", "-", "a,b", "é", "l1\nl2"], ids=repr)
def test_a_variable_looks_as_in_the_real_answer(value: str) -> None:
    shown = {"005": 5, "1e5": 100_000, "true": True}
    assert loose(value) == shown.get(value, value)
