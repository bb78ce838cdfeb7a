"""qsub of PBS and Torque: command line and directives in, a job of the embedded batch system out."""

from __future__ import annotations

import getpass
import json
import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpcharvest.sandbox.batch import client
from hpcharvest.sandbox.batch.errors import RefusedError, UnreachableError
from hpcharvest.sandbox.batch.faces.pbs_shape import Wanted, read_resources, wanted
from hpcharvest.sandbox.batch.faces.pbs_words import SERVER, CommandError, read_options
from hpcharvest.sandbox.batch.faces.voice import KEPT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

KNOWN = "a:A:c:C:e:fhIj:J:k:l:m:M:N:o:p:P:q:r:R:S:u:v:VW:XzZ:"
USAGE = """\
usage: qsub [-a date_time] [-A account_string] [-c interval]
\t[-C directive_prefix] [-e path] [-f ] [-h ] [-I [-X]] [-j oe|eo] [-J X-Y[:Z]]
\t[-k keep] [-l resource_list] [-m mail_options] [-M user_list]
\t[-N jobname] [-o path] [-p priority] [-P project] [-q queue] [-r y|n]
\t[-R o|e|oe] [-S path] [-u user_list] [-W otherattributes=value...]
\t[-v variable_list] [-V ] [-z] [script | -- command [arg1 ...]]
       qsub --version
"""
_NO_TERMINAL = "qsub:\tstandard input and output must be a terminal for\n\tinteractive job submission"
_BEYOND = {"a": "start times", "h": "holds", "J": "job arrays", "W": "dependencies and file staging"}

# The batch job's own text follows. Its nodes are known when it starts; its folder is the user's home.
PROLOGUE = """\
export PBS_JOBID="$HPCHARVEST_BATCH_JOBID.{server}" PBS_NODEFILE={folder}/"$HPCHARVEST_BATCH_JOBID"
mkdir -p {folder}
(IFS=, read -ra nodes <<<"$HPCHARVEST_BATCH_NODELIST"; for i in {lines}; do echo "${{nodes[i]}}"; done) >"$PBS_NODEFILE"
cd "$HOME" || exit 1
"""


@dataclass(frozen=True, kw_only=True)
class Submission:
    """What became of a command line and the directives in the script; it goes along in the embedded job's comment."""

    name: str
    queue: str
    arguments: str
    wanted: dict[str, Any]
    variables: dict[str, str]
    output: str
    error: str
    join: str = "n"
    mail: str = "a"
    account: str = ""
    rerunable: bool = True
    priority: int = 0

    @property
    def shape(self) -> Wanted:
        """What it asks for."""
        return Wanted(**self.wanted)


def submission_of(job: Mapping[str, Any]) -> Submission:
    """Find what an embedded job was submitted with; something plain for one that came another way."""
    try:
        return Submission(**json.loads(job["comment"]))
    except (ValueError, TypeError):
        shape = wanted({"walltime": str(job["walltime_s"])})
        return Submission(
            name=job["name"],
            queue=job["queue"],
            arguments="",
            wanted=asdict(shape),
            variables={},
            output="",
            error="",
        )


def qsub(spool: Path, argv: Sequence[str], *, oversize: bool = True) -> str:
    """Submit, and give the id; CommandError with PBS's own words for a no.

    With `oversize`, who wants more nodes than there are may wait for them.
    """
    options, words = read_options("qsub", argv, KNOWN, USAGE)
    if "I" in dict(options):
        raise CommandError(1, _NO_TERMINAL)
    plain = _script(words)
    chosen = _chosen([*_directives(plain["script"]), *options])
    try:
        info = client.ask(spool, {"op": "info"})
        submission = _submission(chosen, plain, argv, info)
        return f"{_submit(spool, submission, plain, info, oversize=oversize)}.{SERVER}"
    except UnreachableError as error:
        raise CommandError(162, f"Connection refused\nqsub: cannot connect to server {SERVER} (errno=15010)") from error


def _script(words: Sequence[str]) -> dict[str, Any]:
    """Read the script, and what is around us: a submission in the words of the embedded batch system."""
    if not words:
        raise CommandError(2, "qsub: this face of the embedded batch system wants a script's name")
    try:
        return client.submission(words[0])
    except OSError as error:
        raise CommandError(1, f"qsub: script file:: {error.strerror}") from error


def _directives(text: str) -> list[tuple[str, str]]:
    """Read the `#PBS` lines, up to the first line that is a command."""
    found: list[tuple[str, str]] = []
    for line in text.splitlines():
        if line.startswith("#PBS"):
            options, _ = read_options("qsub", shlex.split(line[len("#PBS") :]), KNOWN, USAGE)
            found += options
        elif line.strip() and not line.startswith(("#", ":")):
            break
    return found


def _chosen(options: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Give the last value of each option, and all of those that add up."""
    chosen: dict[str, Any] = {letter: value for letter, value in options if letter not in "lv"}
    chosen |= {many: [value for letter, value in options if letter == many] for many in "lv"}
    for letter in _BEYOND.keys() & chosen.keys():
        raise CommandError(2, f"qsub: this face of the embedded batch system knows no {_BEYOND[letter]} (-{letter})")
    return chosen


def _submission(
    chosen: Mapping[str, Any], plain: Mapping[str, Any], argv: Sequence[str], info: Mapping[str, Any]
) -> Submission:
    queues = [queue["name"] for queue in info["queues"]]
    queue = chosen.get("q") or queues[0]
    if queue not in queues:
        raise CommandError(170, "qsub: Unknown queue")
    name = chosen.get("N") or plain["script_name"]
    return Submission(
        name=name,
        queue=queue,
        arguments=" ".join(argv),
        wanted=asdict(wanted(read_resources(chosen["l"]))),
        variables=_variables(chosen, plain["environment"], plain["cwd"]),
        output=_file(chosen.get("o"), name, "o"),
        error=_file(chosen.get("e"), name, "e"),
        join=chosen.get("j", "n"),
        mail=chosen.get("m", "a"),
        account=chosen.get("A", ""),
        rerunable=chosen.get("r", "y") == "y",
        priority=int(chosen.get("p", 0)),
    )


def _file(asked: str | None, name: str, letter: str) -> str:
    """Give where a stream goes: %j is the job's number."""
    path = Path(asked.partition(":")[2] if asked and not asked.startswith("/") and ":" in asked else asked or "")
    whole = Path.cwd() / path
    if not asked:
        return str(whole / f"{name}.{letter}%j")
    return str(whole / f"%j.{SERVER}.{letter.upper()}{'U' if letter == 'o' else 'R'}" if whole.is_dir() else whole)


def _variables(chosen: Mapping[str, Any], around: Mapping[str, str], cwd: str) -> dict[str, str]:
    """Give what goes along: little of what is around us, unless more is asked for."""
    found = {f"PBS_O_{name}": around[name] for name in ("HOME", "LANG", "PATH", "SHELL") if around.get(name)}
    found |= {"PBS_O_WORKDIR": cwd, "PBS_O_SYSTEM": "Linux"}
    named = dict(around) if "V" in chosen else {}
    for part in (part for one in chosen["v"] for part in one.split(",") if part):
        name, given, value = part.partition("=")
        named[name] = value if given else around.get(name, "")
    if any(quote in value for value in named.values() for quote in "\"'"):
        raise CommandError(1, "qsub: cannot send environment with the job")
    return found | named


def _submit(
    spool: Path, submission: Submission, plain: Mapping[str, Any], info: Mapping[str, Any], *, oversize: bool
) -> int:
    shape, cores = submission.shape, info["limits"]["cores_per_node"]
    per_node = max(1, shape.per_node(cores))
    lines = [str(chunk // per_node) for chunk in range(shape.chunks) for _ in range(shape.mpiprocs)]
    prologue = PROLOGUE.format(server=SERVER, folder=shlex.quote(str(spool.absolute() / "aux")), lines=" ".join(lines))
    request = {
        **plain,
        "script": prologue + plain["script"],
        "environment": _environment(submission, plain["environment"]),
        "nodes": shape.nodes(cores) or len(info["nodes"]) + 1,
        "oversize": oversize,
        "name": submission.name,
        "comment": json.dumps(asdict(submission)),
        "queue": submission.queue,
        "priority": submission.priority,
        "requeue": submission.rerunable,
        "output": submission.error if submission.join == "eo" else submission.output,
        "error": None if submission.join in {"oe", "eo"} else submission.error,
        "walltime": shape.walltime_s,
    }
    try:
        return int(client.ask(spool, request))
    except RefusedError as error:
        raise _refusal(str(error)) from error


def _environment(submission: Submission, around: Mapping[str, str]) -> dict[str, str]:
    kept = {name: around[name] for name in KEPT if name in around}
    origin = {"PBS_O_QUEUE": submission.queue, "PBS_O_HOST": SERVER}
    return (
        kept
        | submission.variables
        | origin
        | {
            "HPCHARVEST_VIRTUAL_NODES": "1",
            "NCPUS": str(submission.shape.ncpus),
            "PBS_ENVIRONMENT": "PBS_BATCH",
            "PBS_JOBNAME": submission.name,
            "PBS_NODENUM": "0",
            "PBS_QUEUE": submission.queue,
            "PBS_TASKNUM": "1",
        }
    )


def _refusal(words: str) -> CommandError:
    if "job limit reached" in words:
        return CommandError(38, "qsub: would exceed queue generic's per-user limit of jobs in 'Q' state")
    return CommandError(188, "qsub: Job violates queue and/or server resource limits")


def user() -> str:
    """Give who submits."""
    return getpass.getuser()
