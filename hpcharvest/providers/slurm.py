"""The dialect of Slurm, by its text commands: what they print is the same from 20.02 to now.

Checked against recordings of, and tests on, Slurm 22.05.8; the words are those of squeue(1), sacct(1) and sbatch(1).
`--json` is left alone: with the controller down, squeue 22.05 answers in it an empty list and exit code 0, and sacct's
exit codes are wrong.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence

from hpcharvest.errors import BatchFull, BatchUnreachable, SubmissionRefused, SubmissionUnknown
from hpcharvest.model.states import BatchState
from hpcharvest.providers.dialect import (
    NEVER_RUNS,
    BatchRequest,
    BatchStatus,
    Environment,
    Gone,
    Spoken,
    Vocabulary,
    clock,
)

VOCABULARY = Vocabulary(
    words={
        "PENDING": BatchState.PENDING,
        # It holds nodes that are not up yet: nothing of ours runs.
        "CONFIGURING": BatchState.PENDING,
        # It will run again, or waits for somebody to release it: no end.
        "REQUEUED": BatchState.PENDING,
        "REQUEUE_FED": BatchState.PENDING,
        "REQUEUE_HOLD": BatchState.PENDING,
        "RESV_DEL_HOLD": BatchState.PENDING,
        "SPECIAL_EXIT": BatchState.PENDING,
        "RUNNING": BatchState.RUNNING,
        # Its processes may be alive, and the queue may hold it again afterwards: an end comes under its own word.
        "COMPLETING": BatchState.RUNNING,
        "RESIZING": BatchState.RUNNING,
        "SIGNALING": BatchState.RUNNING,
        "STAGE_OUT": BatchState.RUNNING,
        "STOPPED": BatchState.RUNNING,
        "SUSPENDED": BatchState.RUNNING,
        "COMPLETED": BatchState.COMPLETED,
        "FAILED": BatchState.FAILED,
        "OUT_OF_MEMORY": BatchState.OUT_OF_MEMORY,
        # The operator's own `--deadline` has passed, which may be before the start.
        "DEADLINE": BatchState.CANCELLED,
        "CANCELLED": BatchState.CANCELLED,
        "TIMEOUT": BatchState.TIMED_OUT,
        "PREEMPTED": BatchState.PREEMPTED,
        "NODE_FAIL": BatchState.NODE_FAILED,
        "BOOT_FAIL": BatchState.NODE_FAILED,
    }
)
"""Left out on purpose: REVOKED, which says that another cluster of the federation has it."""

NEVER = re.compile(
    r"PartitionTimeLimit|PartitionNodeLimit|PartitionConfig|DependencyNeverSatisfied|BadConstraints|InvalidAccount"
    r"|InvalidQOS|AccountNotAllowed|QOSNotAllowed|(QOS|Assoc)Max\w*Per(Job|Node)\w*|(QOS|Assoc)MaxWall\w*"
)
"""Reasons for which a batch job waits for ever, unless somebody changes it or the cluster."""

_NOT_SUBMITTED = re.compile(
    r"connect failure|Connection refused|Unable to contact slurm controller|configuration source"
    # munge, by which everybody knows everybody, is down: no request without it
    r"|Munge encode failed|[Ii]nvalid authentication credential"
)
_FULL = re.compile(r"MaxSubmitJob|Resource temporarily unavailable|temporarily unable to accept job")
_ANSWER_LOST = re.compile(r"timed out|Zero Bytes were transmitted|Unexpected message|Header lengths are longer")
_POLICY = "Job violates accounting/QOS policy"
_SIZE_LIMIT = re.compile(r"Per(Job|Node)|MaxWall|MaxNodePer|MaxCpuPer|MaxMemPer|MaxGRESPer")
_NO_ACCOUNTING = "accounting storage is disabled"
_PARSABLE = re.compile(r"(?P<id>[0-9]+)(;\S+)?")

FILTERS = tuple(f"SQUEUE_{one}" for one in ("ACCOUNT", "LICENSES", "NAMES", "PARTITION", "QOS", "STATES", "USERS"))
"""Variables by which a user's shell may have squeue leave batch jobs out."""
_WISHES = tuple(
    f"SBATCH_{one}"
    for one in (
        *("JOB_NAME", "TIMELIMIT", "OUTPUT", "ERROR", "OPEN_MODE", "REQUEUE", "NO_REQUEUE", "SIGNAL"),
        *("ARRAY_INX", "WAIT"),
    )
)
"""Variables of a user's shell that go before what a script says (sbatch(1)), of what we must say ourselves."""

_ROW, _FIELD = "\x1e", "\x1f"
"""Characters that no name has: names and reasons may contain blanks, commas, bars and ends of lines."""


class SlurmDialect:
    """Speaks to Slurm by sbatch, squeue, sacct and scancel."""

    environment = Environment(
        nodes='$(scontrol show hostnames "$SLURM_JOB_NODELIST" | paste -sd, -)',
        batch_id="${SLURM_JOB_ID}",
        restart="${SLURM_RESTART_COUNT:-0}",
        deadline="${SLURM_JOB_END_TIME:-}",  # since 23.02
    )

    def directives(self, request: BatchRequest) -> Sequence[str]:
        """Say all that is asked. Slurm rounds the walltime up to whole minutes."""
        shape = request.shape
        words = [
            f"--job-name={request.tag}",
            f"--nodes={shape.nodes}",
            f"--time={clock(shape.walltime_s)}",
            f"--output={_pattern(request, 'stdout')}",
            f"--error={_pattern(request, 'stderr')}",
            "--open-mode=append",  # should it be requeued all the same, each start's words are kept
            "--no-requeue",
        ]
        chosen = {"partition": shape.partition, "account": request.account, "qos": request.qos}
        words += [f"--{name}={value}" for name, value in chosen.items() if value]
        if request.gpus_per_node:
            words.append(f"--gpus-per-node={request.gpus_per_node}")
        if request.signal_before_end_s:
            words.append(f"--signal=B:USR1@{request.signal_before_end_s}")
        return [f"#SBATCH {words}" for words in (*map(shlex.quote, words), *request.options)]

    def submit_argv(self, request: BatchRequest) -> Sequence[str]:
        """Give the command that submits `request.script`; without what a user's shell may want in its place."""
        chosen = {"PARTITION": request.shape.partition, "ACCOUNT": request.account, "QOS": request.qos}
        ours = (*_WISHES, *(f"SBATCH_{name}" for name, value in chosen.items() if value))
        return [*_without(ours), "sbatch", "--parsable", str(request.script)]

    def read_submitted(self, spoken: Spoken) -> str:
        """Find the batch id. Raise SubmissionUnknown where Slurm may have it nevertheless."""
        words = spoken.said()
        if spoken.exit_code == 0:
            found = [match["id"] for line in spoken.out.split("\n") if (match := _PARSABLE.fullmatch(line.strip()))]
            if not found:
                raise SubmissionUnknown(f"sbatch succeeded, but its answer has no batch id: {words!r}")
            return found[-1]
        if spoken.exit_code < 0 or _ANSWER_LOST.search(words):
            raise SubmissionUnknown(words)
        if _NOT_SUBMITTED.search(words):
            raise BatchUnreachable(f"Slurm takes no batch job just now: {words}")
        if _FULL.search(words) or (_POLICY in words and not _SIZE_LIMIT.search(words)):
            raise BatchFull(f"Slurm takes no more batch jobs of ours just now: {words}")
        raise SubmissionRefused(words)

    def status_argv(self) -> Sequence[str]:
        """Ask for all batch jobs of ours, in hidden partitions too, the newest last; also for those that ended lately.

        For how long ended ones are shown is the cluster's MinJobAge, 5 minutes by default.
        """
        row = f"{_ROW}%i{_FIELD}%T{_FIELD}%r{_FIELD}%j"
        argv = ["squeue", "--me", "--all", "--noheader", "--states=all", "--sort=i", f"--format={row}"]
        return [*_without(FILTERS), *argv]

    def read_status(self, spoken: Spoken) -> Mapping[str, BatchStatus]:
        """Give what was said about each batch job. An answer of nothing but errors says nothing about any."""
        before, *rows = spoken.out.split(_ROW)
        if spoken.exit_code != 0 or (not rows and (before.strip() or "error" in spoken.err)):
            raise BatchUnreachable(spoken.said())
        said = {}
        for fields in _split(rows, 4):
            number, state, reason, name = fields
            said[number] = BatchStatus(id=number, state=_state(state), words=_words(state, reason), tag=name)
        return said

    def accounting_argv(self, gone: Gone) -> Sequence[str]:
        """Ask what became of batch jobs that squeue shows no more, of each its latest run.

        Not for names: until its start is on record, sacct calls every batch job `allocation`.
        """
        fields = "JobID,State,ExitCode,Reason"
        argv = ["sacct", "--noheader", "--parsable2", f"--delimiter={_FIELD}", "--allocations"]
        return [*argv, f"--format={fields}", f"--jobs={','.join(gone)}"]

    def read_accounting(self, spoken: Spoken) -> Mapping[str, BatchStatus]:
        """Give what was said about each batch job: nothing, where the cluster keeps no accounts."""
        if spoken.exit_code != 0 and _NO_ACCOUNTING in spoken.said():
            return {}
        if spoken.exit_code != 0 or (not spoken.out.strip() and "error" in spoken.err):
            raise BatchUnreachable(spoken.said())
        said = {}
        for fields in _split(spoken.out.split("\n"), 4):
            number, state, code, reason = fields
            said[number] = BatchStatus(id=number, state=_state(state), words=_words(state, reason, code))
        return said

    def cancel_argv(self, ids: Sequence[str]) -> Sequence[str]:
        """Give the command that ends these batch jobs, waiting or running."""
        return ["scancel", *ids]


def _without(variables: Sequence[str]) -> list[str]:
    """Give the words that keep variables from a command."""
    return ["env", *(word for name in variables for word in ("-u", name))]


def _pattern(request: BatchRequest, name: str) -> str:
    """Give a file in the request's folder as sbatch wants it: a % begins a word of its own."""
    return str(request.folder / name).replace("%", "%%")


def _split(rows: Sequence[str], count: int) -> Iterator[list[str]]:
    """Give the fields of each row that has so many, and a batch id; what else stands there is no row of ours."""
    for row in rows:
        fields = [field.strip() for field in row.split(_FIELD, count - 1)]
        if len(fields) == count and re.match(r"[0-9]", fields[0]):
            yield fields


def _state(word: str) -> BatchState:
    """Translate, as in `CANCELLED by 0`, the first word.

    The reason adds nothing: `JobLaunchFailure` is also what squeue says of a script that a signal killed.
    """
    return VOCABULARY.translate(word.partition(" ")[0])


def _words(state: str, reason: str, exit_code: str = "") -> str:
    """Put Slurm's words together, and say whom it waits for in vain."""
    parts = [state, reason if reason not in {"None", "(null)"} else ""]
    if exit_code not in {"", "0:0"}:
        parts.append(f"exit code {exit_code}")
    if _state(state) is BatchState.PENDING and NEVER.fullmatch(reason):
        parts.append(NEVER_RUNS)
    return " ".join(part for part in parts if part)
