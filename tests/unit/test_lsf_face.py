"""The faces of LSF and Moab print what their documentation shows; no real one was there to be recorded."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hpcharvest.providers.dialect import Spoken
from hpcharvest.sandbox.batch import faces
from hpcharvest.sandbox.batch.cluster import Cluster
from hpcharvest.sandbox.batch.settings import Settings

Call = Callable[..., Spoken]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    queues = {"batch": 86_400.0, "debug": 3600.0}
    settings = Settings(nodes=4, cores_per_node=2, queues=queues, kill_grace_s=0.1, max_jobs_per_user=3)
    with Cluster(tmp_path / "spool", settings) as running:
        yield running


@pytest.fixture
def call(cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """Call a program of a face, as in `call("lsf", "bjobs", "-a")`."""
    monkeypatch.chdir(tmp_path)

    def called(face: str, program: str, *arguments: str) -> Spoken:
        capsys.readouterr()
        code = faces.commands(face)[program](cluster.spool, arguments)
        out, err = capsys.readouterr()
        return Spoken(exit_code=code, out=out, err=err)

    return called


def bsub(call: Call, command: str, *options: str) -> Spoken:
    return call("lsf", "bsub", "-W", "10", *options, command)


def test_bsub_says_which_batch_job_it_is_in_which_queue(call: Call) -> None:
    assert bsub(call, "true").out == "Job <1> is submitted to default queue <batch>.\n"
    assert bsub(call, "true", "-q", "debug").out == "Job <2> is submitted to queue <debug>.\n"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("-q", "nosuch"), "nosuch: No such queue. Job not submitted.\n"),
        (("-q", "debug", "-W", "2:00"), "RUNLIMIT: Cannot exceed queue's hard limit(s). Job not submitted.\n"),
        (("-nnodes", "99"), "Too many processors requested. Job not submitted.\n"),
    ],
)
def test_bsub_refuses_and_says_why(call: Call, options: tuple[str, ...], words: str) -> None:
    assert bsub(call, "true", *options) == Spoken(exit_code=255, out="", err=words)


def test_bsub_takes_no_more_than_a_user_may_have(call: Call) -> None:
    for _ in range(3):
        bsub(call, "sleep 60", "-nnodes", "4")
    assert "Pending job threshold reached" in bsub(call, "true").err


def test_the_batch_job_has_a_node_that_starts_it_and_a_line_for_each_slot(
    call: Call, cluster: Cluster, tmp_path: Path
) -> None:
    told = f'cat "$LSB_DJOB_HOSTFILE" >{tmp_path}/told; echo "$LSB_JOBID $LSB_HOSTS" >>{tmp_path}/told'
    bsub(call, told, "-nnodes", "2")
    cluster.wait(1)
    hosts = ["batch1", "vn001", "vn001", "vn002", "vn002"]
    assert (tmp_path / "told").read_text().splitlines() == [*hosts, f"1 {' '.join(hosts)}"]


def test_bjobs_prints_its_table_and_what_is_asked_for(call: Call, cluster: Cluster) -> None:
    assert call("lsf", "bjobs") == Spoken(exit_code=0, out="", err="No unfinished job found\n")
    assert call("lsf", "bjobs", "-a") == Spoken(exit_code=0, out="", err="No job found\n")
    bsub(call, "exit 3", "-J", "my job")
    cluster.wait(1)
    bsub(call, "sleep 60", "-J", "other")
    cluster.wait(2, states={"RUNNING"})
    heads = ["JOBID", "USER", "STAT", "QUEUE", "FROM_HOST", "EXEC_HOST", "JOB_NAME", "SUBMIT_TIME"]
    head, row = call("lsf", "bjobs").out.splitlines()
    assert head.split() == heads
    assert re.match(r"2 +\w+ +RUN +batch +\S+ +batch1 +other +\w{3} \d\d \d\d:\d\d$", row)
    form = "jobid stat exit_code:10 job_name delimiter='^'"
    assert call("lsf", "bjobs", "-a", "-noheader", "-o", form).out == "1^EXIT^3^my job\n2^RUN^-^other\n"
    assert call("lsf", "bjobs", "-o", form).out.splitlines()[0] == "JOBID^STAT^EXIT_CODE^JOB_NAME"
    assert call("lsf", "bjobs", "99") == Spoken(exit_code=255, out="", err="Job <99> is not found\n")


def test_bkill_says_what_becomes_of_each(call: Call, cluster: Cluster) -> None:
    bsub(call, "true")
    cluster.wait(1)
    bsub(call, "sleep 60")
    answer = call("lsf", "bkill", "1", "2", "99")
    assert answer.out == "Job <2> is being terminated\n"
    assert answer.err == "Job <1>: Job has already finished\nJob <99>: No matching job found\n"
    assert answer.exit_code == 255
    assert cluster.wait(2)["state"] == "CANCELLED"
    assert "TERM_OWNER" in call("lsf", "bjobs", "-o", "stat exit_reason", "2").out


def test_hosts_slots_and_queues_are_told(call: Call, cluster: Cluster) -> None:
    bsub(call, "sleep 60")
    cluster.wait(1, states={"RUNNING"})
    cluster.node_down("vn004")
    head, *rows = (line.split() for line in call("lsf", "bhosts").out.splitlines())
    assert head == ["HOST_NAME", "STATUS", "JL/U", "MAX", "NJOBS", "RUN", "SSUSP", "USUSP", "RSV"]
    assert rows[0] == ["vn001", "closed", "-", "2", "2", "2", "0", "0", "0"]
    assert [row[1] for row in rows] == ["closed", "ok", "ok", "unavail"]
    assert [line.split() for line in call("lsf", "bslots").out.splitlines()] == [
        ["SLOTS", "RUNTIME"],
        ["4", "UNLIMITED"],
    ]
    head, batch, _ = (line.split() for line in call("lsf", "bqueues").out.splitlines())
    assert head == ["QUEUE_NAME", "PRIO", "STATUS", "MAX", "JL/U", "JL/P", "JL/H", "NJOBS", "PEND", "RUN", "SUSP"]
    assert batch == ["batch", "30", "Open:Active", "-", "-", "-", "-", "2", "0", "2", "0"]
    bsub(call, "sleep 60", "-nnodes", "3")
    cluster.cancel(1)
    cluster.wait(2, states={"RUNNING"})
    assert "No backfill window exists at this time" in call("lsf", "bslots").err


def test_while_it_is_down_it_says_so(call: Call, cluster: Cluster) -> None:
    cluster.kill_daemon()
    for program in ("bjobs", "bhosts", "bslots", "bqueues"):
        assert call("lsf", program) == Spoken(exit_code=255, out="", err="LSF is down. Please wait ...\n")
    assert call("lsf", "bsub", "true").exit_code == 255
    assert call("moab", "showbf").exit_code == 1
    cluster.start()


def test_showbf_has_two_lines_of_heads_and_one_for_what_is_free(call: Call, cluster: Cluster) -> None:
    cluster.node_down("vn004")
    first, second, row = call("moab", "showbf", "-p", "titan", "--blocking").out.splitlines()
    assert first.split() == ["Partition", "Tasks", "Nodes", "Duration", "StartOffset", "StartDate"]
    assert set(second) == {"-", " "}
    assert row.split()[:5] == ["titan", "6", "3", "INFINITY", "00:00:00"]
    assert time.strptime(row.split()[5], "%H:%M:%S_%m/%d")
    bsub(call, "sleep 60", "-nnodes", "3")
    cluster.wait(1, states={"RUNNING"})
    assert len(call("moab", "showbf", "-p", "titan", "--blocking").out.splitlines()) == 2


def test_nobody_is_told_that_he_may_overtake_who_waits(call: Call, cluster: Cluster) -> None:
    bsub(call, "sleep 60")
    bsub(call, "sleep 60", "-nnodes", "4")
    cluster.wait(1, states={"RUNNING"})
    assert len(call("moab", "showbf").out.splitlines()) == 2
    assert "No backfill window exists at this time" in call("lsf", "bslots").err
