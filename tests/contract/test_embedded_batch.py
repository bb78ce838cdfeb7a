"""The embedded batch system as its users meet it: real daemon, real command line, real processes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hpcharvest.sandbox.batch import client, processes, wire
from hpcharvest.sandbox.batch.cluster import Cluster
from hpcharvest.sandbox.batch.errors import RefusedError, UnreachableError
from hpcharvest.sandbox.batch.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Script = Callable[[str], Path]

SETTINGS = Settings(nodes=2, cores_per_node=2, kill_grace_s=0.3, queues={"batch": 600.0, "short": 5.0})


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.chdir(tmp_path)
    with Cluster(tmp_path / "spool", SETTINGS) as running:
        yield running


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """Write a job script; each one replaces the last, which has been submitted by then."""

    def write(text: str) -> Path:
        path = tmp_path / "job.sh"
        path.write_text(text)
        return path

    return write


def eventually(holds: Callable[[], bool], timeout_s: float = 10.0) -> None:
    give_up_at = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < give_up_at, "it did not happen in time"
        time.sleep(0.01)


def command(cluster: Cluster, *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*cluster.command, *argv], capture_output=True, text=True, timeout=120, check=False)


def is_gone(pid: int) -> bool:
    about = processes.stat(pid)
    return about is None or about.zombie


def test_a_job_runs_on_whole_nodes_and_knows_where_it_is(cluster: Cluster, script: Script, tmp_path: Path) -> None:
    before = time.time()
    path = script('env; echo "$PWD"; echo oops >&2')
    job_id = cluster.submit(path, nodes=2, walltime=60, name="tag-1", comment="why", output="%j.out", error="%j.err")
    job = cluster.wait(job_id)
    assert (job["state"], job["exit_code"], job["signal"]) == ("COMPLETED", 0, None)
    assert (job["name"], job["comment"], job["walltime_s"]) == ("tag-1", "why", 60)
    assert job["nodes"] == ["vn001", "vn002"]
    assert before <= job["submit_time"] <= job["start_time"] <= job["end_time"] <= time.time()
    lines = (tmp_path / f"{job_id}.out").read_text().splitlines()
    seen = dict(line.split("=", 1) for line in lines if line.startswith("HPCHARVEST_BATCH_"))
    assert seen.pop("HPCHARVEST_BATCH_TAG").startswith(f"{job_id}+")
    assert int(seen.pop("HPCHARVEST_BATCH_DEADLINE")) == int(job["start_time"] + 60)
    assert seen == {
        "HPCHARVEST_BATCH_JOBID": str(job_id),
        "HPCHARVEST_BATCH_NODELIST": "vn001,vn002",
        "HPCHARVEST_BATCH_NNODES": "2",
        "HPCHARVEST_BATCH_CORES_PER_NODE": "2",
        "HPCHARVEST_BATCH_RESTART": "0",
    }
    assert lines[-1] == str(tmp_path)
    assert (tmp_path / f"{job_id}.err").read_text() == "oops\n"


def test_a_submitted_job_starts_at_once(cluster: Cluster, script: Script) -> None:
    delays = []
    for _ in range(5):
        job = cluster.wait(cluster.submit(script("exit 0")))
        delays.append(job["start_time"] - job["submit_time"])
    assert min(delays) < 2.0


@pytest.mark.parametrize(("text", "code", "number"), [("exit 3", 3, None), ("kill -9 $$", 137, 9)])
def test_a_script_that_fails_says_how(
    cluster: Cluster, script: Script, text: str, code: int, number: int | None
) -> None:
    job = cluster.wait(cluster.submit(script(text)))
    assert (job["state"], job["exit_code"], job["signal"]) == ("FAILED", code, number)


def test_a_job_whose_output_has_no_place_fails_and_frees_its_node(cluster: Cluster, script: Script) -> None:
    job = cluster.wait(cluster.submit(script("exit 0"), output="/nonexistent/out"))
    assert job["state"] == "FAILED"
    assert "could not be started" in job["reason"]
    assert all(node["free"] == 2 for node in cluster.info()["nodes"])


def test_the_warning_comes_before_the_end_and_reaches_the_group(
    cluster: Cluster, script: Script, tmp_path: Path
) -> None:
    path = script("(trap 'date +%s.%N >warned; exit' USR1; while :; do sleep 0.02; done) & trap : USR1; wait; wait")
    job = cluster.wait(cluster.submit(path, walltime=2, signal="USR1@1.5"))
    assert job["state"] == "COMPLETED"
    assert float((tmp_path / "warned").read_text()) == pytest.approx(job["start_time"] + 0.5, abs=0.4)


def test_the_walltime_ends_even_a_grandchild_that_made_its_own_session(
    cluster: Cluster, script: Script, tmp_path: Path
) -> None:
    path = script("trap : TERM; setsid sh -c 'trap : TERM; echo $$ >pid; while :; do sleep 0.1; done' & wait; wait")
    job = cluster.wait(cluster.submit(path, walltime=0.5))
    assert job["state"] == "TIMEOUT"
    assert job["reason"] == "walltime of 0.5 s is over"
    assert 0.5 <= job["end_time"] - job["start_time"] < 60
    assert is_gone(int((tmp_path / "pid").read_text()))


def test_a_job_may_end_decently_in_its_grace(cluster: Cluster, script: Script) -> None:
    job = cluster.wait(cluster.submit(script("trap 'exit 5' TERM; while :; do sleep 0.02; done"), walltime=0.4))
    assert (job["state"], job["exit_code"]) == ("TIMEOUT", 5)


def test_what_a_finished_script_leaves_behind_is_ended(cluster: Cluster, script: Script, tmp_path: Path) -> None:
    job = cluster.wait(cluster.submit(script("setsid sleep 60 & echo $! >pid")))
    assert job["state"] == "COMPLETED"
    assert is_gone(int((tmp_path / "pid").read_text()))


def test_cancel_ends_running_and_pending_jobs_and_names_unknown_ones(cluster: Cluster, script: Script) -> None:
    first, second, third = (cluster.submit(script("sleep 60"), nodes=2) for _ in range(3))
    cluster.wait(first, states=["RUNNING"])
    assert [job["reason"] for job in cluster.status()] == ["", "Resources", "Priority"]
    with pytest.raises(RefusedError, match="no such job: 77"):
        cluster.cancel(77, third, first)
    assert cluster.wait(third)["reason"] == "cancelled while pending"
    assert cluster.wait(first)["state"] == "CANCELLED"
    cluster.wait(second, states=["RUNNING"])


def test_a_lost_node_takes_its_job_with_it_and_gets_none_until_it_is_back(cluster: Cluster, script: Script) -> None:
    lost = cluster.submit(script("trap '' TERM; sleep 60"))
    other = cluster.submit(script("sleep 60"))
    cluster.wait(other, states=["RUNNING"])
    cluster.node_down("vn001")
    job = cluster.wait(lost)
    assert (job["state"], job["reason"], job["nodes"]) == ("NODE_FAIL", "node vn001 failed", ["vn001"])
    assert cluster.status([other])[0]["state"] == "RUNNING"
    cluster.cancel(other)
    wide = cluster.submit(script("exit 0"), nodes=2)
    narrow = cluster.wait(cluster.submit(script("exit 0")))
    assert narrow["nodes"] == ["vn002"]
    assert cluster.status([wide])[0]["reason"] == "NodesDown"
    cluster.node_up("vn001")
    assert cluster.wait(wide)["state"] == "COMPLETED"


def test_a_preempted_job_that_may_be_requeued_runs_again(cluster: Cluster, script: Script, tmp_path: Path) -> None:
    path = script('echo "run $HPCHARVEST_BATCH_RESTART"; [ "$HPCHARVEST_BATCH_RESTART" = 1 ] || exec sleep 60')
    job_id = cluster.submit(path, requeue=True, output="out")
    eventually(lambda: (tmp_path / "out").exists() and (tmp_path / "out").read_text() == "run 0\n")
    cluster.preempt(job_id)
    job = cluster.wait(job_id)
    assert (job["state"], job["restart_count"]) == ("COMPLETED", 1)
    assert (tmp_path / "out").read_text() == "run 0\nrun 1\n"


@pytest.mark.parametrize(("requeue", "mode"), [(False, None), (True, "cancel")])
def test_a_preempted_job_that_may_not_be_requeued_is_over(
    cluster: Cluster, script: Script, requeue: bool, mode: str | None
) -> None:
    job_id = cluster.submit(script("sleep 60"), requeue=requeue)
    cluster.wait(job_id, states=["RUNNING"])
    cluster.preempt(job_id, mode)
    assert cluster.wait(job_id)["state"] == "PREEMPTED"


@pytest.mark.parametrize("ended_by", ["stop", "kill_daemon"])
def test_jobs_outlive_the_daemon_and_the_next_one_adopts_them(
    cluster: Cluster, script: Script, tmp_path: Path, ended_by: str
) -> None:
    path = script("touch begun; until [ -e go ]; do sleep 0.02; done; exit 4")
    held, waiting = cluster.submit(path, nodes=2), cluster.submit(script("exit 0"))
    eventually((tmp_path / "begun").exists)
    getattr(cluster, ended_by)()
    with pytest.raises(UnreachableError, match="batch system unreachable"):
        cluster.status()
    cluster.start()
    assert [job["state"] for job in cluster.status()] == ["RUNNING", "PENDING"]
    (tmp_path / "go").touch()
    job = cluster.wait(held)
    assert (job["state"], job["exit_code"], job["restart_count"]) == ("FAILED", 4, 0)
    assert cluster.wait(waiting)["state"] == "COMPLETED"


def test_a_job_that_ended_while_the_daemon_was_away_has_its_own_end(
    cluster: Cluster, script: Script, tmp_path: Path
) -> None:
    job_id = cluster.submit(script("touch begun; sleep 0.2; exit 6"))
    eventually((tmp_path / "begun").exists)
    cluster.kill_daemon()
    code_file = cluster.spool / "work" / str(job_id) / "exit_code.0"
    eventually(code_file.exists)
    cluster.start()
    job = cluster.wait(job_id)
    assert (job["state"], job["exit_code"]) == ("FAILED", 6)
    assert job["end_time"] == pytest.approx(code_file.stat().st_mtime)


def test_a_walltime_that_ran_out_while_the_daemon_was_away_is_kept_afterwards(cluster: Cluster, script: Script) -> None:
    job_id = cluster.submit(script("sleep 60"), walltime=0.5)
    cluster.wait(job_id, states=["RUNNING"])
    cluster.kill_daemon()
    time.sleep(0.6)
    cluster.start()
    assert cluster.wait(job_id)["state"] == "TIMEOUT"


def test_a_job_whose_processes_vanished_with_the_daemon_is_a_node_failure(cluster: Cluster, script: Script) -> None:
    job_id = cluster.submit(script("sleep 60"))
    cluster.wait(job_id, states=["RUNNING"])
    cluster.kill_daemon()
    processes.kill_spool((cluster.spool / "token").read_text())
    cluster.start()
    assert cluster.wait(job_id)["state"] == "NODE_FAIL"


def test_a_daemon_that_died_between_start_and_record_still_finds_its_job(
    cluster: Cluster, script: Script, tmp_path: Path
) -> None:
    job_id = cluster.submit(script("touch begun; until [ -e go ]; do sleep 0.02; done; exit 4"))
    eventually((tmp_path / "begun").exists)
    cluster.kill_daemon()
    path = cluster.spool / "jobs" / f"{job_id}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"pid": None, "start_ticks": None}))
    cluster.start()
    assert cluster.status()[0]["state"] == "RUNNING"
    (tmp_path / "go").touch()
    assert cluster.wait(job_id)["exit_code"] == 4


def test_a_torn_record_is_reported_and_hurts_nobody(cluster: Cluster, script: Script) -> None:
    job_id = cluster.submit(script("exit 0"))
    cluster.wait(job_id)
    cluster.stop()
    (cluster.spool / "jobs" / "9.json").write_text('{"id": 9, "st')
    cluster.start()
    assert cluster.info()["torn"] == ["9.json"]
    assert cluster.status()[0]["state"] == "COMPLETED"
    assert cluster.submit(script("exit 0")) == 10


def test_a_spool_path_may_be_longer_than_a_socket_address(tmp_path: Path, script: Script) -> None:
    spool = tmp_path / ("long" * 30) / ("deep" * 30)
    with Cluster(spool, SETTINGS) as cluster:
        job_id = int(command(cluster, "submit", "--output", "/dev/null", str(script("exit 0"))).stdout)
        assert cluster.wait(job_id)["state"] == "COMPLETED"


def test_finished_jobs_are_forgotten_after_their_retention_and_ids_go_on(tmp_path: Path, script: Script) -> None:
    with Cluster(tmp_path / "spool", Settings(retention_s=0.2)) as cluster:
        path = script("exit 0")
        job_id = cluster.submit(path, output="/dev/null")
        eventually(lambda: not cluster.status())
        cluster.stop()
        cluster.start()
        assert cluster.submit(path, output="/dev/null") == job_id + 1


def test_the_job_limit_refuses_one_too_many(tmp_path: Path, script: Script) -> None:
    with Cluster(tmp_path / "spool", Settings(max_jobs_per_user=2)) as cluster:
        for _ in range(2):
            cluster.submit(script("sleep 60"), output="/dev/null")
        refused = command(cluster, "submit", str(script("sleep 60")))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == f"job limit reached: user {os.getuid()} has 2 jobs pending or running\n"


def test_a_client_that_dies_mid_way_submits_nothing_and_disturbs_nobody(cluster: Cluster, script: Script) -> None:
    request = json.dumps(client.submission(script("exit 0"))).encode()
    with wire.connect(cluster.spool, 5.0) as half:
        half.sendall(request[: len(request) // 2])
    with wire.connect(cluster.spool, 5.0) as deaf:
        deaf.sendall(request + b"\n")
        deaf.shutdown(socket.SHUT_RD)
    eventually(lambda: len(cluster.status()) == 1)
    assert cluster.wait(1)["state"] == "COMPLETED"


def test_the_daemon_sleeps_while_nothing_happens(cluster: Cluster, script: Script) -> None:
    cluster.wait(cluster.submit(script("sleep 60")), states=["RUNNING"])
    status = Path(f"/proc/{cluster.daemon_pid}/status")

    def sleeps() -> int:
        return int(status.read_text().partition("\nvoluntary_ctxt_switches:")[2].split()[0])

    time.sleep(0.1)  # it may still be saying goodbye to us
    before = sleeps()
    time.sleep(0.5)
    assert sleeps() == before


def test_a_hung_daemon_is_unreachable(cluster: Cluster) -> None:
    assert cluster.daemon_pid is not None
    os.kill(cluster.daemon_pid, signal.SIGSTOP)
    try:
        asked = command(cluster, "--timeout", "0.2", "status", "--json")
    finally:
        os.kill(cluster.daemon_pid, signal.SIGCONT)
    assert (asked.returncode, asked.stdout) == (2, "")
    assert asked.stderr.startswith("batch system unreachable: no answer to status")


def test_nothing_of_a_cluster_is_left_after_it_even_if_its_daemon_died(tmp_path: Path, script: Script) -> None:
    with Cluster(tmp_path / "spool", SETTINGS) as cluster:
        job_id = cluster.submit(script("setsid sleep 60 & echo $! >pid; wait"), cwd=str(tmp_path))
        eventually(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text() != "")
        cluster.kill_daemon()
    assert processes.oldest(f"{job_id}+{(cluster.spool / 'token').read_text()}") is None
    eventually(lambda: is_gone(int((tmp_path / "pid").read_text())))


def test_the_command_line_from_submit_to_stop(cluster: Cluster, script: Script) -> None:
    wishes = ["--nodes", "1", "--walltime", "5", "--name", "n", "--comment", "c d", "--queue", "short", "--requeue"]
    submitted = command(cluster, "submit", *wishes, str(script("sleep 60")))
    assert (submitted.returncode, submitted.stdout, submitted.stderr) == (0, "1\n", "")
    cluster.wait(1, states=["RUNNING"])
    (told,) = json.loads(command(cluster, "status", "--json", "--ids", "1,2").stdout)
    assert (told["id"], told["comment"], told["state"]) == (1, "c d", "RUNNING")
    assert "RUNNING" in command(cluster, "status").stdout
    assert command(cluster, "preempt", "--mode", "cancel", "1").returncode == 0
    assert cluster.wait(1)["state"] == "PREEMPTED"
    assert json.loads(command(cluster, "status", "--json", "--history-s", "0").stdout) == []
    assert command(cluster, "node", "down", "vn002").returncode == 0
    info = json.loads(command(cluster, "info").stdout)
    assert info["nodes"][1] == {"name": "vn002", "state": "down", "cores": 2, "free": 0, "job": None}
    assert info["queues"] == [
        {"name": "batch", "max_walltime_s": 600.0},
        {"name": "short", "max_walltime_s": 5.0},
    ]
    assert command(cluster, "stop", "--cancel").returncode == 0
    gone = command(cluster, "submit", str(script("exit 0")))
    assert (gone.returncode, gone.stdout) == (2, "")
    assert "batch system unreachable" in gone.stderr


@pytest.mark.parametrize(
    ("argv", "code", "says"),
    [
        (("submit", "--nodes", "3", "{script}"), 1, "3 nodes asked for; this cluster has 2\n"),
        (("submit", "--walltime", "601", "{script}"), 1, "at most 600 s\n"),
        (("submit", "nosuch.sh"), 1, "nosuch.sh"),
        (("cancel", "5", "6"), 1, "no such job: 5, 6\n"),
        (("preempt", "5"), 1, "job 5 is not running\n"),
        (("node", "up", "vn009"), 1, "no such node: vn009\n"),
        (("submit", "--colour", "red"), 64, "usage"),
        (("serve",), 1, "has a daemon already\n"),
    ],
)
def test_what_cannot_be_is_refused_in_words(
    cluster: Cluster, script: Script, argv: tuple[str, ...], code: int, says: str
) -> None:
    asked = command(cluster, *(part.format(script=script("exit 0")) for part in argv))
    assert asked.returncode == code
    assert says in asked.stderr
