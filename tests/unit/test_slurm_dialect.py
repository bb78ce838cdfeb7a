"""Slurm's answers, as a real 22.05.8 gave them, and what it says in words that could not be provoked."""

from __future__ import annotations

import re
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
from hpcharvest.providers.registry import dialect
from hpcharvest.providers.script import render
from hpcharvest.providers.slurm import VOCABULARY, SlurmDialect
from tests.services.recordings import recorded
from tests.services.sites import site

HERE = Path(__file__).parent.parent
GOLDEN = HERE / "golden" / "slurm_script.sh"
SLURM = SlurmDialect()
REQUEST = BatchRequest(
    tag="me-1-abc",
    shape=Shape(nodes=2, walltime_s=90_061, partition="regular"),
    folder=Path("/work/it's 100%"),
    account="physics",
    qos="premium",
    options=("--constraint=cpu&haswell", "--exclusive"),
    signal_before_end_s=60,
)


def row(*fields: str) -> str:
    return "\x1e" + "\x1f".join(fields) + "\n"


def test_the_script_is_as_expected() -> None:
    assert render(SLURM, REQUEST, ["/usr/bin/python3", "-m", "hpcharvest.jumbo", "/f"]) == GOLDEN.read_text()


def test_what_is_not_chosen_is_not_asked_for() -> None:
    plain = BatchRequest(tag="t", shape=Shape(nodes=1, walltime_s=59), folder=Path("/f"))
    assert SLURM.directives(plain) == [
        "#SBATCH --job-name=t",
        "#SBATCH --nodes=1",
        "#SBATCH --time=00:00:59",
        "#SBATCH --output=/f/stdout",
        "#SBATCH --error=/f/stderr",
        "#SBATCH --open-mode=append",
        "#SBATCH --no-requeue",
    ]


def test_gpus_are_asked_for_on_each_node() -> None:
    request = BatchRequest(tag="t", shape=Shape(nodes=2, walltime_s=59), folder=Path("/f"), gpus_per_node=4)
    assert "#SBATCH --gpus-per-node=4" in SLURM.directives(request)


@pytest.mark.parametrize(
    ("out", "batch_id"), [("123\n", "123"), ("123;perlmutter\n", "123"), ("Welcome to 2026\n7\n", "7")]
)
def test_the_batch_id_is_found(out: str, batch_id: str) -> None:
    assert SLURM.read_submitted(Spoken(exit_code=0, out=out)) == batch_id


def test_the_batch_id_is_found_in_a_real_answer() -> None:
    assert SLURM.read_submitted(recorded("slurm", "sbatch_parsable")) == "1"


@pytest.mark.parametrize("name", ["sbatch_bad_partition", "sbatch_bad_option"])
def test_a_no_is_a_no(name: str) -> None:
    with pytest.raises(SubmissionRefused, match="nosuch"):
        SLURM.read_submitted(recorded("slurm", name))


@pytest.mark.parametrize("name", ["sbatch_ctld_down", "sbatch_munge_down"])
def test_who_was_not_reached_has_no_batch_job(name: str) -> None:
    with pytest.raises(BatchUnreachable, match=r"Batch job submission failed|Munge"):
        SLURM.read_submitted(recorded("slurm", name))


FAILED = "sbatch: error: Batch job submission failed: "
POLICY = FAILED + "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"


@pytest.mark.parametrize(
    ("err", "error"),
    [
        (FAILED + "Socket timed out on send/recv operation", SubmissionUnknown),
        (FAILED + "Zero Bytes were transmitted or received", SubmissionUnknown),
        (FAILED + "Resource temporarily unavailable", BatchFull),
        (f"sbatch: error: AssocMaxSubmitJobLimit\n{POLICY}", BatchFull),
        (f"sbatch: error: QOSMaxSubmitJobPerUserLimit\n{POLICY}", BatchFull),
        (POLICY, BatchFull),
        (f"sbatch: error: QOSMaxWallDurationPerJobLimit\n{POLICY}", SubmissionRefused),
        (f"sbatch: error: QOSMaxNodePerJobLimit\n{POLICY}", SubmissionRefused),
        (FAILED + "Invalid account or account/partition combination specified", SubmissionRefused),
        (FAILED + "Requested time limit is invalid (missing or exceeds some limit)", SubmissionRefused),
        ("", SubmissionRefused),
    ],
)
def test_every_failure_to_submit_has_its_own_name(err: str, error: type[BatchError]) -> None:
    with pytest.raises(error, match=re.escape(err.rpartition(": ")[2]) or "without a word"):
        SLURM.read_submitted(Spoken(exit_code=1, out="", err=err))


@pytest.mark.parametrize("spoken", [Spoken(exit_code=0, out="Submitted\n"), Spoken(exit_code=-9, out="")])
def test_what_may_have_been_submitted_is_looked_for(spoken: Spoken) -> None:
    with pytest.raises(SubmissionUnknown):
        SLURM.read_submitted(spoken)


def test_every_word_is_translated() -> None:
    for word, state in VOCABULARY.words.items():
        (said,) = SLURM.read_status(Spoken(exit_code=0, out=row("7", word, "None", "tag"))).values()
        assert (said.state, said.words) == (state, word)


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("COMPLETING", BatchState.RUNNING),
        ("SPECIAL_EXIT", BatchState.PENDING),
        ("OUT_OF_MEMORY", BatchState.OUT_OF_MEMORY),
        ("BOOT_FAIL", BatchState.NODE_FAILED),
        ("REVOKED", BatchState.UNKNOWN),
        ("TELEPORTING", BatchState.UNKNOWN),
        ("", BatchState.UNKNOWN),
    ],
)
def test_a_word_means(word: str, state: BatchState) -> None:
    out = row("7", word, "None", "tag") + row("8", "RUNNING", "None", "other")
    said = SLURM.read_status(Spoken(exit_code=0, out=out))
    assert said["7"].state is state
    assert said["7"].words == word
    assert said["8"].state is BatchState.RUNNING


@pytest.mark.parametrize(
    "reason",
    [
        "PartitionTimeLimit",
        "PartitionNodeLimit",
        "PartitionConfig",
        "DependencyNeverSatisfied",
        "BadConstraints",
        "QOSMaxNodePerJobLimit",
        "AssocMaxCpuPerJobLimit",
        "QOSMaxWallDurationPerJobLimit",
    ],
)
def test_who_waits_in_vain_is_told(reason: str) -> None:
    (said,) = SLURM.read_status(Spoken(exit_code=0, out=row("7", "PENDING", reason, "tag"))).values()
    assert said.words == f"PENDING {reason} (as it is, it will never run)"


@pytest.mark.parametrize("reason", ["Resources", "Priority", "QOSMaxJobsPerUserLimit", "AssocGrpNodeLimit"])
def test_who_just_waits_is_told_why(reason: str) -> None:
    (said,) = SLURM.read_status(Spoken(exit_code=0, out=row("7", "PENDING", reason, "tag"))).values()
    assert said.words == f"PENDING {reason}"


def test_names_and_reasons_may_have_any_character() -> None:
    name, reason = "a|b, c\nd = e", "Nodes required for job are DOWN, DRAINED or reserved"
    (said,) = SLURM.read_status(Spoken(exit_code=0, out=row("7", "PENDING", reason, name))).values()
    assert (said.tag, said.words) == (name, f"PENDING {reason}")


MANY = {
    "1": (BatchState.COMPLETED, "a name, with | bars"),
    "2": (BatchState.FAILED, "fails"),
    "3": (BatchState.FAILED, "segfaults"),
    "4": (BatchState.CANCELLED, "cancelled"),
    "5": (BatchState.RUNNING, "times out"),
    "6": (BatchState.CANCELLED, "deadline"),
    "7": (BatchState.PREEMPTED, "victim"),
    "8": (BatchState.PENDING, "requeued"),
    "9": (BatchState.CANCELLED, "important"),
    "10": (BatchState.COMPLETED, "loses its node"),
    "11": (BatchState.RUNNING, "suspended"),
    "12": (BatchState.PENDING, "special"),
    "13": (BatchState.RUNNING, "completing"),
    "14": (BatchState.PENDING, "held"),
    "15": (BatchState.PENDING, "later"),
    "16": (BatchState.PENDING, "too long"),
    "17": (BatchState.PENDING, "never"),
    "18": (BatchState.PENDING, "too many"),
    "19_1": (BatchState.COMPLETED, "an array"),
    "19_2": (BatchState.RUNNING, "an array"),
    "19_3": (BatchState.PENDING, "an array"),
    "20": (BatchState.PENDING, "meets maintenance"),
}


def test_a_queue_of_all_sorts_is_understood() -> None:
    said = SLURM.read_status(recorded("slurm", "squeue_many"))
    assert {number: (one.state, one.tag) for number, one in said.items()} == MANY
    assert said["3"].words == "FAILED JobLaunchFailure"
    assert said["6"].words == "DEADLINE DeadLine"
    assert said["12"].words == "SPECIAL_EXIT job requeued in held state"
    assert said["17"].words == "PENDING DependencyNeverSatisfied (as it is, it will never run)"
    assert said["20"].words == "PENDING ReqNodeNotAvail, May be reserved for other job"


def test_the_accounts_tell_of_the_same_ends() -> None:
    said = SLURM.read_accounting(recorded("slurm", "sacct_many"))
    assert said.keys() == MANY.keys()
    for number, (state, _) in MANY.items():
        assert not state.ended or said[number].state is state
    assert said["2"].words == "FAILED exit code 3:0"
    assert said["3"].words == "FAILED exit code 0:11"
    assert said["8"].state is BatchState.PENDING  # preempted once, and waits to run again


def test_no_batch_job_at_all_is_an_answer() -> None:
    assert SLURM.read_status(recorded("slurm", "squeue_empty")) == {}


def test_a_controller_that_is_away_says_nothing_about_any_job() -> None:
    with pytest.raises(BatchUnreachable, match="Unable to contact slurm controller"):
        SLURM.read_status(recorded("slurm", "squeue_ctld_down"))


@pytest.mark.parametrize(
    "spoken",
    [
        Spoken(exit_code=0, out="", err="slurm_load_jobs error: Unexpected message received"),
        Spoken(exit_code=0, out="Please use the other login node\n"),
        Spoken(exit_code=1, out=row("7", "COMPLETED", "None", "tag")),
    ],
)
def test_an_answer_without_rows_says_nothing_about_any_job(spoken: Spoken) -> None:
    with pytest.raises(BatchUnreachable):
        SLURM.read_status(spoken)


def test_accounts_tell_how_it_ended() -> None:
    out = "6\x1fFAILED\x1f7:0\x1fNone\n9\x1fCANCELLED by 0\x1f0:0\x1fNone\n27\x1fREQUEUED\x1f0:0\x1fNone\n"
    said = SLURM.read_accounting(Spoken(exit_code=0, out=out))
    assert {one.id: (one.state, one.words) for one in said.values()} == {
        "6": (BatchState.FAILED, "FAILED exit code 7:0"),
        "9": (BatchState.CANCELLED, "CANCELLED by 0"),
        "27": (BatchState.PENDING, "REQUEUED"),
    }


def test_accounts_that_do_not_know_or_are_not_kept_say_nothing() -> None:
    assert SLURM.read_accounting(recorded("slurm", "sacct_unknown")) == {}
    assert SLURM.read_accounting(recorded("slurm", "sacct_disabled")) == {}


def test_accounts_that_are_closed_say_so() -> None:
    with pytest.raises(BatchUnreachable, match="refused"):
        SLURM.read_accounting(recorded("slurm", "sacct_dbd_down"))


def test_the_registry_has_it_and_wants_no_command() -> None:
    assert isinstance(dialect(site("slurm")), SlurmDialect)
    with pytest.raises(ConfigurationError, match=r"batch\.command"):
        dialect(site("slurm", command=("sbatch",)))
