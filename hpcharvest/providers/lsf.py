"""The dialect of IBM Spectrum LSF, by bsub, bjobs and bkill.

Unverified: it is held to IBM's documentation of LSF 10.1, and was never spoken to a real LSF. Whole nodes are asked for
by `-nnodes`, as on systems with jsrun (Summit, Lassen), unless slots are by `-n` in `batch.options`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence

from hpcharvest.errors import BatchFull, BatchUnreachable, SubmissionRefused, SubmissionUnknown
from hpcharvest.model.states import BatchState
from hpcharvest.providers.dialect import BatchRequest, BatchStatus, Environment, NoAccounting, Spoken, Vocabulary

VOCABULARY = Vocabulary(
    words={
        "PEND": BatchState.PENDING,
        "PSUSP": BatchState.PENDING,
        "WAIT": BatchState.PENDING,
        "PROV": BatchState.PENDING,
        "RUN": BatchState.RUNNING,
        "USUSP": BatchState.RUNNING,
        "SSUSP": BatchState.RUNNING,
        # Its host does not answer: its processes may be alive.
        "UNKWN": BatchState.RUNNING,
        # It was to be killed while its host did not answer.
        "ZOMBI": BatchState.RUNNING,
        "DONE": BatchState.COMPLETED,
        "EXIT": BatchState.FAILED,
    }
)
"""What bjobs says; why it is EXIT stands beside it."""

REASONS: Mapping[str, BatchState] = {
    "TERM_RUNLIMIT": BatchState.TIMED_OUT,
    "TERM_CPULIMIT": BatchState.TIMED_OUT,
    "TERM_MEMLIMIT": BatchState.OUT_OF_MEMORY,
    "TERM_SWAP": BatchState.OUT_OF_MEMORY,
    "TERM_OWNER": BatchState.CANCELLED,
    "TERM_FORCE_OWNER": BatchState.CANCELLED,
    "TERM_ADMIN": BatchState.CANCELLED,
    "TERM_FORCE_ADMIN": BatchState.CANCELLED,
    "TERM_BUCKET_KILL": BatchState.CANCELLED,
    "TERM_REMOVE_HUNG_JOB": BatchState.CANCELLED,
    "TERM_ORPHAN_SYSTEM": BatchState.CANCELLED,
    "TERM_CHKPNT": BatchState.CANCELLED,
    # The operator's own `-t` has passed, which may be before the start.
    "TERM_DEADLINE": BatchState.CANCELLED,
    # It had to make room: for others, for a loaded host's owner, for a closed queue, for the cloud that lent the host.
    "TERM_PREEMPT": BatchState.PREEMPTED,
    "TERM_LOAD": BatchState.PREEMPTED,
    "TERM_WINDOW": BatchState.PREEMPTED,
    "TERM_RC": BatchState.PREEMPTED,
    "TERM_MC_RECALL": BatchState.PREEMPTED,
    # "Job exited while LSF is not available": so ends one that may not be rerun, and whose host crashed.
    "TERM_ZOMBIE": BatchState.NODE_FAILED,
    "TERM_SLURM": BatchState.NODE_FAILED,
    "TERM_CSM_ALLOC": BatchState.LAUNCH_FAILED,
    "TERM_CWD_NOTEXIST": BatchState.LAUNCH_FAILED,
    "TERM_PRE_EXEC_FAIL": BatchState.LAUNCH_FAILED,
    "TERM_DATA": BatchState.LAUNCH_FAILED,
    # It was killed to run again.
    "TERM_REQUEUE_OWNER": BatchState.PENDING,
    "TERM_REQUEUE_ADMIN": BatchState.PENDING,
    "TERM_REQUEUE_RC": BatchState.PENDING,
}
"""What an EXIT means, by the reason that LSF gives for it. With another one, or none, the script has failed."""

_DELIMITER = "^"
_FIELDS = ("jobid", "stat", "exit_code", "exit_reason", "job_name", "pend_reason")
"""The last one may have any character, and the name is ours; `^` stands in none of those before."""
_SUBMITTED = re.compile(r"Job <([0-9]+)> is submitted to ")
_NONE = re.compile(r"No (unfinished |matching |)job found")
_NOT_REACHED = re.compile(
    r"LSF is down|Cannot connect to LSF|LSF is processing your request|daemon not responding"
    r"|Failed in an LSF library call|(LIM|mbatchd) is down|Unable to open file lsf\.conf|ls_initialize|lsb_init"
)
_FULL = re.compile(
    r"[Pp]ending job threshold|(pending|job|slot) limit (has been|is) reached|[Tt]oo many (pending )?jobs"
)


class LsfDialect(NoAccounting):
    """Speaks to LSF by bsub, bjobs, which tells of those that ended, too, and bkill; bhist prints for people."""

    environment = Environment(
        # A line for each slot. Where a node of its own starts the batch script, that one comes first, with one slot.
        nodes=(
            """$(awk '!n[$0]++ {h[++k]=$0} END {for (i = (k > 1 && n[h[1]] == 1 && n[h[2]] > 1) + 1; i <= k; i++) """
            """print h[i]}' "$LSB_DJOB_HOSTFILE" | paste -sd, -)"""
        ),
        batch_id="${LSB_JOBID}",
        # Told only that it is not the first start; batch jobs are submitted such that there is no second.
        restart='$([ "${LSB_RESTART:-N}" = Y ] && echo 1 || echo 0)',
        deadline="",
    )

    def directives(self, request: BatchRequest) -> Sequence[str]:
        """Tell how it is submitted: of a script that is named on the command line, LSF reads no directives."""
        told = shlex.join(self.submit_argv(request)).replace("\n", " ")
        return [f"# Submitted by: {told}"]

    def submit_argv(self, request: BatchRequest) -> Sequence[str]:
        """Give the command that submits `request.script`. LSF counts whole minutes, and its shell reads the command.

        Raises SubmissionRefused for options that are no words of a command line.
        """
        shape, options = request.shape, _words(request.options)
        argv = ["bsub", "-rn", "-J", request.tag, "-W", _clock(shape.walltime_s), "-cwd", str(request.folder)]
        argv += ["-o", str(request.folder / "stdout"), "-e", str(request.folder / "stderr")]
        nodes = "" if "-n" in options else str(shape.nodes)
        for option, value in (("-nnodes", nodes), ("-q", shape.partition), ("-P", request.account)):
            argv += [option, value] if value else []
        if request.signal_before_end_s:
            argv += ["-wa", "USR1", "-wt", str(_minutes(request.signal_before_end_s))]
        return [*argv, *options, shlex.quote(str(request.script))]

    def read_submitted(self, spoken: Spoken) -> str:
        """Find the batch id, as in `Job <1> is submitted to queue <batch>`."""
        words = spoken.said()
        found = _SUBMITTED.findall(spoken.out)
        if found and spoken.exit_code == 0:
            return str(found[-1])
        if found or spoken.exit_code <= 0:
            raise SubmissionUnknown(f"bsub does not say clearly whether it has submitted: {words!r}")
        if "Job not submitted" not in words and _NOT_REACHED.search(words):
            raise BatchUnreachable(f"LSF takes no batch job just now: {words}")
        if _FULL.search(words):
            raise BatchFull(f"LSF takes no more batch jobs of ours just now: {words}")
        raise SubmissionRefused(words)

    def status_argv(self) -> Sequence[str]:
        """Ask for all batch jobs of ours; also for those that ended lately.

        For how long ended ones are shown is the cluster's CLEAN_PERIOD, one hour by default.
        """
        return ["bjobs", "-a", "-noheader", "-o", f"{' '.join(_FIELDS)} delimiter='{_DELIMITER}'"]

    def read_status(self, spoken: Spoken) -> Mapping[str, BatchStatus]:
        """Give what was said about each batch job. That there is none must be said, too."""
        words = spoken.said()
        said = [one for line in spoken.out.split("\n") if (one := _status(line)) is not None]
        if not said and _NONE.search(words) and not _NOT_REACHED.search(words):
            return {}
        if spoken.exit_code != 0 or not said:
            raise BatchUnreachable(f"LSF does not tell of its batch jobs: {words}")
        said.sort(key=lambda one: (len(one.id), one.id))
        return {one.id: one for one in said}

    def cancel_argv(self, ids: Sequence[str]) -> Sequence[str]:
        """Give the command that ends these batch jobs; it says so, and ends with 255, if one has ended before."""
        return ["bkill", *ids]


def _words(options: Sequence[str]) -> list[str]:
    """Split options into words, as a shell does."""
    words: list[str] = []
    for option in options:
        try:
            words += shlex.split(option)
        except ValueError as error:
            raise SubmissionRefused(f"batch.options has {option!r}, which is no option: {error}") from error
    return words


def _minutes(seconds: int) -> int:
    return -(-seconds // 60)


def _clock(seconds: int) -> str:
    hours, minutes = divmod(_minutes(seconds), 60)
    return f"{hours:02}:{minutes:02}"


def _status(line: str) -> BatchStatus | None:
    """Read a line; None: it tells of no batch job."""
    fields = [field.strip() for field in line.split(_DELIMITER, len(_FIELDS) - 1)]
    if len(fields) != len(_FIELDS) or not re.fullmatch(r"[0-9]+", fields[0]):
        return None
    number, word, code, why, name, waits = ("" if field == "-" else field for field in fields)
    state = VOCABULARY.translate(word)
    if word == "EXIT":
        reason = re.match(r"TERM_\w+", why)
        state = REASONS.get(reason[0], state) if reason else state
    parts = [word, why, f"exit code {code}" if code not in {"", "0"} else "", waits]
    return BatchStatus(id=number, state=state, words=" ".join(part for part in parts if part), tag=name)
