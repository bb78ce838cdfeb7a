"""LSF's answers, as its documentation has them: no real one was there to be recorded."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
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
from hpcharvest.model.shape import Shape
from hpcharvest.model.states import BatchState
from hpcharvest.providers.dialect import BatchRequest, Spoken
from hpcharvest.providers.lsf import REASONS, VOCABULARY, LsfDialect
from hpcharvest.providers.registry import dialect
from hpcharvest.providers.script import render
from tests.services.sites import site

HERE = Path(__file__).parent.parent
GOLDEN = HERE / "golden" / "lsf_script.sh"
LSF = LsfDialect()
REQUEST = BatchRequest(
    tag="me-1-abc",
    shape=Shape(nodes=2, walltime_s=90_061, partition="batch"),
    folder=Path("/work/it's 100%"),
    account="physics",
    options=("-alloc_flags 'smt4 gpumps'", "-csm y"),
    signal_before_end_s=61,
)


def row(*fields: str) -> str:
    return "^".join(fields) + "\n"


def told(*rows: str) -> Spoken:
    return Spoken(exit_code=0, out="".join(rows))


def test_the_script_is_as_expected() -> None:
    assert render(LSF, REQUEST, ["/usr/bin/python3", "-m", "hpcharvest.jumbo", "/f"]) == GOLDEN.read_text()


def test_all_that_is_asked_stands_on_the_command_line() -> None:
    assert LSF.submit_argv(REQUEST) == [
        *("bsub", "-rn", "-J", "me-1-abc", "-W", "25:02", "-cwd", "/work/it's 100%"),
        *("-o", "/work/it's 100%/stdout", "-e", "/work/it's 100%/stderr"),
        *("-nnodes", "2", "-q", "batch", "-P", "physics"),
        *("-wa", "USR1", "-wt", "2", "-alloc_flags", "smt4 gpumps", "-csm", "y"),
        "'/work/it'\"'\"'s 100%/script.sh'",
    ]


def test_what_is_not_chosen_is_not_asked_for() -> None:
    plain = LSF.submit_argv(BatchRequest(tag="t", shape=Shape(nodes=1, walltime_s=59), folder=Path("/f")))
    assert plain[plain.index("-W") + 1] == "00:01"
    assert not {"-q", "-P", "-wa", "-wt"} & set(plain)


def test_who_asks_for_slots_does_not_ask_for_nodes() -> None:
    plain = BatchRequest(tag="t", shape=Shape(nodes=2, walltime_s=60), folder=Path("/f"), options=("-n 84", "-x"))
    argv = LSF.submit_argv(plain)
    assert "-nnodes" not in argv
    assert argv[-4:-1] == ["-n", "84", "-x"]


def test_options_that_are_no_words_are_refused() -> None:
    broken = BatchRequest(tag="t", shape=Shape(nodes=1, walltime_s=60), folder=Path("/f"), options=("-R 'span",))
    with pytest.raises(SubmissionRefused, match="-R 'span"):
        LSF.submit_argv(broken)


@pytest.mark.parametrize(
    ("slots", "nodes"),
    [
        (["batch3", "h36n03", "h36n03", "h36n04", "h36n04"], "h36n03,h36n04"),
        (["lassen710", "lassen12", "lassen12"], "lassen12"),
        (["a", "a", "b", "b"], "a,b"),
        (["a", "b"], "a,b"),
        (["a"], "a"),
    ],
)
def test_the_batch_job_knows_its_nodes_without_the_one_that_starts_it(
    slots: list[str], nodes: str, tmp_path: Path
) -> None:
    bash = shutil.which("bash")
    assert bash is not None
    plain = BatchRequest(tag="t", shape=Shape(nodes=2, walltime_s=60), folder=tmp_path)
    (tmp_path / "hosts").write_text("".join(f"{slot}\n" for slot in slots))
    answer = 'echo "$HPCHARVEST_NODES $HPCHARVEST_BATCH_ID $HPCHARVEST_RESTART $HPCHARVEST_DEADLINE"'
    plain.script.write_text(render(LSF, plain, ["sh", "-c", answer]))
    for again in ("N", "Y"):
        variables = {"LSB_JOBID": "7", "LSB_DJOB_HOSTFILE": "hosts", "LSB_RESTART": again}
        environment = {"PATH": os.defpath, **variables}
        done = subprocess.run([bash, plain.script], cwd=tmp_path, env=environment, capture_output=True, check=True)
        assert re.fullmatch(rf"{nodes} 7 {int(again == 'Y')} [0-9]{{10}}\n", done.stdout.decode())


@pytest.mark.parametrize(
    "out", ["Job <123> is submitted to queue <batch>.\n", "Hello.\nJob <123> is submitted to default queue <normal>.\n"]
)
def test_the_batch_id_is_found(out: str) -> None:
    assert LSF.read_submitted(Spoken(exit_code=0, out=out)) == "123"


@pytest.mark.parametrize(
    ("code", "err", "error"),
    [
        (255, "nosuch: No such queue. Job not submitted.", SubmissionRefused),
        (255, "RUNLIMIT: Cannot exceed queue's hard limit(s). Job not submitted.", SubmissionRefused),
        (255, "Request aborted by esub. Job not submitted.", SubmissionRefused),
        (255, "", SubmissionRefused),
        (255, "Pending job threshold reached. Retrying in 60 seconds...", BatchFull),
        (255, "Too many pending jobs. Job not submitted.", BatchFull),
        (255, "LSF is down. Please wait ...", BatchUnreachable),
        (255, "Cannot connect to LSF. Please wait ...", BatchUnreachable),
        (255, "batch system daemon not responding ... still trying", BatchUnreachable),
        (255, "Failed in an LSF library call: LIM is down; try later", BatchUnreachable),
        (0, "", SubmissionUnknown),
        (-9, "LSF is down. Please wait ...", SubmissionUnknown),
    ],
)
def test_every_failure_to_submit_has_its_own_name(code: int, err: str, error: type[BatchError]) -> None:
    with pytest.raises(error, match=re.escape(err) or "without a word"):
        LSF.read_submitted(Spoken(exit_code=code, out="", err=err))


def test_every_word_is_translated() -> None:
    for word, state in VOCABULARY.words.items():
        (said,) = LSF.read_status(told(row("7", word, "-", "-", "tag", "-"))).values()
        assert (said.state, said.words, said.tag) == (state, word, "tag")


def test_every_reason_is_translated() -> None:
    for reason, state in REASONS.items():
        why = f"{reason}: job killed for some reason"
        (said,) = LSF.read_status(told(row("7", "EXIT", "140", why, "tag", "-"))).values()
        assert (said.state, said.words) == (state, f"EXIT {why} exit code 140")
        assert said.state.ended != reason.startswith("TERM_REQUEUE")
        (said,) = LSF.read_status(told(row("7", "PEND", "140", why, "tag", "-"))).values()
        assert said.state is BatchState.PENDING


@pytest.mark.parametrize(
    ("fields", "state", "words"),
    [
        (("EXIT", "3", "-", "tag", "-"), BatchState.FAILED, "EXIT exit code 3"),
        (("EXIT", "3", "TERM_NEW: who knows", "tag", "-"), BatchState.FAILED, "EXIT TERM_NEW: who knows exit code 3"),
        (("UNKWN", "-", "-", "tag", "-"), BatchState.RUNNING, "UNKWN"),
        (("ZOMBI", "-", "-", "tag", "-"), BatchState.RUNNING, "ZOMBI"),
        (("PEND", "-", "-", "tag", "New job; a^b"), BatchState.PENDING, "PEND New job; a^b"),
        (("BLINK", "-", "-", "tag", "-"), BatchState.UNKNOWN, "BLINK"),
    ],
)
def test_a_row_means(fields: tuple[str, ...], state: BatchState, words: str) -> None:
    said = LSF.read_status(told(row("10", "RUN", "-", "-", "other", "-"), row("9", *fields)))
    assert list(said) == ["9", "10"]
    assert (said["9"].state, said["9"].words, said["9"].tag) == (state, words, "tag")
    assert said["10"].state is BatchState.RUNNING


@pytest.mark.parametrize("words", ["No job found", "No unfinished job found", "No matching job found"])
@pytest.mark.parametrize("code", [0, 255])
def test_no_batch_job_at_all_is_an_answer(words: str, code: int) -> None:
    assert LSF.read_status(Spoken(exit_code=code, out="", err=f"{words}\n")) == {}


@pytest.mark.parametrize(
    "spoken",
    [
        Spoken(exit_code=0, out=""),
        Spoken(exit_code=255, out="", err="LSF is down. Please wait ..."),
        Spoken(exit_code=255, out="", err="LSF is down. Please wait ...\nNo job found"),
        Spoken(exit_code=255, out=row("7", "DONE", "-", "-", "tag", "-")),
        Spoken(exit_code=0, out="Please use the other login node\n"),
    ],
)
def test_an_answer_without_rows_says_nothing_about_any_job(spoken: Spoken) -> None:
    with pytest.raises(BatchUnreachable):
        LSF.read_status(spoken)


def test_nothing_is_asked_of_those_that_left() -> None:
    assert LSF.accounting_argv({"7": Path("/f")}) == ()
    assert LSF.read_accounting(Spoken(exit_code=0, out="")) == {}


def test_the_registry_has_it_and_wants_neither_command_nor_qos() -> None:
    assert isinstance(dialect(site("lsf")), LsfDialect)
    with pytest.raises(ConfigurationError, match=r"batch\.command"):
        dialect(site("lsf", command=("bsub",)))
    with pytest.raises(ConfigurationError, match=r"batch\.qos"):
        dialect(site("lsf", qos="high"))
