"""The runner as a program, with real payloads on virtual nodes."""

import itertools
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hpcharvest.jumbo import kin
from hpcharvest.messenger.mailbox import Mailbox
from hpcharvest.messenger.protocol import (
    ExitCode,
    Manifest,
    PayloadEnded,
    PayloadStarted,
    Record,
    RunnerLeft,
    RunnerStarted,
    Segment,
    Task,
    Writer,
)
from hpcharvest.model.ids import AllocationId, Attempt, JobId
from hpcharvest.model.job import PayloadOutcome
from hpcharvest.model.states import PayloadResult

SERIAL = itertools.count(1)
MPIEXEC = Path(sys.executable).with_name("mpiexec")
PATIENCE_S = 120.0


def until(true: Callable[[], object], what: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in {"Z", "X"}


class Allocation:
    """A folder with a manifest, and the runners that are started in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tag = f"test-{os.getpid()}-{next(SERIAL)}"
        self.mailbox = Mailbox(folder / "allocation")
        self.tasks: list[Task] = []
        self.runners: list[subprocess.Popen[bytes]] = []

    def task(
        self,
        script: str,
        *,
        argv: tuple[str, ...] = (),
        cores: int = 1,
        nodes: int = 1,
        walltime_s: int = 0,
        outputs: tuple[str, ...] = (),
        log: str | None = None,
        links: dict[str, str] | None = None,
        mpi: bool = False,
        ranks_per_node: int = 1,
    ) -> Task:
        job = JobId(len(self.tasks) + 1)
        one = Task(
            job=job,
            attempt=Attempt(1),
            argv=argv or ("sh", "-c", script),
            folder=str(self.run(job)),
            env={"TOP": str(self.folder)},
            links=links or {},
            nodes=nodes,
            cores=cores,
            walltime_s=walltime_s,
            outputs=outputs,
            log=log,
            mpi=mpi,
            ranks_per_node=ranks_per_node,
        )
        self.tasks.append(one)
        return one

    def run(self, job: int) -> Path:
        return self.folder / "runs" / f"{job}.1"

    def start(
        self, *, nodes: str = "v1,v2", restart: int = 0, left_s: float = 0.0, launcher: tuple[str, ...] = ()
    ) -> subprocess.Popen[bytes]:
        manifest = Manifest(
            allocation=AllocationId(1),
            tag=self.tag,
            cores_per_node=2,
            tasks=tuple(self.tasks),
            heartbeat_s=0.1,
            flush_s=0.05,
            margin_s=1.0,
            kill_grace_s=0.5,
            launcher=launcher,
        )
        self.mailbox.write_manifest(manifest)
        environment = os.environ | {
            "HPCHARVEST_NODES": nodes,
            "HPCHARVEST_VIRTUAL_NODES": "1",
            "HPCHARVEST_RESTART": str(restart),
            "HPCHARVEST_BATCH_ID": "77",
        }
        if left_s:
            environment["HPCHARVEST_DEADLINE"] = str(time.time() + left_s)
        command = [sys.executable, "-m", "hpcharvest.jumbo", str(self.mailbox.folder)]
        self.runners.append(subprocess.Popen(command, env=environment))
        return self.runners[-1]

    def finish(self, *, restart: int = 0, left_s: float = 0.0) -> dict[int, PayloadOutcome]:
        runner = self.start(restart=restart, left_s=left_s)
        assert runner.wait(PATIENCE_S) == ExitCode.LEFT
        return self.outcomes()

    def segments(self) -> list[Segment]:
        return self.mailbox.read_segments(0)

    def records(self) -> list[Record]:
        return [record for segment in self.segments() for record in segment.records]

    def started(self) -> list[int]:
        return [record.job for record in self.records() if isinstance(record, PayloadStarted)]

    def outcomes(self) -> dict[int, PayloadOutcome]:
        ended = [record for record in self.records() if isinstance(record, PayloadEnded)]
        assert len({record.job for record in ended}) == len(ended)
        return {record.job: record.outcome for record in ended}

    def await_file(self, name: str) -> str:
        path = self.folder / name
        until(lambda: path.exists() and path.read_text().endswith("\n"), name)
        return path.read_text().strip()

    def clean_up(self) -> None:
        for runner in self.runners:
            runner.kill()
            runner.wait()
        kin.send(kin.of_other_starts(self.tag, -1), signal.SIGKILL)


@pytest.fixture
def allocation(tmp_path: Path) -> Iterator[Allocation]:
    made = Allocation(tmp_path)
    yield made
    made.clean_up()


def test_everything_is_run_and_told(allocation: Allocation) -> None:
    (allocation.folder / "staged").write_text("data\n")
    staged = {"in.dat": str(allocation.folder / "staged")}
    for _ in range(6):
        script = "cp in.dat out.dat; echo told; echo '{}' > jobReport.json"
        allocation.task(script, links=staged, outputs=("out.dat",), log="log.tgz")
    allocation.task("sleep 0.2", cores=2, nodes=2)
    outcomes = allocation.finish()
    assert {outcome.result for outcome in outcomes.values()} == {PayloadResult.DONE}
    assert sorted(allocation.started()) == sorted(outcomes) == [1, 2, 3, 4, 5, 6, 7]
    records = allocation.records()
    assert isinstance(records[0], RunnerStarted)
    assert (records[0].batch_id, records[0].nodes) == ("77", ("v1", "v2"))
    assert isinstance(records[-1], RunnerLeft)
    assert outcomes[7].node in {"v1,v2", "v2,v1"}
    first = outcomes[1]
    assert (first.exit_code, first.node in {"v1", "v2"}, first.metadata) == (0, True, "{}\n")
    assert first.max_rss_kb > 100
    assert first.started_at <= first.ended_at
    with tarfile.open(allocation.run(1) / "log.tgz") as tar:
        assert set(tar.getnames()) == {"stdout.txt", "stderr.txt", "jobReport.json"}
    assert (allocation.run(1) / "stdout.txt").read_text() == "told\n"
    assert len(allocation.segments()) < len(records)
    assert allocation.mailbox.heartbeat_mtime() is not None


def test_what_goes_wrong_with_one_payload_stays_with_it(allocation: Allocation) -> None:
    allocation.task("echo because >&2; exit 3")
    allocation.task("kill -SEGV $$")
    allocation.task("", argv=("/no/such/program",))
    allocation.task("true", outputs=("out.dat",))
    allocation.task("true", links={"../evil": "/etc/passwd"})
    allocation.task("true", cores=3)
    allocation.task("", argv=("tr\0ue",))
    allocation.task("true")
    found = allocation.finish()
    results = [found[job].result for job in range(1, 9)]
    failed = PayloadResult.FAILED
    expected = [failed, failed, failed, failed, failed, PayloadResult.NOT_RUN, failed, PayloadResult.DONE]
    assert results == expected
    assert (found[1].exit_code, found[1].reason) == (3, "the payload ended with exit code 3: because")
    assert found[2].signal == signal.SIGSEGV
    assert "/no/such/program" in found[3].reason
    assert "out.dat" in found[4].reason
    assert "evil" in found[5].reason
    assert "3 cores" in found[6].reason


def test_a_payload_past_its_time_is_killed_with_all_its_kin(allocation: Allocation) -> None:
    stubborn = "trap '' TERM; (setsid sh -c 'trap \"\" TERM; echo $$ > $TOP/kin; sleep 60') & sleep 60 & wait; sleep 60"
    allocation.task(stubborn, walltime_s=1)
    outcome = allocation.finish()[1]
    assert outcome.result is PayloadResult.TIMED_OUT
    assert outcome.signal == signal.SIGKILL
    assert "time limit of 1 s" in outcome.reason
    until(lambda: not is_alive(int(allocation.await_file("kin"))), "the end of its kin")


def test_a_kill_note_stops_one_payload_running_or_waiting(allocation: Allocation) -> None:
    allocation.task("echo $$ > $TOP/first; exec sleep 60", cores=2, walltime_s=90)
    allocation.task("echo $$ > $TOP/second; exec sleep 60", cores=2, walltime_s=80)
    allocation.task("true", cores=2, walltime_s=10)
    allocation.task("true", cores=2, walltime_s=20)
    runner = allocation.start()
    allocation.await_file("first")
    allocation.await_file("second")
    allocation.mailbox.leave_kill_note(JobId(3), Attempt(1))
    until(lambda: 3 in allocation.outcomes(), "the end of the one that waits")
    for job in (1, 2):
        allocation.mailbox.leave_kill_note(JobId(job), Attempt(1))
    assert runner.wait(PATIENCE_S) == ExitCode.LEFT
    outcomes = allocation.outcomes()
    killed = PayloadResult.KILLED
    assert [outcomes[job].result for job in (1, 2, 3, 4)] == [killed, killed, killed, PayloadResult.DONE]
    assert 3 not in allocation.started()


@pytest.mark.parametrize("how", ["SIGTERM", "SIGUSR1", "note", "deadline"])
def test_a_runner_that_has_to_leave_gives_everything_back(allocation: Allocation, how: str) -> None:
    allocation.task("echo $$ > $TOP/first; sleep 60", cores=2, nodes=2)
    allocation.task("true", cores=2)
    runner = allocation.start(left_s=15.0 if how == "deadline" else 0.0)
    pid = int(allocation.await_file("first"))
    if how == "note":
        allocation.mailbox.leave_kill_all()
    elif how != "deadline":
        runner.send_signal(signal.Signals[how])
    assert runner.wait(PATIENCE_S) == ExitCode.LEFT
    outcomes = allocation.outcomes()
    assert {outcome.result for outcome in outcomes.values()} == {PayloadResult.NOT_RUN}
    assert len(outcomes) == 2
    assert isinstance(allocation.records()[-1], RunnerLeft)
    assert not is_alive(pid)


def test_what_cannot_end_in_time_is_not_started(allocation: Allocation) -> None:
    for walltime_s in (100, 90, 10):
        allocation.task("true", nodes=2, cores=2, walltime_s=walltime_s)
    outcomes = allocation.finish(left_s=50.0)
    results = [outcomes[job].result for job in (1, 2, 3)]
    assert results == [PayloadResult.DONE, PayloadResult.NOT_RUN, PayloadResult.DONE], "the first round is not asked"


def test_a_restart_runs_only_what_is_left(allocation: Allocation) -> None:
    allocation.task("echo run >> $TOP/short; true", walltime_s=50)
    allocation.task("echo $$ >> $TOP/long; [ $(wc -l < $TOP/long) = 2 ] || exec sleep 60", walltime_s=90)
    runner = allocation.start()
    allocation.await_file("short")
    orphan = int(allocation.await_file("long"))
    until(lambda: 1 in allocation.outcomes(), "the first outcome")
    runner.kill()
    runner.wait()
    assert is_alive(orphan)
    again = allocation.start(restart=0)
    assert again.wait(PATIENCE_S) == ExitCode.FENCED
    assert is_alive(orphan)
    outcomes = allocation.finish(restart=1)
    assert {outcome.result for outcome in outcomes.values()} == {PayloadResult.DONE}
    assert allocation.await_file("short") == "run"
    assert allocation.started() == [2, 1, 2]
    until(lambda: not is_alive(orphan), "the end of the orphan")
    late = allocation.start(restart=2)
    assert late.wait(PATIENCE_S) == ExitCode.FENCED


def test_a_revoked_allocation_runs_nothing(allocation: Allocation) -> None:
    allocation.task("touch $TOP/ran")
    allocation.mailbox.write_manifest(Manifest(allocation=AllocationId(1), tag="t", cores_per_node=1, tasks=()))
    allocation.mailbox.journal.close(0, by="test", at=0.0)
    assert allocation.start().wait(PATIENCE_S) == ExitCode.FENCED
    assert not (allocation.folder / "ran").exists()
    assert allocation.mailbox.cut_off() == 0


@pytest.mark.parametrize("by", ["close", "restart"])
def test_a_runner_that_was_declared_lost_stops_its_payloads(allocation: Allocation, by: str) -> None:
    allocation.task("echo $$ > $TOP/pid; sleep 60")
    runner = allocation.start()
    pid = int(allocation.await_file("pid"))
    until(lambda: 1 in allocation.started(), "its start in the journal")
    segments = allocation.segments()
    if by == "close":
        allocation.mailbox.journal.close(len(segments), by="test", at=0.0)
    else:
        started = RunnerStarted(at=0.0, batch_id="77", nodes=("elsewhere",), restart=1)
        assert allocation.mailbox.journal.publish(len(segments), [started], Writer.RUNNER, 1)
    assert runner.wait(PATIENCE_S) == ExitCode.FENCED
    until(lambda: not is_alive(pid), "the end of its payload")
    assert len(allocation.segments()) == len(segments) + 1
    assert allocation.mailbox.cut_off() == 1, "the payload that ran in vain is counted"


def test_no_process_outlives_the_runner(allocation: Allocation) -> None:
    allocation.task("setsid sh -c 'echo $$ > $TOP/daemon; exec sleep 60' & echo $$ > $TOP/own; sleep 60 & sleep 0.3")
    assert allocation.finish()[1].result is PayloadResult.DONE
    until(lambda: not is_alive(int(allocation.await_file("daemon"))), "the end of the daemon")


def test_records_wait_while_the_storage_does_not_play(allocation: Allocation) -> None:
    allocation.task("echo . > $TOP/first; while [ ! -e $TOP/go ]; do sleep 0.05; done", walltime_s=60)
    runner = allocation.start()
    allocation.await_file("first")
    until(lambda: 1 in allocation.started(), "its start in the journal")
    journal, aside = allocation.mailbox.folder / "journal", allocation.mailbox.folder / "aside"
    journal.rename(aside)
    (allocation.folder / "go").touch()
    time.sleep(0.7)
    assert runner.poll() is None
    aside.rename(journal)
    assert runner.wait(PATIENCE_S) == ExitCode.LEFT
    assert allocation.outcomes()[1].result is PayloadResult.DONE


def test_large_logs_do_not_hold_up_the_others(allocation: Allocation) -> None:
    for _ in range(4):
        allocation.task("head -c 3000000 /dev/urandom > core; exit 1", log="log.tgz")
    outcomes = allocation.finish()
    assert {outcome.reason for outcome in outcomes.values()} == {"the payload ended with exit code 1"}
    for job in outcomes:
        with tarfile.open(allocation.run(job) / "log.tgz") as tar:
            assert "core" in tar.getnames()


def test_a_manifest_that_is_not_understood_is_no_start(allocation: Allocation) -> None:
    allocation.task("true")
    allocation.mailbox.write_manifest(Manifest(allocation=AllocationId(1), tag="t", cores_per_node=1, tasks=()))
    (allocation.mailbox.folder / "manifest.json").write_text("{}")
    command = [sys.executable, "-m", "hpcharvest.jumbo", str(allocation.mailbox.folder)]
    done = subprocess.run(command, check=False, capture_output=True, timeout=PATIENCE_S)
    assert done.returncode == ExitCode.UNREADABLE
    assert b"manifest.json" in done.stderr
    assert allocation.segments() == []


def test_a_sleeping_head_costs_nothing(allocation: Allocation) -> None:
    allocation.task("echo . > $TOP/first; sleep 1.2")
    runner = allocation.start()
    allocation.await_file("first")
    _, _, usage = os.wait4(runner.pid, 0)
    runner.returncode = 0
    assert usage.ru_utime + usage.ru_stime < 2.0, "most of it is Python's start"


@pytest.mark.needs("mpi")
def test_a_launcher_that_cannot_start_a_payload_costs_no_job_of_its_own(allocation: Allocation) -> None:
    allocation.task("exit 3", mpi=True)
    assert allocation.start(launcher=("sh", "-c", "echo no nodes >&2; exit 1")).wait(PATIENCE_S) == ExitCode.LEFT
    outcome = allocation.outcomes()[1]
    assert outcome.result is PayloadResult.NOT_RUN
    assert "started no payload: no nodes" in outcome.reason


def test_a_payload_that_fails_under_a_launcher_has_failed(allocation: Allocation) -> None:
    allocation.task("exit 3", mpi=True)
    assert allocation.start(launcher=("env",)).wait(PATIENCE_S) == ExitCode.LEFT
    outcome = allocation.outcomes()[1]
    assert (outcome.result, outcome.exit_code) == (PayloadResult.FAILED, 3)


def test_tasks_of_mpi_go_through_the_launcher(allocation: Allocation) -> None:
    launcher = (str(MPIEXEC), "-launcher", "fork", "-hosts", "{hosts}", "-ppn", "{ranks_per_node}", "-n", "{ranks}")
    allocation.task("echo rank $PMI_RANK of $PMI_SIZE", nodes=2, cores=2, mpi=True, ranks_per_node=2)
    allocation.task("echo alone $PMI_SIZE")
    allocation.task("sleep 60", nodes=2, mpi=True, walltime_s=1)
    assert allocation.start(launcher=launcher).wait(PATIENCE_S) == ExitCode.LEFT
    outcomes = allocation.outcomes()
    assert [outcomes[job].result.value for job in (1, 2, 3)] == ["done", "done", "timed_out"]
    lines = (allocation.run(1) / "stdout.txt").read_text().splitlines()
    assert sorted(lines) == [f"rank {rank} of 4" for rank in range(4)]
    assert (allocation.run(2) / "stdout.txt").read_text() == "alone\n"
