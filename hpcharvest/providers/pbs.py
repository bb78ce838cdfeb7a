"""The dialects of PBS Professional (OpenPBS) and Torque: one language in two variants, which are rows of a table.

PBS was checked against recordings of OpenPBS 23.06, beside it its reference guide; Torque against its administrator's
guide only. Everybody's jobs are asked for in JSON, since in the text form a variable of somebody's job may look like
anything; ours, by id, in the text form, since in JSON newer servers tell of the first id only (openpbs issue 2672).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from hpcharvest.errors import BatchFull, BatchUnreachable, SubmissionRefused, SubmissionUnknown
from hpcharvest.model.shape import NodeShape
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
from hpcharvest.providers.pbs_answers import Attributes, read_json, read_text
from hpcharvest.providers.pbs_ends import PBS_CODES, TORQUE_CODES, exit_status, how_it_ended
from hpcharvest.providers.pbs_json import JOB_ID

VOCABULARY = Vocabulary(
    words={
        "Q": BatchState.PENDING,
        "H": BatchState.PENDING,
        "W": BatchState.PENDING,
        # On its way to another queue, or its files are coming.
        "T": BatchState.PENDING,
        "R": BatchState.RUNNING,
        # Its end is being dealt with, and may yet become another start.
        "E": BatchState.RUNNING,
        # Suspended for somebody more important, or while somebody sits at the node: it goes on from where it was.
        "S": BatchState.RUNNING,
        "U": BatchState.RUNNING,
        "B": BatchState.RUNNING,
    }
)
"""What the letters say of who is alive. Left out on purpose: M, which another server has now, and X, for parts only."""

NEVER = re.compile(r"Can Never Run|too many failed attempts")
"""What a comment has in it of who waits for ever, unless somebody changes it or the cluster."""

_FINISHED_IN_PBS, _COMPLETED_IN_TORQUE = "F", "C"
_NOT_SUBMITTED = re.compile(
    r"cannot connect to server|Connection refused|[Cc]ould not connect to trqauthd|Server shutting down"
    r"|[Ii]nvalid credential|Expired credential|[Mm]unge"
)
_FULL = re.compile(
    r"would exceed .*\blimit|Maximum number of jobs|exceeds the queue limit|[Qq]ueue is not enabled|No free connections"
    r"|connection table full|Resource (temporarily unavailable|busy)|License unavailable"
)
_ANSWER_LOST = re.compile(
    r"Communication failure|End of File|Premature end of message|[Pp]rotocol error|time(d )?out|Broken pipe|reset by"
)
_NO_HISTORY = "not configured to maintain job history"
_NOT_ITS = re.compile(r"Unknown Job Id|Job has finished")
_BATCH_ID = re.compile(JOB_ID)
_PLAIN = re.compile(r"[\w@%+=:,./-]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """What differs between PBS and Torque."""

    name: str
    over: str
    """The state letter of who has ended."""
    codes: Mapping[int, BatchState]
    """Its own exit statuses."""
    chunk: Callable[[BatchRequest, NodeShape, Sequence[str]], Sequence[str]]
    """Makes the directives that ask for nodes, with what the operator adds to each node."""
    ask_all: Sequence[str]
    read_all: Callable[[str], Mapping[str, Attributes]]
    ask_gone: Sequence[str] = ()
    """The command, before the ids, that asks for jobs that left the queue; empty: it forgets them."""


def _select(request: BatchRequest, node: NodeShape, more: Sequence[str]) -> Sequence[str]:
    """Ask for chunks, each on a node of its own: without `scatter` they may all end up on one."""
    asked = {"ncpus": node.cores} | ({"ngpus": node.gpus} if node.gpus else {})
    placed = any(re.match(r"-l *place=", option) for option in request.options)
    chunks = f"-l select={request.shape.nodes}{_resources(asked, more)}"
    return [chunks] if placed else [chunks, "-l place=scatter"]


def _nodes(request: BatchRequest, node: NodeShape, more: Sequence[str]) -> Sequence[str]:
    asked = {"ppn": node.cores} | ({"gpus": node.gpus} if node.gpus else {})
    return [f"-l nodes={request.shape.nodes}{_resources(asked, more)}"]


def _resources(asked: Mapping[str, int], more: Sequence[str]) -> str:
    """Put together what a node must have; the operator's word for one comes instead of ours."""
    theirs = "".join(more)
    kept = {name: count for name, count in asked.items() if f":{name}=" not in theirs}
    return "".join(f":{name}={count}" for name, count in kept.items()) + theirs


VARIANTS = {
    variant.name: variant
    for variant in (
        Variant(
            name="pbs",
            over=_FINISHED_IN_PBS,
            codes=PBS_CODES,
            chunk=_select,
            ask_all=("qstat", "-f", "-F", "json"),
            read_all=read_json,
            ask_gone=("qstat", "-x", "-f"),
        ),
        # It shows those that ended for as long as its `keep_completed` says, and has no memory beside that.
        Variant(
            name="torque",
            over=_COMPLETED_IN_TORQUE,
            codes=TORQUE_CODES,
            chunk=_nodes,
            ask_all=("qstat", "-f"),
            read_all=read_text,
        ),
    )
}


class PbsDialect:
    """Speaks to PBS or Torque by qsub, qstat and qdel. `node`: what each node is asked to offer."""

    environment = Environment(
        # The file has a line for each process that was asked for; the first node is where the script runs.
        nodes="$(awk '!seen[$0]++' \"$PBS_NODEFILE\" | paste -sd, -)",
        batch_id="${PBS_JOBID}",
        # Nothing in a job says how often it was started: `run_count` is the server's alone, who counts starts that
        # failed as well, and may be out of reach of the nodes. So each start of a batch job makes a folder of its own,
        # which only one can do, even where the first start still lives on a node that the server has lost.
        restart=(
            '$(n=0; until mkdir "$HPCHARVEST_STARTS.$PBS_JOBID.$n" 2>/dev/null; do '
            '[ -d "$HPCHARVEST_STARTS.$PBS_JOBID.$n" ] || break; n=$((n + 1)); done; echo "$n")'
        ),
        deadline="",
    )

    def __init__(self, variant: Variant, node: NodeShape) -> None:
        self._variant = variant
        self._node = node

    def directives(self, request: BatchRequest) -> Sequence[str]:
        """Say all that is asked but for the files, whose names not every directive could hold.

        Of the operator's options those that begin with a colon, as `:system=polaris`, belong to what each node has.
        """
        shape = request.shape
        more = [option for option in request.options if option.startswith(":")]
        words = [
            f"-N {_word(request.tag)}",
            # Whoever's login shell is no bash has one here: the first line of a script counts for nothing.
            "-S /bin/bash",
            *self._variant.chunk(request, self._node, more),
            f"-l walltime={clock(shape.walltime_s)}",
            "-r n",
            "-m n",
        ]
        chosen = {"-q ": shape.partition, "-A ": request.account, "-l qos=": request.qos}
        words += [f"{name}{_word(value)}" for name, value in chosen.items() if value]
        words += [option for option in request.options if option not in more]
        return [*(f"#PBS {word}" for word in words), f"HPCHARVEST_STARTS={shlex.quote(str(request.folder / 'start'))}"]

    def submit_argv(self, request: BatchRequest) -> Sequence[str]:
        """Give the command that submits `request.script`."""
        files = {"-o": request.folder / "stdout", "-e": request.folder / "stderr"}
        return ["qsub", *(part for pair in files.items() for part in map(str, pair)), str(request.script)]

    def read_submitted(self, spoken: Spoken) -> str:
        """Find the batch id. Raise SubmissionUnknown where the server may have it nevertheless."""
        words = spoken.said()
        if spoken.exit_code == 0:
            found = [line.strip() for line in spoken.out.split("\n") if _BATCH_ID.fullmatch(line.strip())]
            if not found:
                raise SubmissionUnknown(f"qsub succeeded, but its answer has no batch id: {words!r}")
            return found[-1]
        if spoken.exit_code > 0 and _NOT_SUBMITTED.search(words):
            raise BatchUnreachable(f"{self._variant.name} takes no batch job just now: {words}")
        if spoken.exit_code < 0 or _ANSWER_LOST.search(words):
            raise SubmissionUnknown(words)
        if _FULL.search(words):
            raise BatchFull(f"{self._variant.name} takes no more batch jobs of ours just now: {words}")
        raise SubmissionRefused(words)

    def status_argv(self) -> Sequence[str]:
        """Ask for everybody's batch jobs: who asks for a user's may not ask for all attributes, nor for JSON.

        Not for those that ended (`-x`): of everybody's these may be a hundred times as many.
        """
        return self._variant.ask_all

    def read_status(self, spoken: Spoken) -> Mapping[str, BatchStatus]:
        """Give what was said about each batch job. Of an answer with an error nothing is believed.

        With its server away, qstat prints the beginning of an answer that looks as if there were no jobs.
        """
        if spoken.exit_code != 0:
            raise BatchUnreachable(spoken.said())
        said = self._told(self._variant.read_all, spoken)
        if not said and spoken.err.strip():
            raise BatchUnreachable(spoken.said())
        return said

    def accounting_argv(self, gone: Gone) -> Sequence[str]:
        """Ask what became of batch jobs that qstat shows no more, where there is a history."""
        return [*self._variant.ask_gone, *gone] if self._variant.ask_gone else ()

    def read_accounting(self, spoken: Spoken) -> Mapping[str, BatchStatus]:
        """Give what was said about each batch job: its exit code is an error if there is just one that is unknown."""
        errors = [line for line in spoken.err.splitlines() if line.strip()]
        if any(_NO_HISTORY in line for line in errors):
            return {}
        if spoken.exit_code != 0 and not (errors and all(map(_NOT_ITS.search, errors))):
            raise BatchUnreachable(spoken.said())
        return self._told(read_text, spoken)

    def cancel_argv(self, ids: Sequence[str]) -> Sequence[str]:
        """Give the command that ends these batch jobs, waiting or running."""
        return ["qdel", *ids]

    def _told(self, read: Callable[[str], Mapping[str, Attributes]], spoken: Spoken) -> Mapping[str, BatchStatus]:
        try:
            jobs = read(spoken.out)
        except ValueError as error:
            raise BatchUnreachable(f"qstat's answer makes no sense: {error}: {spoken.said()[:200]!r}") from error
        return {job: self._status(job, said) for job, said in jobs.items()}

    def _status(self, job: str, said: Attributes) -> BatchStatus:
        letter, comment = said.get("job_state", ""), " ".join(said.get("comment", "").split())
        ended = letter == self._variant.over
        state = how_it_ended(said, self._variant.codes) if ended else VOCABULARY.translate(letter)
        code = exit_status(said) if ended else None
        never = state is BatchState.PENDING and NEVER.search(comment)
        parts = [letter, f"exit status {code}" if code is not None else "", comment]
        parts.append(NEVER_RUNS if never else "")
        return BatchStatus(id=job, state=state, words=" ".join(filter(None, parts)), tag=said.get("Job_Name", ""))


def _word(text: str) -> str:
    """Give a text as one word of a directive: there is no way to quote a quote but by the other kind."""
    if _PLAIN.fullmatch(text):
        return text
    return f"'{text}'" if '"' in text else f'"{text}"'
