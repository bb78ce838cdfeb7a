"""Where Parsl's own SlurmProvider misreports, as was seen on a real Slurm, ours must not: each case, by real answers.

The commands are programs in PATH that say what was recorded; where the case needs an answer that was not recorded, its
rows are those of the same commands. What PBSProProvider misreports is tried behind PBS's command line, in
tests/contract/test_parsl_face.py and test_provider.py (other blocks when only the first is answered, failures and ends
called completed, nodes put together), and in test_pbs_dialect.py (one block that the server knows no more).
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from parsl.jobs.states import JobState, JobStatus

from hpcharvest.model.shape import Shape
from hpcharvest.providers.batch import BatchSystem
from hpcharvest.providers.parsl_face import BatchProvider
from hpcharvest.providers.slurm import SlurmDialect

RECORDINGS = Path(__file__).parent.parent / "recordings" / "slurm"
PROGRAM = """\
#!/bin/sh
echo "$*" >>"$0.asked"
cat "$0.err" >&2
cat "$0.out"
exit "$(cat "$0.rc")"
"""


class Slurm:
    """Commands of Slurm's that say what they are told to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "bin"
        self.folder.mkdir()
        for name in ("sbatch", "squeue", "sacct", "scancel"):
            program = self.folder / name
            program.write_text(PROGRAM)
            program.chmod(0o755)
            self.says(name, "")
        self.records("sbatch", "sbatch_parsable")
        path = {"PATH": f"{self.folder}{os.pathsep}{os.environ['PATH']}"}
        system = BatchSystem(SlurmDialect(), timeout_s=20, per_minute=6000, environment=path)
        self.provider = BatchProvider(system, folder=folder / "blocks", poll_s=7)

    def says(self, name: str, out: str, *, err: str = "", code: int = 0) -> None:
        """Let a command answer so from now on."""
        for suffix, text in (("out", out), ("err", err), ("rc", str(code))):
            (self.folder / f"{name}.{suffix}").write_text(text)

    def records(self, name: str, recording: str) -> None:
        """Let a command answer what the real one did."""
        err = RECORDINGS / f"{recording}.err"
        code = int((RECORDINGS / f"{recording}.rc").read_text())
        out = (RECORDINGS / f"{recording}.out").read_text()
        self.says(name, out, err=err.read_text() if err.exists() else "", code=code)

    def queues(self, *rows: tuple[str, str]) -> None:
        """Let squeue list these batch jobs, each by its id and state."""
        self.says("squeue", "".join(f"\x1e{number}\x1f{state}\x1fNone\x1ftag-{number}\n" for number, state in rows))

    def asked(self, name: str) -> list[str]:
        """Give the arguments of each call of a command so far."""
        path = self.folder / f"{name}.asked"
        # Only at ends of lines: the separators that squeue is asked for count as such to `splitlines`.
        return path.read_text().rstrip("\n").split("\n") if path.exists() else []

    def block(self, batch_id: str) -> JobStatus:
        """Ask for the state of a block."""
        return self.provider.status([batch_id])[0]


@pytest.fixture
def slurm(tmp_path: Path) -> Slurm:
    return Slurm(tmp_path)


def test_case_1_a_block_that_the_accounting_does_not_know_yet_has_not_ended(slurm: Slurm) -> None:
    block = slurm.provider.submit_shape("work", Shape(nodes=1, walltime_s=60), "new")
    slurm.records("squeue", "squeue_empty")
    slurm.records("sacct", "sacct_unknown")
    assert slurm.block(block).state is JobState.PENDING
    assert slurm.asked("sacct")[-1].endswith(f"--jobs={block}")
    slurm.queues((block, "RUNNING"))
    assert slurm.block(block).state is JobState.RUNNING


def test_case_2_a_block_that_failed_stays_so_whoever_else_is_alive(slurm: Slurm) -> None:
    slurm.records("squeue", "squeue_many")
    told = slurm.provider.status(["2", "5"])
    assert [one.state for one in told] == [JobState.FAILED, JobState.RUNNING]
    slurm.queues(("5", "RUNNING"))
    slurm.records("sacct", "sacct_unknown")
    told = slurm.provider.status(["2", "5"])
    assert [one.state for one in told] == [JobState.FAILED, JobState.RUNNING]
    assert slurm.asked("sacct") == []


def test_case_3_a_block_that_is_preempted_and_requeued_has_not_ended(slurm: Slurm) -> None:
    slurm.queues(("8", "RUNNING"))
    assert slurm.block("8").state is JobState.RUNNING
    slurm.records("squeue", "squeue_many")
    assert slurm.block("8").state is JobState.PENDING
    assert not slurm.block("8").terminal
    slurm.queues(("8", "RUNNING"))
    assert slurm.block("8").state is JobState.RUNNING


def test_case_3_a_block_that_is_back_after_its_end_is_alive(slurm: Slurm) -> None:
    slurm.queues(("7", "PREEMPTED"))
    assert slurm.block("7").state is JobState.FAILED
    slurm.queues(("7", "REQUEUED"), ("8", "RUNNING"))
    assert [one.state for one in slurm.provider.status(["7", "8"])] == [JobState.PENDING, JobState.RUNNING]


@pytest.mark.parametrize(
    ("batch_id", "state", "words"),
    [
        ("6", JobState.CANCELLED, "was cancelled (DEADLINE DeadLine)"),
        ("7", JobState.FAILED, "was preempted: somebody more important needed the nodes (PREEMPTED)"),
        ("11", JobState.RUNNING, "runs (SUSPENDED)"),
        ("12", JobState.PENDING, "waits in the batch system (SPECIAL_EXIT job requeued in held state)"),
        ("13", JobState.RUNNING, "runs (COMPLETING)"),
    ],
)
def test_case_3_states_that_parsl_has_no_word_for_are_told(
    slurm: Slurm, batch_id: str, state: JobState, words: str
) -> None:
    slurm.records("squeue", "squeue_many")
    told = slurm.block(batch_id)
    assert (told.state, told.message) == (state, f"batch job {batch_id} {words}")


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("OUT_OF_MEMORY", JobState.FAILED),
        ("BOOT_FAIL", JobState.FAILED),
        ("NODE_FAIL", JobState.FAILED),
        ("TIMEOUT", JobState.TIMEOUT),
        ("REQUEUE_HOLD", JobState.PENDING),
        ("A_WORD_OF_TOMORROW", JobState.RUNNING),
    ],
)
def test_case_3_states_that_were_not_provoked_are_told_and_a_new_one_changes_nothing(
    slurm: Slurm, word: str, state: JobState
) -> None:
    slurm.queues(("9", "RUNNING"))
    slurm.block("9")
    slurm.queues(("9", word))
    told = slurm.block("9")
    assert told.state is state
    assert word in str(told.message)


def test_case_3_an_id_that_was_purged_freezes_nobody(slurm: Slurm) -> None:
    slurm.records("squeue", "squeue_many")
    slurm.records("sacct", "sacct_unknown")
    told = slurm.provider.status(["4711", "1", "5"])
    assert [one.state for one in told] == [JobState.PENDING, JobState.COMPLETED, JobState.RUNNING]
    (question,) = slurm.asked("squeue")
    assert "4711" not in question
    assert slurm.asked("sacct")[0].endswith("--jobs=4711")


@pytest.mark.parametrize("recording", ["sacct_disabled", "sacct_dbd_down"])
def test_case_3_accounts_that_are_closed_freeze_nobody(slurm: Slurm, recording: str) -> None:
    slurm.records("squeue", "squeue_many")
    slurm.records("sacct", recording)
    told = slurm.provider.status(["4711", "2"])
    assert [one.state for one in told] == [JobState.PENDING, JobState.FAILED]


def test_case_8_a_block_is_cancelled_when_slurm_says_so_and_not_when_it_was_asked(slurm: Slurm) -> None:
    slurm.queues(("5", "RUNNING"))
    assert slurm.provider.cancel([slurm.provider.adopt("5")]) == [True]
    assert slurm.asked("scancel") == ["5"]
    assert slurm.block("5").state is JobState.RUNNING
    slurm.queues(("5", "CANCELLED"))
    assert slurm.block("5").state is JobState.CANCELLED


def test_case_8_nothing_is_cancelled_while_slurm_does_not_answer(slurm: Slurm) -> None:
    slurm.records("squeue", "squeue_ctld_down")
    assert slurm.provider.cancel(["5"]) == [False]
    assert slurm.asked("scancel") == []


def test_case_8_the_accounting_tells_the_exit_code(slurm: Slurm) -> None:
    slurm.records("squeue", "squeue_empty")
    slurm.records("sacct", "sacct_many")
    told = slurm.block("2")
    assert (told.state, told.message) == (
        JobState.FAILED,
        "batch job 2 failed: its script, or what was to start it (FAILED exit code 3:0)",
    )


def test_case_8_the_caller_says_how_often_is_asked(slurm: Slurm) -> None:
    assert slurm.provider.status_polling_interval == 7
