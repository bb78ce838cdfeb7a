"""The face of Cobalt says what Cobalt 1.0.33 said, field by field, where both have something to say."""

from __future__ import annotations

import itertools
import pwd
import re
import time
from collections.abc import Iterator, Sequence
from os import getuid
from pathlib import Path

import pytest

from hpcharvest.providers.dialect import Spoken
from hpcharvest.sandbox.batch.cluster import Cluster
from hpcharvest.sandbox.batch.faces import cobalt_log, commands
from hpcharvest.sandbox.batch.faces.cobalt_table import DEFAULT, FULL, LONG, fold, table
from hpcharvest.sandbox.batch.settings import Settings
from tests.services.recordings import command_of, recorded

ME = pwd.getpwuid(getuid()).pw_name
STAMP = re.compile(r"\w{3} \w{3} \d\d \d\d:\d\d:\d\d \d{4} [+-]\d{4} \(\w+\)")
TABLES = [
    *("cqstat", "cqstat_full", "qstat", "qstat2", "qstat_Q", "qstat_f", "qstat_header", "qstat_killing", "qstat_res"),
    *("nodelist", "nodelist_down", "nodelist_est", "nodelist_res"),
    *("showres", "showres2", "showres_l", "showres_x"),
]
KINDS = {
    "JobID": r"\d+",
    "JobName": r"\S+",
    "User": r"\w+",
    "Nodes": r"\d+",
    "State": r"[a-z_]+",
    "Location": r"None|[a-z]+(\d+|\[\d+-\d+\])(,[a-z]+(\d+|\[\d+-\d+\]))*",
    "Mode": "script",
    "Procs": r"\d+",
    "Preemptable": "False",
    "Queue": r"[a-z]+(:[a-z]+)*",
    "StartTime": rf"N/A|{STAMP.pattern}",
    "Index": "None",
    "Host": r"[a-z]+\d+",
    "Backfill": r"-|\d\d:\d\d:\d\d",
    **dict.fromkeys(("WallTime", "QueuedTime", "RunTime", "TimeRemaining"), r"N/A|\d\d:\d\d:\d\d"),
}
"""What the cells of each column look like, on record and here."""


class Face:
    """The programs of the face, called as functions."""

    def __init__(self, cluster: Cluster, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.cluster, self.folder, self._capsys = cluster, folder, capsys
        self._numbers = itertools.count()

    def __call__(self, program: str, *arguments: str) -> Spoken:
        self._capsys.readouterr()
        try:
            code = commands("cobalt")[program](self.cluster.spool, arguments)
        except SystemExit as ended:
            code = int(ended.code or 0)
        out, err = self._capsys.readouterr()
        return Spoken(exit_code=code, out=out, err=err)

    def script(self, text: str, head: str = "", name: str = "c.sh") -> str:
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n{head}{text}\n")
        path.chmod(0o755)
        return str(path)

    def submit(self, text: str, *options: str) -> str:
        """Submit a line of shell in the folder of the test."""
        always = ("-n", "1", "-t", "10", "--cwd", str(self.folder))
        name = f"{next(self._numbers)}.sh"
        return self("qsub", *always, *options, self.script(text, name=name)).out.strip()

    def ended(self, number: str) -> str:
        """Wait until a batch job is gone from qstat; give its log."""
        give_up_at = time.monotonic() + 60
        while self("qstat", number).exit_code == 0:
            assert time.monotonic() < give_up_at
            time.sleep(0.02)
        return (self.folder / f"{number}.cobaltlog").read_text()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    queues = {"default": 86_400.0, "debug": 3600.0}
    settings = Settings(nodes=8, queues=queues, kill_grace_s=0.1, max_jobs_per_user=9)
    with Cluster(tmp_path / "spool", settings) as running:
        yield running


@pytest.fixture
def face(cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Face:
    monkeypatch.chdir(tmp_path)
    return Face(cluster, tmp_path, capsys)


def cut(text: str) -> tuple[list[str], list[list[str]]]:
    """Cut a table into its heads and cells, by where its heads begin."""
    first, _, *rows = text.splitlines()
    heads = re.findall(r"\S+(?: \S+)*", first)
    starts = [found.start() for found in re.finditer(r"\S+(?: \S+)*", first)]
    ends = [*starts[1:], len(first)]
    return heads, [[row[start:end].rstrip() for start, end in zip(starts, ends, strict=True)] for row in rows]


def check_kinds(text: str, heads: Sequence[str]) -> None:
    found, rows = cut(text)
    assert found == list(heads)
    for row in rows:
        for head, cell in zip(found, row, strict=True):
            assert re.fullmatch(KINDS[head], cell), (head, cell)


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_printed_as_on_record(name: str) -> None:
    real = recorded("cobalt", name).out
    heads, rows = cut(real)
    # A score is wider than what is to be seen of it.
    rows = [
        [f"  {cell.strip()}  " if head == "Score" else cell for head, cell in zip(heads, row, strict=True)]
        for row in rows
    ]
    assert table(heads, rows, end="" if "Backfill" in heads else "  ") == real


@pytest.mark.parametrize(("name", "heads"), [("qstat", DEFAULT), ("qstat_f", FULL)])
def test_the_cells_on_record_are_of_the_kinds_that_ours_are_held_to(name: str, heads: Sequence[str]) -> None:
    check_kinds(recorded("cobalt", name).out, heads)


def test_the_long_form_has_the_lines_on_record(face: Face) -> None:
    face.submit("sleep 60")
    ours, theirs = (
        [line.partition(":")[0] for line in text.split("\n\n")[0].splitlines()]
        for text in (face("qstat", "-fl").out, recorded("cobalt", "qstat_fl").out)
    )
    assert ours == theirs
    assert [name.strip() for name in ours] == list(LONG)


@pytest.mark.parametrize(
    ("names", "folded"),
    [
        (("c01", "c08"), "c01,c08"),
        (("c02", "c03", "c04", "c05", "c06", "c07"), "c[02-07]"),
        (("c01", "c02", "c03", "d9", "login"), "c[01-03],d9,login"),
        (("n9", "n10"), "n10,n9"),
    ],
)
def test_locations_are_folded(names: Sequence[str], folded: str) -> None:
    assert fold(names) == folded


@pytest.mark.parametrize(
    "name", ["qsub_badqueue", "qsub_noargs", "qsub_noexec", "qsub_notime", "qsub_toolong", "qsub_toomany"]
)
def test_it_refuses_in_the_words_on_record(face: Face, name: str) -> None:
    face.script("true")
    real = recorded("cobalt", name)
    assert face(*command_of("cobalt", name)) == real


def test_it_takes_the_command_lines_on_record_and_gives_ids(face: Face) -> None:
    face.script("true", "#COBALT -n 2 -t 10\n#COBALT --jobname harv.w1\n\n#COBALT -n 99\n")
    assert face(*command_of("cobalt", "qsub_ok")) == recorded("cobalt", "qsub_ok")
    assert face(*command_of("cobalt", "qsub_script_opts")) == recorded("cobalt", "qsub_script_opts")
    face.ended("1")
    assert (face.folder / "1.output").exists()
    for number in (1, 2):
        face.cluster.wait(number)
    assert face("qstat").out == table(DEFAULT, [])
    assert "exit code of 0;" in (face.folder / "outpre.cobaltlog").read_text()


def test_a_script_that_may_not_be_run_is_refused(face: Face) -> None:
    path = Path(face.script("true"))
    path.chmod(0o444)
    refused = face("qsub", "-n", "1", "-t", "5", "c.sh")
    assert refused == Spoken(exit_code=1, out="", err=f"command {path} is not executable\n")


def test_blanks_are_taken_out_of_the_name_of_a_script_but_not_of_its_folder(face: Face) -> None:
    folder = face.folder / "a b"
    folder.mkdir()
    (folder / "c.sh").write_text("#!/bin/sh\n")
    (folder / "c.sh").chmod(0o755)
    always = ("qsub", "-n", "1", "-t", "5")
    assert "not found, or is not a file" in face(*always, str(folder / "c.sh")).err
    assert face(*always, "--cwd", str(folder), "c.sh").out == "1\n"
    log = (folder / "1.cobaltlog").read_text().splitlines()
    assert log[:2] == ["Jobid: 1", f"qsub -n 1 -t 5 --cwd {folder} c.sh"]
    assert STAMP.sub("", log[2]) == f" submitted with cwd set to: {folder}"


def test_the_columns_are_those_on_record(face: Face, monkeypatch: pytest.MonkeyPatch) -> None:
    face.submit("sleep 60", "-n", "2", "--jobname", "harv.w1")
    face.submit("sleep 60", "-n", "8")
    check_kinds(face("qstat").out, DEFAULT)
    check_kinds(face("qstat", "-f").out, FULL)
    _, rows = cut(face("qstat", "--header", "JobID:JobName:State:Location:Nodes:Nonsense").out)
    assert rows == [["1", "harv.w1", "running", "vn[001-002]", "2", "-"], ["2", "-", "queued", "None", "8", "-"]]
    assert cut(face("qstat", "-Q").out)[0] == cut(recorded("cobalt", "qstat_Q").out)[0]
    monkeypatch.setenv("QSTAT_HEADER", "User:State")
    assert cut(face("qstat").out) == (["User", "State"], [[ME, "running"], [ME, "queued"]])
    assert cut(face("qstat", "--header", "JobID").out) == (["JobID"], [["1"], ["2"]])


def test_an_empty_queue_has_a_heading_and_what_is_not_there_has_nothing(face: Face) -> None:
    assert face("qstat").out == table(DEFAULT, [])
    assert face(*command_of("cobalt", "qstat_unknown")) == recorded("cobalt", "qstat_unknown")
    assert face(*command_of("cobalt", "qstat_badarg")) == recorded("cobalt", "qstat_badarg")
    assert face(*command_of("cobalt", "qdel_unknown")) == recorded("cobalt", "qdel_unknown")


def test_nodes_and_reservations_are_told_as_on_record(face: Face) -> None:
    face.submit("sleep 60", "-n", "2")
    face.cluster.node_down("vn008")
    told = face("nodelist").out
    check_kinds(told, ["Host", "Queue", "State", "Backfill"])
    assert [row[2] for row in cut(told)[1]] == [*["allocated"] * 2, *["idle"] * 5, "down"]
    assert cut(told)[1][0][1] == "debug:default"
    assert {row[3] for row in cut(told)[1]} == {"-"}
    face.submit("true", "-n", "7")
    told = face("nodelist").out
    check_kinds(told, ["Host", "Queue", "State", "Backfill"])
    assert [row[3] for row in cut(told)[1]] == ["-", "-", *["00:00:00"] * 5, "-"]
    for name in ("showres", "showres_p"):
        assert face(*command_of("cobalt", name)) == recorded("cobalt", name)
    for name in ("showres_l", "showres_x"):
        assert cut(face(*command_of("cobalt", name)).out)[0] == cut(recorded("cobalt", name).out)[0]


def test_who_ends_vanishes_and_its_log_has_the_line_on_record(face: Face) -> None:
    log = face.ended(face.submit("exit 3"))
    real = "Sat Nov 21 00:21:06 2026 +0000 (UTC) Info: task completed normally with an exit code of 3; initiating job cleanup and removal"  # noqa: E501 - on record
    assert STAMP.sub("", log.splitlines()[-1]) == STAMP.sub("", real)
    assert STAMP.match(log.splitlines()[-1])
    assert face("qstat", "1") == recorded("cobalt", "qstat_after")
    assert face.ended("1") == log


def test_who_is_deleted_says_by_whom(face: Face) -> None:
    first, second = face.submit("sleep 60", "-n", "8"), face.submit("true")
    deleted, real = face("qdel", first, second).out, recorded("cobalt", "qdel_running").out
    assert deleted == real.replace("2  ", "1  ").replace("5  ", "2  ").replace("root", ME)
    assert STAMP.sub("", face.ended(first).splitlines()[-1]) == (
        f" Info: user delete requested with signal SIGTERM by user {ME}"
    )
    assert face.ended(second).endswith("Info: user delete requested; removing job from the queue\n")


def test_who_is_being_deleted_is_killing(face: Face) -> None:
    number = face.submit("trap '' TERM; sleep 60")
    face.cluster.wait(int(number), states={"RUNNING"})
    cobalt_log.write(f"{face.folder}/$jobid.cobaltlog", int(number), f"Info: {cobalt_log.DELETION}", 0.0)
    assert cut(face("qstat", "--header", "JobID:State:S").out)[1] == [[number, "killing", "-"]]


def test_the_other_ends_are_told_too(face: Face) -> None:
    preempted, lost = (face.submit("sleep 60") for _ in range(2))
    for number in (preempted, lost):
        face.cluster.wait(int(number), states={"RUNNING"})
    face.cluster.preempt(int(preempted), "cancel")
    (job,) = face.cluster.status([int(lost)])
    face.cluster.node_down(job["nodes"][0])
    assert "user delete requested with signal SIGTERM by user root" in face.ended(preempted)
    assert "task completed normally with an exit code of 137;" in face.ended(lost)


def test_a_user_has_so_many_batch_jobs_and_no_more(face: Face) -> None:
    for _ in range(9):
        face.submit("sleep 60", "-n", "8")
    refused = face("qsub", "-n", "1", "-t", "5", face.script("true"))
    assert refused.exit_code == 1
    assert "The limit of 9 jobs per user in the 'default' queue has been reached" in refused.err


def test_a_batch_job_has_of_the_environment_what_cobalt_gives(face: Face, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")
    told = 'echo "$COBALT_JOBID $COBALT_PARTSIZE $COBALT_PARTNAME $SECRET$A$B" >told; cat "$COBALT_NODEFILE" >>told'
    face.ended(face.submit(told, "-n", "2", "--env", "A=1:B=2"))
    assert (face.folder / "told").read_text() == "1 2 vn001,vn002 12\nvn001\nvn002\n"


def test_while_it_is_down_it_says_what_is_on_record(face: Face) -> None:
    face.cluster.kill_daemon()
    asked = face("qstat")
    assert (asked.exit_code, asked.out) == (1, "")
    assert asked.err == recorded("cobalt", "cqm_down_qstat").out.partition("\nreal")[0]
    submitted = face("qsub", "-n", "1", "-t", "5", face.script("true"))
    assert (submitted.exit_code, submitted.out) == (1, "")
    assert submitted.err.strip() == recorded("cobalt", "cqm_down_qsub").out.partition("\nreal")[0].strip()
    assert face("qdel", "1").exit_code == face("nodelist").exit_code == 1
    face.cluster.start()
