"""The dialect of Cobalt, by qsub, qstat and qdel, and by the log that it keeps of each batch job.

Checked against recordings of Cobalt 1.0.33. What could not be provoked there is read from its source, and marked [S].

A batch job that has ended vanishes from qstat, as if it had never been. How it ended stands in its log, which lies in
the batch job's folder. Cobalt has no word for a lost node: its log has an exit code then, or nothing.
"""

from __future__ import annotations

import itertools
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
)

VOCABULARY = Vocabulary(
    words={
        "queued": BatchState.PENDING,
        "user_hold": BatchState.PENDING,
        "admin_hold": BatchState.PENDING,
        "dep_hold": BatchState.PENDING,
        # What it depends on has failed: it waits until somebody deletes it.
        "dep_fail": BatchState.PENDING,
        "maxrun_hold": BatchState.PENDING,
        "starting": BatchState.RUNNING,
        "running": BatchState.RUNNING,
        # Its processes may be alive; its end is told by its log, as soon as it is out of the queue.
        "killing": BatchState.RUNNING,
        "exiting": BatchState.RUNNING,
        "done": BatchState.RUNNING,
        "preempting": BatchState.RUNNING,
        # It will run again.
        "preempted": BatchState.PENDING,
    }
)
"""What qstat says; no word of it is an end."""

ENDS = (
    (re.compile(r"Info: task completed normally with an exit code of 0;"), BatchState.COMPLETED),
    (re.compile(r"Info: task completed normally with an exit code of \S+;"), BatchState.FAILED),
    (re.compile(r"Info: user delete requested\b"), BatchState.CANCELLED),
    # [S] While it is preempted, or being preempted.
    (re.compile(r"Info: user delete with signal \S+ requested by user "), BatchState.CANCELLED),
    (re.compile(r"Info: job is already being preempted .*switching to job deletion"), BatchState.CANCELLED),
    # [S] With and without its misspelling; Cobalts before 1.0 did not write it into this log.
    (re.compile(r"Info: maximum execution time exceeded; initiating job "), BatchState.TIMED_OUT),
    (re.compile(r"ERROR: (process group creation failed|execution failure;)"), BatchState.LAUNCH_FAILED),  # [S]
    (re.compile(r"Info: job successfully preempted"), BatchState.PENDING),  # [S] and takes back what stands before
)
"""What the lines of a batch job's log mean, of which the last one that means anything counts."""

NEVER = "dep_fail"
COLUMNS = ("JobID", "State", "JobName", "Location")
"""What is asked of qstat: the names of others, which may have blanks, do not shift what stands before them."""

_NOT_REACHED = re.compile(
    r"Proxy\.py\s|Failed to connect to queue manager|No section cqm in Cobalt config"
    r"|trying to execute queue-manager\.get_"
)
_ANSWER_LOST = re.compile(r"trying to execute queue-manager\.add_jobs")  # [S]
_FULL = re.compile(r"The limit of .* has been reached")  # [S]
_CHATTER = re.compile(r"No handlers could be found for logger|submitting walltime=")
_DATED = re.compile(r"\w{3} \w{3} [0-9: +-]{15,25} \([\w ]+\) (?=(?:Info|ERROR): )")
_HEADING = re.compile(r"==> (?:.*/)?([0-9]+)\.cobaltlog <==")


class CobaltDialect:
    """Speaks to Cobalt by qsub, qstat and qdel, and to tail about its logs."""

    environment = Environment(
        # A site's own part of Cobalt writes this file, with a line for each node.
        nodes="""$(awk '!seen[$0]++' "$COBALT_NODEFILE" | paste -sd, -)""",
        batch_id="${COBALT_JOBID}",
        # Cobalt does not count starts, but its log, beside the script, tells of each one that was taken back.
        restart="$(cat *.cobaltlog 2>/dev/null | grep -c 'Info: job successfully preempted')",
        deadline="${COBALT_ENDTIME%%.*}",
    )

    def directives(self, request: BatchRequest) -> Sequence[str]:
        """Give the operator's own, which must come first, and tell of ours.

        Those are on the command line, where blanks do no harm.
        """
        told = shlex.join(self.submit_argv(request)).replace("\n", " ")
        return [*(f"#COBALT {words}" for words in request.options), f"# Submitted by: {told}"]

    def submit_argv(self, request: BatchRequest) -> Sequence[str]:
        """Give the command that submits `request.script`, which must be executable. Cobalt counts whole minutes.

        The script is named from its folder: blanks in its name would be taken out [S].
        """
        shape, folder = request.shape, request.folder
        argv = ["qsub", "--mode", "script", "-n", str(shape.nodes), "-t", str(-(-shape.walltime_s // 60))]
        argv += ["--jobname", request.tag, "--cwd", str(folder)]
        argv += ["-o", str(folder / "stdout"), "-e", str(folder / "stderr")]
        argv += ["--debuglog", str(folder / "$jobid.cobaltlog")]
        for option, value in (("-q", shape.partition), ("-A", request.account)):
            argv += [option, value] if value else []
        return [*argv, request.script.name]

    def read_submitted(self, spoken: Spoken) -> str:
        """Find the batch id: it stands alone on a line."""
        words = spoken.said(but=_CHATTER)
        if spoken.exit_code == 0:
            found = re.findall(r"^[0-9]+$", spoken.out, re.MULTILINE)
            if not found:
                raise SubmissionUnknown(f"qsub succeeded, but its answer has no batch id: {words!r}")
            return str(found[-1])
        if _NOT_REACHED.search(words):
            raise BatchUnreachable(f"Cobalt takes no batch job just now: {words}")
        if spoken.exit_code < 0 or _ANSWER_LOST.search(words):
            raise SubmissionUnknown(words)
        if _FULL.search(words):
            raise BatchFull(f"Cobalt takes no more batch jobs of ours just now: {words}")
        raise SubmissionRefused(words)

    def status_argv(self) -> Sequence[str]:
        """Ask for all batch jobs. As no ids are named, an answer has a heading, even if there are none.

        The columns are ours, whatever the user's environment says.
        """
        return ["env", "-u", "CQSTAT_HEADER", "-u", "QSTAT_HEADER", "qstat", "--header", ":".join(COLUMNS)]

    def read_status(self, spoken: Spoken) -> Mapping[str, BatchStatus]:
        """Give what was said about each batch job. An answer without a heading says nothing about any."""
        heading, rows = _table(spoken.out)
        if spoken.exit_code != 0 or not heading:
            raise BatchUnreachable(f"Cobalt does not tell of its queue: {spoken.said(but=_CHATTER)}")
        said = sorted(_statuses(heading, rows), key=lambda one: (len(one.id), one.id))
        return {one.id: one for one in said}

    def accounting_argv(self, gone: Gone) -> Sequence[str]:
        """Ask for the ends of the logs of batch jobs that left the queue; a log that is not there says nothing."""
        logs = [str(folder / f"{number}.cobaltlog") for number, folder in gone.items() if folder is not None]
        return ["tail", "-v", "-n", "50", "--", *logs] if logs else []

    def read_accounting(self, spoken: Spoken) -> Mapping[str, BatchStatus]:
        """Give how each batch job ended whose log tells it."""
        troubles = [line for line in spoken.err.splitlines() if "No such file" not in line]
        if spoken.exit_code != 0 and troubles and not spoken.out:
            raise BatchUnreachable("; ".join(troubles))
        said: dict[str, BatchStatus] = {}
        number = ""
        for line in spoken.out.split("\n"):
            if heading := _HEADING.fullmatch(line):
                number = heading[1]
            elif number and (state := _meaning(line)) is not None:
                said[number] = BatchStatus(id=number, state=state, words=line.partition(": ")[2].strip())
        return {number: one for number, one in said.items() if one.state.ended}

    def cancel_argv(self, ids: Sequence[str]) -> Sequence[str]:
        """Give the command that ends these batch jobs; those that are gone do no harm."""
        return ["qdel", *ids]


def _table(out: str) -> tuple[str, list[str]]:
    """Give the heading with our columns and the rows below its rule; an empty heading if there is none."""
    lines = out.split("\n")
    for below, (heading, rule) in enumerate(itertools.pairwise(lines), start=2):
        if tuple(heading.split()) == COLUMNS and re.fullmatch(r"=+\s*", rule):
            return heading, lines[below:]
    return "", []


def _statuses(heading: str, rows: Sequence[str]) -> Iterator[BatchStatus]:
    """Read the rows: each cell begins under the head of its column, and a batch id is a number."""
    starts = [heading.index(name) for name in COLUMNS]
    for row in rows:
        cells = [row[start:end].strip() for start, end in zip(starts, [*starts[1:], None], strict=True)]
        number, word, name, place = cells
        if re.fullmatch(r"[0-9]+", number):
            words = f"{word} on {place}" if place not in {"", "None"} else word
            words = f"{word} {NEVER_RUNS}" if word == NEVER else words
            yield BatchStatus(id=number, state=VOCABULARY.translate(word), words=words, tag=name)


def _meaning(line: str) -> BatchState | None:
    """Give what a line of a log means; None: nothing that we look for."""
    dated = _DATED.match(line)
    if dated is None:
        return None
    return next((state for pattern, state in ENDS if pattern.match(line, dated.end())), None)
