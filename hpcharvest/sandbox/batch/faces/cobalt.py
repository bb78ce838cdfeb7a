"""Cobalt's command line: qsub, qstat, qdel, nodelist and showres, held to recordings of Cobalt 1.0.33.

As there, a batch job that has ended is not shown any more, and its log (`cobalt_log.py`) tells how it ended. Left out:
holds, dependencies, reservations, a shortest walltime (which sites choose), and the second that qdel sleeps.
"""

from __future__ import annotations

import json
import optparse
import os
import pwd
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpcharvest.sandbox.batch import client
from hpcharvest.sandbox.batch.errors import RefusedError, UnreachableError
from hpcharvest.sandbox.batch.faces import cobalt_log
from hpcharvest.sandbox.batch.faces.cobalt_table import DEFAULT, FULL, LONG, cells, table, upright
from hpcharvest.sandbox.batch.faces.leisure import free_nodes
from hpcharvest.sandbox.batch.faces.voice import KEPT, clock, refuse, say

if TYPE_CHECKING:
    from collections.abc import Sequence

_AWAY = "Proxy.py     :L#422:cn:queue-manager"
_NO_HANDLERS = 'No handlers could be found for logger "Proxy"'
_USAGE = """\
Usage: qsub.py --help
Usage: qsub.py [options] <executable> [<excutable options>]

Refer to man pages for JOBID EXPANSION and SCRIPT JOB DIRECTIVES.

"""
"""What Cobalt's jobs have of the environment of qsub, and what their login gives them."""
_WRAPPER = """\
#!/bin/bash
export COBALT_JOBID="$HPCHARVEST_BATCH_JOBID" COBALT_PARTNAME="$HPCHARVEST_BATCH_NODELIST"
export COBALT_PARTSIZE="$HPCHARVEST_BATCH_NNODES" COBALT_JOBSIZE="$HPCHARVEST_BATCH_NNODES"
export COBALT_STARTTIME="$(date +%s)" COBALT_ENDTIME="$HPCHARVEST_BATCH_DEADLINE"
export COBALT_NODEFILE={work}/"$COBALT_JOBID"/nodefile
tr , '\\n' <<<"$HPCHARVEST_BATCH_NODELIST" >"$COBALT_NODEFILE"
exec {command}
"""


def qsub(spool: Path, arguments: Sequence[str]) -> int:
    """Submit an executable; print the batch job's id."""
    asked = _asked(arguments)
    if isinstance(asked, str):
        return refuse(asked)
    if not asked[1]:
        say(_USAGE)
        return refuse("No executable or script specified", "")
    return _submit(spool, arguments, *asked)


def qstat(spool: Path, arguments: Sequence[str]) -> int:
    """Print a table of batch jobs that have not ended, or of queues."""
    options, names = _qstat_options().parse_args(list(arguments))
    try:
        info = client.ask(spool, {"op": "info"})
        queues = [queue["name"] for queue in info["queues"]]
        wrong = [name for name in names if not name.isdigit() and name not in queues]
        if wrong:
            return refuse(f"{wrong[0]} is not a valid jobid or queue name")
        jobs = [job for job in _live(spool) if not names or str(job["id"]) in names or job["queue"] in names]
    except UnreachableError:
        return refuse(_component("get_queues"))
    if options.queues:
        say(table(*_queues(info)), end="")
        return 0
    if names and not jobs:
        return 1
    columns = _columns(options)
    show = upright if options.long else table
    say(show(columns, cells(jobs, columns, time.time())), end="")
    return 0


def qdel(spool: Path, arguments: Sequence[str]) -> int:
    """Delete batch jobs; of those that are not there, nothing is said."""
    try:
        jobs = [job for job in _live(spool) if str(job["id"]) in arguments]
        for job in jobs:
            by = pwd.getpwuid(os.getuid()).pw_name
            cobalt_log.write(*cobalt_log.of(job), cobalt_log.deletion(job, by), time.time())
        if jobs:
            client.ask(spool, {"op": "cancel", "ids": [job["id"] for job in jobs]})
    except UnreachableError:
        return refuse(_component("del_jobs"))
    if jobs:
        say("      Deleted Jobs")
        say(table(("JobID", "User"), cells(jobs, ("JobID", "User"), time.time())), end="")
    return 0


def nodelist(spool: Path, arguments: Sequence[str]) -> int:
    """Print a table of all nodes: one that is idle may be had for ever, or, while others wait, not at all."""
    del arguments
    try:
        info = client.ask(spool, {"op": "info"})
        free = [node["name"] for node in free_nodes(spool, info)]
    except UnreachableError:
        return refuse(_component("get_nodes"))
    queues = ":".join(sorted(queue["name"] for queue in info["queues"]))
    rows = []
    for node in info["nodes"]:
        state = _node_state(node)
        held = state == "idle" and node["name"] not in free
        rows.append((node["name"], queues, state, clock(0) if held else "-"))
    say(table(("Host", "Queue", "State", "Backfill"), rows, end=""), end="")
    return 0


def showres(spool: Path, arguments: Sequence[str]) -> int:
    """Print the heading of a table of reservations: there are none."""
    del spool
    parser = optparse.OptionParser(
        usage="showres [-l] [-x] [--oldts] [--version]", prog="showres.py", add_help_option=False
    )
    parser.add_option("-l", dest="long", action="store_true")
    parser.add_option("-x", dest="extra", action="store_true")
    parser.add_option("--oldts", action="store_true")
    options, _ = parser.parse_args(list(arguments))
    cycle = ["End Time", "Cycle Time"] if options.long or options.extra else []
    extra = ["Project", "ResID", "CycleID"] if options.extra else []
    before = ["Reservation", "Queue", "User", "Start", "Duration"]
    say(table([*before, *cycle, "Passthrough", "Partitions", *extra, "Remaining", "T-Minus"], []), end="")
    return 0


def _qstat_options() -> optparse.OptionParser:
    parser = optparse.OptionParser(prog="qstat.py", add_help_option=False)
    parser.add_option("-f", "--full", action="store_true")
    parser.add_option("-l", "--long", action="store_true")
    parser.add_option("-Q", dest="queues", action="store_true")
    parser.add_option("--header")
    return parser


def _qsub_options() -> optparse.OptionParser:
    parser = optparse.OptionParser(prog="qsub.py", add_help_option=False)
    parser.disable_interspersed_args()
    parser.add_option("-n", "--nodecount", type="int")
    parser.add_option("-t", "--time")
    for short, name in (("-q", "queue"), ("-A", "project"), ("-O", "outputprefix"), ("-o", "output"), ("-e", "error")):
        parser.add_option(short, f"--{name}")
    for name in ("debuglog", "cwd", "env", "attrs", "jobname", "mode", "proccount"):
        parser.add_option(f"--{name}")
    return parser


def _asked(arguments: Sequence[str]) -> tuple[Any, list[str]] | str:
    """Give the options, completed, and the words of the executable; or what is wrong with them."""
    options, words = _qsub_options().parse_args(list(arguments))
    if not words:
        return options, []
    # As in Cobalt's source, which takes blanks out.
    script = Path(options.cwd or ".", words[0].replace(" ", "")).absolute()
    if not script.is_file():
        return f"command {words[0]} not found, or is not a file"
    if not os.access(script, os.X_OK | os.R_OK):
        return f"command {script} is not executable"
    options, words = _qsub_options().parse_args([*_directives(script), *arguments])
    if options.time is None:
        return "'time' not provided"
    if options.nodecount is None:
        return "'nodecount' not provided"
    options.cwd = str(Path(options.cwd or ".").absolute())
    prefix = options.outputprefix or "$jobid"
    options.output = _place(options, options.output or f"{prefix}.output")
    options.error = _place(options, options.error or f"{prefix}.error")
    options.debuglog = _place(options, options.debuglog or f"{prefix}.cobaltlog")
    options.minutes = _minutes(options.time)
    return options, [str(script), *words[1:]]


def _directives(script: Path) -> list[str]:
    """Give the words of the `#COBALT` lines directly below the first line; quotes mean nothing there."""
    words: list[str] = []
    for line in script.read_text(errors="replace").splitlines()[1:]:
        if not line.startswith("#COBALT "):
            break
        words += line.removeprefix("#COBALT ").split()
    return words


def _place(options: Any, name: str) -> str:
    return str(Path(options.cwd, name))


def _minutes(text: str) -> int:
    hours, minutes, _ = ["0", "0", *text.split(":"), "0"][-3:] if ":" in text else ["0", text, "0"]
    return int(hours) * 60 + int(minutes)


def _fault(info: dict[str, Any], options: Any) -> str:
    """Give what the queue manager has against it; empty: nothing. Chooses the queue if none was named."""
    limits = {queue["name"]: queue["max_walltime_s"] for queue in info["queues"]}
    options.queue = options.queue or next(iter(limits))
    if options.queue not in limits:
        return f"trying to add job to non-existent queue '{options.queue}'"
    longest = limits[options.queue]
    if options.minutes * 60 > longest:
        return f"Walltime greater than the '{options.queue}' queue max walltime of {clock(longest)}\\n"
    return ""


def _submission(spool: Path, options: Any, words: list[str]) -> dict[str, Any]:
    request = client.submission(
        words[0],
        nodes=options.nodecount,
        walltime=float(options.minutes * 60),
        name=(options.jobname or "-").replace("$jobid", "%j"),
        queue=options.queue,
        output=options.output.replace("$jobid", "%j"),
        error=options.error.replace("$jobid", "%j"),
        cwd=options.cwd,
        comment=json.dumps({"log": options.debuglog, "nodes": options.nodecount, "project": options.project}),
    )
    own = {name: value for name, value in request["environment"].items() if name in KEPT}
    request["environment"] = own | dict(pair.split("=", 1) for pair in (options.env or "").split(":") if "=" in pair)
    work = shlex.quote(str(spool.absolute() / "work"))
    request["script"] = _WRAPPER.format(work=work, command=shlex.join(words))
    return request


def _live(spool: Path) -> list[dict[str, Any]]:
    """Give the batch jobs that have not ended; before, those that have are written off in their logs."""
    jobs: list[dict[str, Any]] = client.ask(spool, {"op": "status", "ids": None, "history_s": None})
    cobalt_log.write_ends(spool, jobs)
    return [job for job in jobs if job["state"] in {"PENDING", "RUNNING"}]


def _columns(options: Any) -> Sequence[str]:
    """Give the columns: those asked for, those that the user has chosen once and for all, or Cobalt's."""
    kind = "_FULL" if options.full else ""
    chosen = [os.environ.get(f"{name}_HEADER{kind}") for name in ("CQSTAT", "QSTAT")]
    header = options.header or chosen[0] or chosen[1]
    if header:
        return tuple(header.split(":"))
    if options.full:
        return LONG if options.long else FULL
    return DEFAULT


def _submit(spool: Path, arguments: Sequence[str], options: Any, words: list[str]) -> int:
    try:
        info = client.ask(spool, {"op": "info"})
        if not 1 <= options.nodecount <= info["limits"]["nodes"]:
            return refuse("node count out of realistic range")
        fault = _fault(info, options)
        if fault:
            return refuse(_NO_HANDLERS, f'<Fault 1001: "{fault}">')
        number = client.ask(spool, _submission(spool, options, words))
    except UnreachableError:
        return refuse(_AWAY)
    except RefusedError:
        limit = info["limits"]["max_jobs_per_user"]
        full = f"The limit of {limit} jobs per user in the '{options.queue}' queue has been reached"
        return refuse(_NO_HANDLERS, f'<Fault 1001: "{full}\\n">')
    cobalt_log.begin(options.debuglog, number, f"qsub {' '.join(arguments)}", options.cwd)
    say(str(number))
    return 0


def _queues(info: dict[str, Any]) -> tuple[Sequence[str], list[tuple[str, ...]]]:
    head = ["Name", "Users", "Groups", "MinTime", "MaxTime", "MaxRunning", "MaxQueued", "MaxUserNodes"]
    head += ["MaxNodeHours", "TotalNodes", "State"]
    most = str(info["limits"]["max_jobs_per_user"])
    rows = [
        (queue["name"], *["None"] * 3, clock(queue["max_walltime_s"]), "None", most, *["None"] * 3, "running")
        for queue in info["queues"]
    ]
    return head, rows


def _node_state(node: dict[str, Any]) -> str:
    if node["state"] == "down":
        return "down"
    return "idle" if node["free"] else "allocated"


def _component(call: str) -> str:
    what = f"Following exception occurred while trying to execute queue-manager.{call}"
    return f"component error: {what}: {_AWAY}\n"


COMMANDS = {"qsub": qsub, "qstat": qstat, "qdel": qdel, "nodelist": nodelist, "showres": showres}
