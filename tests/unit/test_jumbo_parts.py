import dataclasses
import os
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest

from hpcharvest.errors import ConfigurationError, UnsafeName
from hpcharvest.jumbo import command, folder, slot, surroundings, tarball, verdict
from hpcharvest.jumbo.verdict import Ending, Stop
from hpcharvest.messenger.protocol import Task
from hpcharvest.model.ids import Attempt, JobId
from hpcharvest.model.job import PayloadOutcome
from hpcharvest.model.states import PayloadResult

LAUNCHER = ("mpiexec", "-hosts={hosts}", "{nodes}", "{ranks}", "{ranks_per_node}", "{cores}", "{node_cores}", "{other}")


def task(
    place: Path,
    *,
    outputs: tuple[str, ...] = (),
    log: str | None = None,
    links: dict[str, str] | None = None,
    mpi: bool = False,
    ranks_per_node: int = 1,
) -> Task:
    return Task(
        job=JobId(1),
        attempt=Attempt(1),
        argv=("pay", "{hosts}"),
        folder=str(place),
        outputs=outputs,
        log=log,
        links=links or {},
        cores=4,
        mpi=mpi,
        ranks_per_node=ranks_per_node,
    )


def ending(code: int) -> Ending:
    return Ending(code=code, started_at=1.0, ended_at=2.0, cpu_s=0.5, max_rss_kb=100)


def judged(one: Task, code: int, stop: Stop | None = None) -> PayloadOutcome:
    return verdict.judge(one, "n1", ending(code), stop)


def test_a_payload_here_needs_no_launcher(tmp_path: Path) -> None:
    assert command.words(task(tmp_path), ["n1"], LAUNCHER, here=True) == ["pay", "{hosts}"]


def test_the_launcher_is_filled_in_and_the_payload_is_left_alone(tmp_path: Path) -> None:
    words = command.words(task(tmp_path, mpi=True, ranks_per_node=2), ["n1", "n2"], LAUNCHER, here=True)
    assert words == ["mpiexec", "-hosts=n1,n2", "2", "4", "2", "2", "4", "{other}", "pay", "{hosts}"]


def test_a_launcher_starts_a_witness_that_becomes_the_payload(tmp_path: Path) -> None:
    one = task(tmp_path, mpi=True)
    assert not command.is_launched(list(one.argv), one)
    words = command.witnessed(["srun", "-n2", *one.argv], one)
    assert words[:3] == ["srun", "-n2", "/bin/sh"]
    assert words[-3:] == [f"{tmp_path}/.started", *one.argv]
    script = ["/bin/sh", *words[3:5], f"{tmp_path}/.started", "echo", "$HOME"]
    for rank, started in ({"SLURM_PROCID": "1"}, False), ({"PMI_RANK": "0"}, True):
        told = subprocess.run(script, env=rank, capture_output=True, text=True, check=True).stdout
        assert (told, (tmp_path / ".started").exists()) == ("$HOME\n", started)


def test_a_launcher_that_fails_before_it_starts_the_payload_is_not_the_payloads_doing(tmp_path: Path) -> None:
    one = task(tmp_path, mpi=True)
    (tmp_path / "stdout.txt").touch()
    (tmp_path / "stderr.txt").write_text("srun: error: Unable to create step\n")
    found = verdict.judge(one, "n1", ending(1), None, launched=True)
    assert found.result is PayloadResult.NOT_RUN
    assert found.reason.endswith("exit code 1 and started no payload: srun: error: Unable to create step")
    assert verdict.judge(one, "n1", ending(1), None).result is PayloadResult.FAILED
    for sign, text in ("stdout.txt", "words\n"), (".started", ""):
        (tmp_path / sign).write_text(text)
        assert verdict.judge(one, "n1", ending(1), None, launched=True).result is PayloadResult.FAILED
        (tmp_path / sign).write_text("")


def test_ranks_that_outnumber_the_cores_have_one_each(tmp_path: Path) -> None:
    words = command.words(task(tmp_path, mpi=True, ranks_per_node=7), ["n1"], ("{ranks}", "{cores}"), here=True)
    assert words[:2] == ["7", "1"]


def test_a_payload_elsewhere_is_one_rank(tmp_path: Path) -> None:
    assert command.words(task(tmp_path), ["n2"], LAUNCHER, here=False)[:5] == ["mpiexec", "-hosts=n2", "1", "1", "1"]


@pytest.mark.parametrize(("contained", "result"), [(False, PayloadResult.FAILED), (True, PayloadResult.NOT_RUN)])
def test_a_container_engine_that_is_missing_is_not_the_payloads_doing(
    tmp_path: Path, contained: bool, result: PayloadResult
) -> None:
    one = dataclasses.replace(task(tmp_path / "run"), contained=contained)
    with Path(os.devnull).open("rb") as stdin:
        stop = slot.start(one, ["/nowhere/engine"], {}, stdin.fileno())
    assert isinstance(stop, Stop)
    assert stop.result is result


def test_a_container_that_its_engine_could_not_start_is_not_the_payloads_doing(tmp_path: Path) -> None:
    one = dataclasses.replace(task(tmp_path), contained=True, engine_failure=125)
    (tmp_path / folder.STDERR).write_text("Error: docker.io/a/b:1: image not known\n")
    outcome = judged(one, 125)
    assert outcome.result is PayloadResult.NOT_RUN
    assert "image not known" in outcome.reason
    assert judged(one, 1).result is PayloadResult.FAILED
    assert judged(task(tmp_path), 125).result is PayloadResult.FAILED


@pytest.mark.parametrize(
    ("words", "code", "result"),
    [
        (
            "Error: crun: setrlimit `RLIMIT_NOFILE`: Operation not permitted: OCI permission denied",
            126,
            PayloadResult.NOT_RUN,
        ),
        (
            "Error: OCI runtime error: crun: cgroups in hybrid mode not supported, drop all controllers from cgroupv2",
            126,
            PayloadResult.NOT_RUN,
        ),
        ("/bin/run: line 3: /data/x: Permission denied", 126, PayloadResult.FAILED),
        ("Error: OCI runtime error", 1, PayloadResult.FAILED),
        ("", 126, PayloadResult.FAILED),
    ],
)
def test_a_container_that_its_runtime_refused_is_not_the_payloads_doing(
    tmp_path: Path, words: str, code: int, result: PayloadResult
) -> None:
    (tmp_path / folder.STDERR).write_text(f"{words}\n")
    assert judged(dataclasses.replace(task(tmp_path), contained=True, engine_failure=125), code).result is result
    assert judged(task(tmp_path), code).result is PayloadResult.FAILED


def test_surroundings_are_read_from_the_environment() -> None:
    found = surroundings.read(
        {"HPCHARVEST_NODES": "n1, n2,n1,", "HPCHARVEST_DEADLINE": "12.5", "HPCHARVEST_RESTART": "2"}
    )
    assert (found.nodes, found.deadline, found.restart) == (("n1", "n2"), 12.5, 2)
    assert found.is_here("n1")
    assert not found.is_here("n2")
    assert surroundings.read({"HPCHARVEST_NODES": "a,b", "HPCHARVEST_VIRTUAL_NODES": "1"}).is_here("b")


def test_without_an_environment_there_is_this_host() -> None:
    found = surroundings.read({})
    assert (len(found.nodes), found.deadline, found.restart) == (1, None, 0)


def test_a_wrong_variable_is_named() -> None:
    with pytest.raises(ConfigurationError, match="HPCHARVEST_DEADLINE"):
        surroundings.read({"HPCHARVEST_DEADLINE": "tomorrow"})


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc/passwd", "a\0b", "x" * 256, "\ud800"])
def test_names_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    for one in (task(tmp_path, links={name: "/x"}), task(tmp_path, outputs=(name,)), task(tmp_path, log=name or "..")):
        with pytest.raises(UnsafeName):
            folder.prepare(one)


def test_an_input_never_takes_the_place_of_stdout(tmp_path: Path) -> None:
    target = tmp_path / "input"
    target.write_text("precious")
    with pytest.raises(UnsafeName, match=r"stdout\.txt"):
        folder.prepare(task(tmp_path / "run", links={"stdout.txt": str(target)}))
    assert target.read_text() == "precious"


def test_a_folder_is_made_anew(tmp_path: Path) -> None:
    run = tmp_path / "deep" / "run"
    run.mkdir(parents=True)
    (run / "old").touch()
    for handle in folder.prepare(task(run, links={"in": "/data/in"})):
        os.close(handle)
    assert {path.name for path in run.iterdir()} == {"in", "stdout.txt", "stderr.txt"}
    assert (run / "in").readlink() == Path("/data/in")
    assert [path.name for path in run.parent.iterdir()] == ["run"]


def test_done_needs_every_output_as_a_file_of_the_folder(tmp_path: Path) -> None:
    one = task(tmp_path, outputs=("plain", "link"))
    (tmp_path / "plain").touch()
    assert judged(one, 0).reason.endswith("did not leave link")
    (tmp_path / "link").symlink_to("plain")
    assert judged(one, 0).result is PayloadResult.DONE
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("/etc/passwd")
    assert judged(one, 0).result is PayloadResult.FAILED
    (tmp_path / "link").unlink()
    (tmp_path / "link").mkdir()
    assert judged(one, 0).result is PayloadResult.FAILED


def test_a_failure_says_code_and_last_words(tmp_path: Path) -> None:
    (tmp_path / "stderr.txt").write_bytes(b"first\nlast \x1b[31m" + b"\xff" + b"x" * 400 + b"\n\n  \n")
    found = judged(task(tmp_path), 3)
    assert (found.result, found.exit_code, found.signal) == (PayloadResult.FAILED, 3, None)
    assert found.reason.startswith("the payload ended with exit code 3: last  [31m\ufffdxxx")
    assert len(found.reason) < 350
    (tmp_path / "stderr.txt").write_text("")
    assert judged(task(tmp_path), -11).reason == "the payload died of signal 11 (SIGSEGV)"


def test_a_stopped_payload_never_did_well(tmp_path: Path) -> None:
    assert judged(task(tmp_path), 0, Stop(PayloadResult.KILLED, "asked")).result is PayloadResult.KILLED


def test_the_report_is_taken_along_if_it_is_a_decent_file(tmp_path: Path) -> None:
    report = tmp_path / "jobReport.json"
    report.write_text('{"a": 1}')
    assert judged(task(tmp_path), 0).metadata == '{"a": 1}'
    report.write_bytes(b"x" * 1_000_001)
    assert judged(task(tmp_path), 0).metadata == ""
    report.unlink()
    os.mkfifo(report)
    assert judged(task(tmp_path), 0).metadata == ""
    report.unlink()
    report.symlink_to("/etc/passwd")
    assert judged(task(tmp_path), 0).metadata == ""


def test_a_log_that_could_not_be_made_is_not_the_payloads_doing() -> None:
    done = PayloadOutcome(result=PayloadResult.DONE)
    failed = PayloadOutcome(result=PayloadResult.FAILED, reason="bad")
    assert verdict.with_log(done, 0) is done
    assert verdict.with_log(done, 28).result is PayloadResult.NOT_RUN
    assert verdict.with_log(failed, -9).reason == "bad; its log could not be made: there was no time"


def test_the_log_has_all_but_outputs_and_inputs(tmp_path: Path) -> None:
    one = task(tmp_path, outputs=("out",), links={"in": "/data/in"}, log="log.tgz")
    (tmp_path / "sub").mkdir()
    for name, text in {"out": "o", "stdout.txt": "hello", "sub/deep": "d"}.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "in").symlink_to("/data/in")
    (tmp_path / "away").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "pipe")
    assert tarball.is_small(one)
    with (tmp_path / "big").open("wb") as big:
        big.truncate(tarball.LARGEST_FILE)
        big.seek(0, os.SEEK_END)
        big.write(b"the end")
    tarball.pack(one)
    with tarfile.open(tmp_path / "log.tgz") as tar:
        members = {member.name: member for member in tar}
        tail = tar.extractfile("big.tail")
        assert tail is not None
        content = tail.read()
        assert len(content) == tarball.LARGEST_FILE
        assert content.endswith(b"\0the end")
        notes = tar.extractfile("log_notes.txt")
        assert notes is not None
        assert {line.split(b":")[0] for line in notes} == {b"pipe", b"big"}
    assert set(members) == {"stdout.txt", "sub/deep", "big.tail", "away", "log_notes.txt"}
    assert members["away"].issym()
    assert not (tmp_path / ".log.part").exists()


def test_a_large_log_is_packed_by_a_child(tmp_path: Path) -> None:
    one = task(tmp_path, log="log.tgz")
    (tmp_path / "stdout.txt").write_bytes(os.urandom(300_000))
    assert not tarball.is_small(one)
    _, status = os.waitpid(tarball.fork_to_pack(one), 0)
    assert status == 0
    assert stat.S_ISREG((tmp_path / "log.tgz").stat().st_mode)


def test_a_child_that_cannot_pack_tells_why(tmp_path: Path) -> None:
    _, status = os.waitpid(tarball.fork_to_pack(task(tmp_path / "gone", log="log.tgz")), 0)
    assert os.strerror(os.waitstatus_to_exitcode(status)) == "No such file or directory"
