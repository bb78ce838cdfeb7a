"""Cobalt's answers, as a real 1.0.33 gave them, and what it says in words that could not be provoked."""

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
from hpcharvest.providers.cobalt import VOCABULARY, CobaltDialect
from hpcharvest.providers.dialect import BatchRequest, Spoken
from hpcharvest.providers.registry import dialect
from hpcharvest.providers.script import render
from tests.services.recordings import recorded
from tests.services.sites import site

HERE = Path(__file__).parent.parent
GOLDEN = HERE / "golden" / "cobalt_script.sh"
COBALT = CobaltDialect()
REQUEST = BatchRequest(
    tag="me-1-abc",
    shape=Shape(nodes=2, walltime_s=90_061, partition="default"),
    folder=Path("/work/it's 100%"),
    account="physics",
    options=("--attrs mcdram=cache:numa=quad", "-M me@example.org"),
    signal_before_end_s=60,
)

DATE = "Sat Nov 21 00:21:06 2026 +0000 (UTC)"
DONE = f"{DATE} Info: task completed normally with an exit code of 0; initiating job cleanup and removal"
EXIT_3 = f"{DATE} Info: task completed normally with an exit code of 3; initiating job cleanup and removal"
DELETED = f"{DATE} Info: user delete requested with signal SIGTERM by user root"
OVER = f"{DATE} Info: maximum execution time exceeded; initiating job terminiation"
PREEMPTED = f"{DATE} Info: job successfully preempted"


def queue(*rows: tuple[str, str, str, str]) -> Spoken:
    """Give what qstat says with our columns."""
    lines = ["".join(cell.ljust(24) for cell in row) for row in (("JobID", "State", "JobName", "Location"), *rows)]
    return Spoken(exit_code=0, out="\n".join([lines[0], "=" * 96, *lines[1:], ""]))


def logs(**texts: str) -> Spoken:
    """Give what tail says of logs, by the numbers behind an `n`."""
    out = "\n".join(f"==> /a folder/{number[1:]}.cobaltlog <==\n{text}\n" for number, text in texts.items())
    return Spoken(exit_code=0, out=out)


def test_the_script_is_as_expected() -> None:
    assert render(COBALT, REQUEST, ["/usr/bin/python3", "-m", "hpcharvest.jumbo", "/f"]) == GOLDEN.read_text()


def test_all_that_is_asked_stands_on_the_command_line() -> None:
    assert COBALT.submit_argv(REQUEST) == [
        *("qsub", "--mode", "script", "-n", "2", "-t", "1502", "--jobname", "me-1-abc", "--cwd", "/work/it's 100%"),
        *("-o", "/work/it's 100%/stdout", "-e", "/work/it's 100%/stderr"),
        *("--debuglog", "/work/it's 100%/$jobid.cobaltlog", "-q", "default", "-A", "physics"),
        "script.sh",
    ]


def test_what_is_not_chosen_is_not_asked_for() -> None:
    plain = COBALT.submit_argv(BatchRequest(tag="t", shape=Shape(nodes=1, walltime_s=59), folder=Path("/f")))
    assert plain[5:7] == ["-t", "1"]
    assert not {"-q", "-A"} & set(plain)


def test_the_batch_job_knows_its_nodes_once_each_its_deadline_and_how_often_it_began(tmp_path: Path) -> None:
    bash = shutil.which("bash")
    assert bash is not None
    plain = BatchRequest(tag="t", shape=Shape(nodes=2, walltime_s=60), folder=tmp_path)
    (tmp_path / "nodes").write_text("c02\nc01\nc02\nc01\n")
    (tmp_path / "7.cobaltlog").write_text(f"{PREEMPTED}\n{DATE} Info: something\n{PREEMPTED}\n")
    told = 'echo "$HPCHARVEST_NODES $HPCHARVEST_BATCH_ID $HPCHARVEST_RESTART $HPCHARVEST_DEADLINE"'
    plain.script.write_text(render(COBALT, plain, ["sh", "-c", told]))
    variables = {"COBALT_JOBID": "7", "COBALT_NODEFILE": "nodes", "COBALT_ENDTIME": "1795221720.5"}
    environment = {"PATH": os.defpath, **variables}
    done = subprocess.run([bash, plain.script], cwd=tmp_path, env=environment, capture_output=True, check=True)
    assert done.stdout.decode() == "c02,c01 7 2 1795221720\n"
    (tmp_path / "7.cobaltlog").unlink()
    del environment["COBALT_ENDTIME"]
    done = subprocess.run([bash, plain.script], cwd=tmp_path, env=environment, capture_output=True, check=True)
    assert re.fullmatch(r"c02,c01 7 0 [0-9]{10}\n", done.stdout.decode())


@pytest.mark.parametrize(("name", "number"), [("qsub_ok", "1"), ("qsub_script_opts", "2"), ("qsub_hold", "3")])
def test_the_batch_id_is_found_in_a_real_answer(name: str, number: str) -> None:
    assert COBALT.read_submitted(recorded("cobalt", name)) == number


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("qsub_badqueue", "non-existent queue 'nosuch'"),
        ("qsub_noargs", "No executable or script specified"),
        ("qsub_noexec", "command /nonexistent not found"),
        ("qsub_notime", "'time' not provided"),
        ("qsub_shorttime", "Walltime less than minimum"),
        ("qsub_toolong", "Walltime greater than the 'debug' queue max walltime"),
        ("qsub_toomany", "node count out of realistic range"),
    ],
)
def test_a_no_is_a_no_in_its_own_words(name: str, words: str) -> None:
    with pytest.raises(SubmissionRefused, match=words) as caught:
        COBALT.read_submitted(recorded("cobalt", name))
    assert "No handlers" not in str(caught.value)


@pytest.mark.parametrize("name", ["cqm_down_qsub", "cqm_down_qstat", "noconf"])
def test_who_was_not_reached_has_no_batch_job_and_says_nothing_of_others(name: str) -> None:
    words = recorded("cobalt", name).out.partition("\nreal")[0]
    spoken = Spoken(exit_code=1, out="", err=words)
    with pytest.raises(BatchUnreachable, match=r"queue-manager|No section cqm"):
        COBALT.read_submitted(spoken)
    with pytest.raises(BatchUnreachable, match=r"queue-manager|No section cqm"):
        COBALT.read_status(spoken)


@pytest.mark.parametrize(
    ("spoken", "error"),
    [
        (
            Spoken(
                exit_code=1,
                out="",
                err="<Fault 1001: \"The limit of 20 jobs per user in the 'default' queue has been reached\\n\">",
            ),
            BatchFull,
        ),
        (
            Spoken(
                exit_code=1,
                out="",
                err="component error: Following exception occurred while trying to execute queue-manager.add_jobs: "
                "timed out",
            ),
            SubmissionUnknown,
        ),
        (Spoken(exit_code=-9, out=""), SubmissionUnknown),
        (Spoken(exit_code=0, out="", err="submitting walltime=5 minutes"), SubmissionUnknown),
        (Spoken(exit_code=1, out=""), SubmissionRefused),
    ],
)
def test_every_failure_to_submit_has_its_own_name(spoken: Spoken, error: type[BatchError]) -> None:
    with pytest.raises(error):
        COBALT.read_submitted(spoken)


def test_every_word_is_translated_and_none_is_an_end() -> None:
    for word, state in VOCABULARY.words.items():
        (said,) = COBALT.read_status(queue(("7", word, "tag", "None"))).values()
        assert (said.state, said.tag, said.words.partition(" ")[0]) == (state, "tag", word)
        assert not state.ended


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("user_hold", BatchState.PENDING),
        ("maxrun_hold", BatchState.PENDING),
        ("preempted", BatchState.PENDING),
        ("killing", BatchState.RUNNING),
        ("done", BatchState.RUNNING),
        ("teleporting", BatchState.UNKNOWN),
        ("", BatchState.UNKNOWN),
    ],
)
def test_a_word_means(word: str, state: BatchState) -> None:
    said = COBALT.read_status(queue(("7", word, "tag", "None"), ("10", "running", "other", "c[02-07],c09")))
    assert said["7"].state is state
    assert (said["10"].state, said["10"].words) == (BatchState.RUNNING, "running on c[02-07],c09")


def test_who_waits_in_vain_is_told() -> None:
    (said,) = COBALT.read_status(queue(("7", "dep_fail", "tag", "None"))).values()
    assert said.words == "dep_fail (as it is, it will never run)"


def test_the_newest_comes_last_and_the_names_of_others_do_no_harm() -> None:
    said = COBALT.read_status(queue((" 9", "queued", "tag", "None"), ("11", "running", "a  b, é", "c01"), ("10",) * 4))
    assert list(said) == ["9", "10", "11"]
    assert said["11"].tag == "a  b, é"


def test_an_empty_queue_has_a_heading() -> None:
    assert COBALT.read_status(queue()) == {}


@pytest.mark.parametrize("name", ["qstat", "qstat2", "qstat_killing", "qstat_Q", "qstat_unknown", "qstat_badarg"])
def test_an_answer_with_other_columns_or_none_says_nothing_about_any_job(name: str) -> None:
    with pytest.raises(BatchUnreachable):
        COBALT.read_status(recorded("cobalt", name))


def test_the_columns_of_a_real_answer_are_where_we_read_them() -> None:
    """The columns that we ask for, cut out of an answer on record that has more."""
    lines = recorded("cobalt", "qstat_f").out.splitlines()
    heads = re.findall(r"\S+", lines[0])
    starts = [lines[0].index(f"{head}  ") for head in heads]
    cuts = [(start, [*starts, len(lines[0])][place + 1]) for place, start in enumerate(starts)]
    ours = [cuts[heads.index(name)] for name in ("JobID", "State", "JobName", "Location")]
    out = "\n".join("".join(line[start:end] for start, end in ours) for line in lines)
    said = COBALT.read_status(Spoken(exit_code=0, out=out))
    assert {number: (one.state, one.tag) for number, one in said.items()} == {
        "1": (BatchState.RUNNING, "harv.w1"),
        "2": (BatchState.PENDING, "harv.w1"),
        "3": (BatchState.PENDING, "harv.w1"),
        "4": (BatchState.PENDING, "big"),
        "5": (BatchState.PENDING, "harv.w1"),
        "6": (BatchState.RUNNING, "harv.w1"),
    }
    assert said["1"].words == "running on c01,c08"


def test_the_logs_of_those_that_left_are_asked_for_where_their_folder_is_known() -> None:
    argv = COBALT.accounting_argv({"7": Path("/a b"), "8": None, "9": Path("-c")})
    assert argv == ["tail", "-v", "-n", "50", "--", "/a b/7.cobaltlog", "-c/9.cobaltlog"]
    assert COBALT.accounting_argv({"8": None}) == []


@pytest.mark.parametrize(
    ("text", "state", "words"),
    [
        (DONE, BatchState.COMPLETED, "an exit code of 0"),
        (EXIT_3, BatchState.FAILED, "an exit code of 3"),
        (EXIT_3.replace("of 3", "of None"), BatchState.FAILED, "an exit code of None"),
        (DELETED, BatchState.CANCELLED, "by user root"),
        (f"{DATE} Info: user delete requested; removing job from the queue", BatchState.CANCELLED, "removing"),
        (OVER, BatchState.TIMED_OUT, "maximum execution time"),
        (f"{DATE} ERROR: execution failure; initiating job cleanup and removal", BatchState.LAUNCH_FAILED, "execution"),
        # The signal was never sent: it ended by itself before.
        (f"{DELETED}\n{DONE}", BatchState.COMPLETED, "an exit code of 0"),
        (f"{PREEMPTED}\n{DATE} Info: something\n{EXIT_3}", BatchState.FAILED, "an exit code of 3"),
    ],
)
def test_a_log_tells_how_it_ended(text: str, state: BatchState, words: str) -> None:
    (said,) = COBALT.read_accounting(logs(n7=text)).values()
    assert (said.id, said.state) == ("7", state)
    assert words in said.words


@pytest.mark.parametrize(
    "text",
    [
        "",
        PREEMPTED,
        f"{DELETED}\n{PREEMPTED}",
        f"{DATE} Info: user delete request already pending with signal SIGTERM; ignoring user delete request",
        f"{DATE} Info: job is in the process of exiting; user delete request ignored",
        f"{DATE} submitted with cwd set to: {DONE}",
        f"Command: '/usr/bin/qsub' 'Info: task completed normally with an exit code of 0;'\n> {DONE}",
    ],
)
def test_a_log_without_an_end_says_nothing(text: str) -> None:
    assert COBALT.read_accounting(logs(n7=text)) == {}


def test_each_log_tells_of_its_own_batch_job() -> None:
    said = COBALT.read_accounting(logs(n7=DONE, n8=DATE, n9=OVER))
    assert {number: one.state for number, one in said.items()} == {
        "7": BatchState.COMPLETED,
        "9": BatchState.TIMED_OUT,
    }


def test_a_log_that_is_not_there_says_nothing_and_one_that_cannot_be_read_says_so() -> None:
    missing = "tail: cannot open '/f/7.cobaltlog' for reading: No such file or directory\n"
    assert COBALT.read_accounting(Spoken(exit_code=1, out="", err=missing)) == {}
    with pytest.raises(BatchUnreachable, match="Permission denied"):
        COBALT.read_accounting(Spoken(exit_code=1, out="", err=missing.replace("No such file", "Permission denied: f")))


def test_tail_prints_what_is_read_here(tmp_path: Path) -> None:
    for number, text in ((7, DONE), (8, EXIT_3)):
        (tmp_path / f"{number}.cobaltlog").write_text(f"{DATE} submitted\n{text}\n")
    argv = COBALT.accounting_argv({"7": tmp_path, "8": tmp_path, "9": tmp_path})
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    said = COBALT.read_accounting(Spoken(exit_code=done.returncode, out=done.stdout, err=done.stderr))
    assert {number: one.state for number, one in said.items()} == {
        "7": BatchState.COMPLETED,
        "8": BatchState.FAILED,
    }


def test_the_registry_has_it_and_wants_neither_command_nor_qos() -> None:
    assert isinstance(dialect(site("cobalt")), CobaltDialect)
    with pytest.raises(ConfigurationError, match=r"batch\.command"):
        dialect(site("cobalt", command=("qsub",)))
    with pytest.raises(ConfigurationError, match=r"batch\.qos"):
        dialect(site("cobalt", qos="high"))
