"""PBS's answers, as a real OpenPBS 23.06 gave them, what it says in words that could not be provoked, and Torque's."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from hpcharvest.errors import (
    BatchError,
    BatchFull,
    BatchUnreachable,
    ConfigurationError,
    SubmissionRefused,
    SubmissionUnknown,
)
from hpcharvest.model.shape import NodeShape, Shape
from hpcharvest.model.states import BatchState
from hpcharvest.providers.dialect import BatchRequest, Spoken
from hpcharvest.providers.pbs import VARIANTS, VOCABULARY, PbsDialect
from hpcharvest.providers.registry import dialect
from hpcharvest.providers.script import render
from tests.services.pbs import HEAD, in_json, job
from tests.services.recordings import recorded
from tests.services.sites import site

GOLDEN = Path(__file__).parent.parent / "golden"
NODE = NodeShape(cores=64, gpus=4)
DIALECTS = {name: PbsDialect(variant, NODE) for name, variant in VARIANTS.items()}
PBS, TORQUE = DIALECTS["pbs"], DIALECTS["torque"]
REQUEST = BatchRequest(
    tag="me-1-abc",
    shape=Shape(nodes=3, walltime_s=90_061, partition="prod"),
    folder=Path("/work/it's 100%"),
    account="physics",
    options=(":system=polaris", "-l filesystems=home:eagle", "-l place=scatter:excl"),
    signal_before_end_s=60,
)

REQUESTS = {"pbs": REQUEST, "torque": replace(REQUEST, options=(":bigmem", "-l naccesspolicy=singlejob"))}


@pytest.mark.parametrize("name", VARIANTS)
def test_the_script_is_as_expected(name: str) -> None:
    runner = ["/usr/bin/python3", "-m", "hpcharvest.jumbo", "/f"]
    assert render(DIALECTS[name], REQUESTS[name], runner) == (GOLDEN / f"{name}_script.sh").read_text()


def test_what_is_not_chosen_is_not_asked_for() -> None:
    plain = BatchRequest(tag="t", shape=Shape(nodes=1, walltime_s=59), folder=Path("/f"))
    assert PbsDialect(VARIANTS["pbs"], NodeShape(cores=8)).directives(plain) == [
        "#PBS -N t",
        "#PBS -S /bin/bash",
        "#PBS -l select=1:ncpus=8",
        "#PBS -l place=scatter",
        "#PBS -l walltime=00:00:59",
        "#PBS -r n",
        "#PBS -m n",
        "HPCHARVEST_STARTS=/f/start",
    ]
    assert "#PBS -l nodes=1:ppn=8" in PbsDialect(VARIANTS["torque"], NodeShape(cores=8)).directives(plain)


def test_the_operator_says_what_a_node_must_have_and_is_believed() -> None:
    request = replace(REQUEST, options=(":ncpus=128:ngpus=8", ":mpiprocs=8"), account='"', qos="a b")
    lines = PBS.directives(request)
    assert "#PBS -l select=3:ncpus=128:ngpus=8:mpiprocs=8" in lines
    assert {"#PBS -l place=scatter", "#PBS -A '\"'", '#PBS -l qos="a b"'} <= set(lines)


def test_the_files_are_named_where_names_need_no_quotes() -> None:
    folder = "/work/it's 100%"
    assert PBS.submit_argv(REQUEST) == [
        *("qsub", "-o", f"{folder}/stdout", "-e", f"{folder}/stderr", f"{folder}/script.sh")
    ]


def test_the_shell_finds_nodes_and_counts_starts(tmp_path: Path) -> None:
    bash, folder = shutil.which("bash"), tmp_path / "it's 100%"
    assert bash is not None
    folder.mkdir()
    (tmp_path / "nodes").write_text("n2\nn2\nn10\nn2\nn1\n")
    request = replace(REQUEST, folder=folder)
    request.script.write_text(render(PBS, request, ["sh", "-c", 'echo "$HPCHARVEST_NODES $HPCHARVEST_RESTART $0"']))
    environment = {"PATH": "/usr/bin:/bin", "PBS_NODEFILE": str(tmp_path / "nodes")}

    def start(batch_id: str) -> str:
        told = environment | {"PBS_JOBID": batch_id}
        argv = [bash, str(request.script)]
        return subprocess.run(argv, env=told, capture_output=True, text=True, check=True).stdout

    assert [start("1.vm") for _ in range(3)] == [f"n2,n10,n1 {count} sh\n" for count in range(3)]
    # The same allocation, submitted twice: that is another first start, and one of the two has to give way.
    assert start("2.vm") == "n2,n10,n1 0 sh\n"


def test_who_cannot_count_starts_does_not_hang(tmp_path: Path) -> None:
    bash = shutil.which("bash")
    assert bash is not None
    text = f'HPCHARVEST_STARTS={tmp_path}/nowhere/start\necho "{PBS.environment.restart}"'
    done = subprocess.run([bash, "-c", text], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "0\n"


@pytest.mark.parametrize(
    ("out", "batch_id"),
    [
        ("123.vm\n", "123.vm"),
        ("Welcome to 2026\n7.pbs-01.example.org\n", "7.pbs-01.example.org"),
        ("12\n", "12"),
        (recorded("pbs", "qsub_toobig").out, "3.vm"),
    ],
)
def test_the_batch_id_is_found(out: str, batch_id: str) -> None:
    assert PBS.read_submitted(Spoken(exit_code=0, out=out)) == batch_id


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("qsub_badqueue", 170, "Unknown queue"),
        ("qsub_toolong", 188, "violates queue"),
        ("qsub_badopt", 2, "invalid option"),
        ("qsub_noscript", 1, "No such file"),
        ("hold_qsub_I", 1, "must be a terminal"),
    ],
)
def test_a_no_is_a_no(name: str, code: int, words: str) -> None:
    spoken = recorded("pbs", name)
    assert spoken.exit_code == code
    with pytest.raises(SubmissionRefused, match=words):
        PBS.read_submitted(spoken)


def test_who_was_not_reached_has_no_batch_job() -> None:
    assert recorded("pbs", "srvdown_qsub").exit_code == 162
    with pytest.raises(BatchUnreachable, match="cannot connect to server vm"):
        PBS.read_submitted(recorded("pbs", "srvdown_qsub"))


@pytest.mark.parametrize(
    ("err", "error"),
    [
        ("would exceed queue generic's per-user limit of jobs in 'Q' state", BatchFull),
        ("would exceed complex's per-group limit", BatchFull),
        ("would exceed per-user limit on resource ncpus in queue prod", BatchFull),
        ("Maximum number of jobs for user me already in queue prod", BatchFull),
        ("Queue is not enabled", BatchFull),
        ("submit error (Maximum number of jobs already in queue for user MSG=total number)", BatchFull),
        ("Request not allowed: Server shutting down", BatchUnreachable),
        ("cannot connect to server vm (errno=110) Connection timed out", BatchUnreachable),
        ("Invalid credential", BatchUnreachable),
        ("Communication failure.", SubmissionUnknown),
        ("Premature end of message", SubmissionUnknown),
        ("Batch protocol error", SubmissionUnknown),
        ("Invalid Account", SubmissionRefused),
        ("cannot send environment with the job", SubmissionRefused),
        ("Unknown resource: filesystems", SubmissionRefused),
        ("", SubmissionRefused),
    ],
)
def test_every_failure_to_submit_has_its_own_name(err: str, error: type[BatchError]) -> None:
    for speaks in DIALECTS.values():
        with pytest.raises(error, match=re.escape(err) or "without a word"):
            speaks.read_submitted(Spoken(exit_code=38, out="", err=f"qsub: {err}" if err else ""))


@pytest.mark.parametrize("spoken", [Spoken(exit_code=0, out="Submitted\n"), Spoken(exit_code=-9, out="")])
def test_what_may_have_been_submitted_is_looked_for(spoken: Spoken) -> None:
    with pytest.raises(SubmissionUnknown):
        PBS.read_submitted(spoken)


@pytest.mark.parametrize("letter", [*VOCABULARY.words, "M", "X", "?", ""])
def test_a_letter_of_the_living_is_never_an_end(letter: str) -> None:
    (said,) = PBS.read_status(in_json(job(Job_Name='"t"', job_state=f'"{letter}"', Exit_status="0"))).values()
    assert said.state is VOCABULARY.translate(letter)
    assert (said.state.ended, said.tag, said.words) == (False, "t", letter)


MIXED = {
    "3.vm": (BatchState.PENDING, "harv.w1"),
    "4.vm": (BatchState.RUNNING, "R1"),
    "5.vm": (BatchState.PENDING, "D1"),
    "6.vm": (BatchState.PENDING, "H1"),
    "7.vm": (BatchState.PENDING, "W1"),
    "8.vm": (BatchState.PENDING, "BIG"),
    "10[].vm": (BatchState.RUNNING, "ARR"),
    "11.vm": (BatchState.PENDING, "BF"),
    "12.vm": (BatchState.PENDING, "LONG"),
}


def test_a_queue_of_all_sorts_is_understood() -> None:
    said = PBS.read_status(recorded("pbs", "qstat_mixed_json"))
    assert {number: (one.state, one.tag) for number, one in said.items()} == MIXED
    assert said["3.vm"].words == ("Q Can Never Run: Not enough total nodes available (as it is, it will never run)")
    assert said["8.vm"].words == "Q Not Running: Not enough free nodes available"


def test_who_is_suspended_or_started_again_is_alive() -> None:
    low, high = PBS.read_status(recorded("pbs", "preempt_json")).values()
    assert (low.state, low.tag, low.words[:2], high.state) == (BatchState.RUNNING, "low", "S ", BatchState.RUNNING)
    (again,) = PBS.read_status(recorded("pbs", "qstat_nodefail_json")).values()
    assert again.state is BatchState.RUNNING


@pytest.mark.parametrize(
    ("name", "state", "words"),
    [
        ("qstat_xf_finished_json", BatchState.FAILED, "F exit status 3 Job run at "),
        ("qstat_walltime_json", BatchState.TIMED_OUT, "F exit status -29 Job run at "),
        # Its script traps TERM and ends with 0.
        ("qstat_xf_deleted_json", BatchState.CANCELLED, "F exit status 0 Job run at "),
    ],
)
def test_an_end_on_record_is_told(name: str, state: BatchState, words: str) -> None:
    (said,) = PBS.read_status(recorded("pbs", name)).values()
    assert said.state is state
    assert said.words.startswith(words)


@pytest.mark.parametrize(("name", "code", "tag"), [("qstat_xf_finished", 3, "harv.w1"), ("qstat_F", 7, "F1")])
def test_the_history_tells_how_it_ended(name: str, code: int, tag: str) -> None:
    (said,) = PBS.read_accounting(recorded("pbs", name)).values()
    assert (said.state, said.tag) == (BatchState.FAILED, tag)
    assert said.words.startswith(f"F exit status {code} Job run at ")
    assert said.words.endswith(" and failed")


@pytest.mark.parametrize(
    "comment", ["Can Never Run: Not enough total nodes", "job held, too many failed attempts to run"]
)
def test_who_waits_in_vain_is_told(comment: str) -> None:
    (said,) = PBS.read_status(in_json(job(job_state='"H"', comment=f'"{comment}"'))).values()
    assert said.words == f"H {comment} (as it is, it will never run)"


def test_no_batch_job_at_all_is_an_answer() -> None:
    assert PBS.read_status(recorded("pbs", "qstat_empty_json")) == {}
    assert TORQUE.read_status(Spoken(exit_code=0, out="")) == {}


def test_a_server_that_is_away_says_nothing_about_any_job() -> None:
    assert recorded("pbs", "srvdown_qstat").out.startswith("{")
    with pytest.raises(BatchUnreachable, match="cannot connect to server vm"):
        PBS.read_status(recorded("pbs", "srvdown_qstat"))
    with pytest.raises(BatchUnreachable, match="cannot connect"):
        PBS.read_accounting(recorded("pbs", "srvdown_qstat"))


@pytest.mark.parametrize(
    "spoken",
    [
        Spoken(exit_code=0, out=""),
        Spoken(exit_code=0, out="Please use the other login node\n"),
        Spoken(exit_code=0, out="[]"),
        Spoken(exit_code=0, out='{"pbs_server": "vm", "Jobs": []}'),
        Spoken(exit_code=0, out=f"{HEAD}\n}}", err="qstat: something odd"),
        Spoken(exit_code=0, out=HEAD),
        replace(in_json(job(job_state='"R"')), exit_code=1),
    ],
)
def test_an_answer_without_sense_says_nothing_about_any_job(spoken: Spoken) -> None:
    with pytest.raises(BatchUnreachable):
        PBS.read_status(spoken)


def test_who_left_is_asked_for_by_id_in_the_form_that_tells_of_all() -> None:
    gone = {"1.vm": None, "2.vm": Path("/f")}
    assert PBS.accounting_argv(gone) == ["qstat", "-x", "-f", "1.vm", "2.vm"]
    assert TORQUE.accounting_argv(gone) == ()
    assert PBS.status_argv() == ("qstat", "-f", "-F", "json")
    assert TORQUE.status_argv() == ("qstat", "-f")


def test_history_that_does_not_know_one_tells_of_the_others() -> None:
    others = recorded("pbs", "qstat_xf_finished").out + recorded("pbs", "qstat_F").out
    said = PBS.read_accounting(replace(recorded("pbs", "qstat_unknown"), out=others))
    assert {number: one.state for number, one in said.items()} == {
        "0.vm": BatchState.FAILED,
        "9.vm": BatchState.FAILED,
    }


@pytest.mark.parametrize("name", ["qstat_unknown", "qstat_finished_known_noX", "qstat_dep_after_fail"])
def test_history_that_knows_nobody_says_nothing(name: str) -> None:
    assert recorded("pbs", name).exit_code in {35, 153}
    assert PBS.read_accounting(recorded("pbs", name)) == {}


def test_history_that_is_not_kept_says_nothing() -> None:
    err = "qstat: PBS is not configured to maintain job history\n"
    assert PBS.read_accounting(Spoken(exit_code=2, out="", err=err)) == {}


@pytest.mark.parametrize("name", VARIANTS)
def test_the_registry_has_it_and_wants_no_command(name: str) -> None:
    assert isinstance(dialect(site(name)), PbsDialect)
    with pytest.raises(ConfigurationError, match=r"batch\.command"):
        dialect(site(name, command=("qsub",)))


def test_the_cores_and_accelerators_are_those_of_the_site() -> None:
    assert "#PBS -l select=3:ncpus=64:system=polaris" in dialect(site("pbs", cores=64)).directives(REQUEST)
