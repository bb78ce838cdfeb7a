"""LSF's command line: bsub, bjobs, bkill, bhosts, bslots and bqueues, as IBM's documentation of LSF 10.1 has them.

Unverified: no real LSF was there to be recorded. Batch jobs are started as on Summit, by a node of its own, which comes
first among their hosts and has one slot. Left out: the report that LSF writes below a batch job's output, and that
its commands ask again and again while it is down.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import shlex
import time
from typing import TYPE_CHECKING, Any

from hpcharvest.sandbox.batch import client
from hpcharvest.sandbox.batch.errors import BatchError, UnreachableError
from hpcharvest.sandbox.batch.faces.leisure import free_nodes
from hpcharvest.sandbox.batch.faces.voice import or_away, refuse, say

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_FAILED = 255
_ALONE = {"-rn", "-r", "-N", "-B", "-x", "-H"}
"""Options of bsub without a value."""
_STATES = {"PENDING": "PEND", "RUNNING": "RUN", "COMPLETED": "DONE"}
_REASONS = {
    "TIMEOUT": "TERM_RUNLIMIT: job killed after reaching LSF run time limit",
    "CANCELLED": "TERM_OWNER: job killed by owner",
    "PREEMPTED": "TERM_PREEMPT: job killed after preemption",
    "NODE_FAIL": "TERM_ZOMBIE: job exited while LSF is not available",
}
_WRAPPER = """\
#!/bin/bash
export LSB_JOBID="$HPCHARVEST_BATCH_JOBID" LSB_JOBNAME={name} LSB_QUEUE={queue} LSB_SUB_HOST="$(hostname)"
export LSB_DJOB_HOSTFILE={work}/"$LSB_JOBID"/hostfile
echo batch1 >"$LSB_DJOB_HOSTFILE"
for host in ${{HPCHARVEST_BATCH_NODELIST//,/ }}; do
    for ((slot = 0; slot < HPCHARVEST_BATCH_CORES_PER_NODE; slot++)); do echo "$host"; done
done >>"$LSB_DJOB_HOSTFILE"
export LSB_HOSTS="$(paste -sd' ' "$LSB_DJOB_HOSTFILE")"
exec /bin/sh -c {command}
"""


def bsub(spool: Path, arguments: Sequence[str]) -> int:
    """Submit a command line, which a shell will read; say the batch job's id."""
    options, command = _options(arguments)
    info = client.ask(spool, {"op": "info"})
    limits = {queue["name"]: queue["max_walltime_s"] for queue in info["queues"]}
    queue = options.get("-q") or next(iter(limits))
    nodes, walltime_s = int(options.get("-nnodes", 1)), _seconds(options["-W"]) if "-W" in options else None
    wrong = ""
    if not command:
        wrong = "No command is specified"
    elif queue not in limits:
        wrong = f"{queue}: No such queue"
    elif walltime_s and walltime_s > limits[queue]:
        wrong = "RUNLIMIT: Cannot exceed queue's hard limit(s)"
    elif nodes > info["limits"]["nodes"]:
        wrong = "Too many processors requested"
    if wrong:
        return refuse(f"{wrong}. Job not submitted.", code=_FAILED)
    wishes = {"nodes": nodes, "walltime": walltime_s, "queue": queue, "comment": json.dumps({"nodes": nodes})}
    try:
        number = client.ask(spool, _submission(spool, options, command, wishes))
    except UnreachableError:
        raise
    except BatchError:
        return refuse("Pending job threshold reached. Retrying in 60 seconds...", code=_FAILED)
    say(f"Job <{number}> is submitted to {'' if '-q' in options else 'default '}queue <{queue}>.")
    return 0


def bjobs(spool: Path, arguments: Sequence[str]) -> int:
    """Tell of batch jobs; with -a also of those that ended."""
    words = list(arguments)
    form = words.pop(words.index("-o") + 1) if "-o" in words else ""
    ids = [int(word) for word in words if word.isdigit()]
    user = os.getuid()
    asked = {"op": "status", "ids": ids or None, "history_s": None}
    jobs = [job for job in client.ask(spool, asked) if job["user"] == user]
    if ids and not jobs:
        return refuse(*(f"Job <{number}> is not found" for number in ids), code=_FAILED)
    shown = [job for job in jobs if ids or "-a" in words or job["state"] in {"PENDING", "RUNNING"}]
    if not shown:
        return refuse("No job found" if "-a" in words else "No unfinished job found", code=0)
    head, rows = _custom(form, shown) if form else _default(shown)
    say("\n".join(rows if "-noheader" in words else [head, *rows]))
    return 0


def bkill(spool: Path, arguments: Sequence[str]) -> int:
    """Kill batch jobs; say of each what becomes of it."""
    ids = [int(word) for word in arguments if word.isdigit()]
    states = {job["id"]: job["state"] for job in client.ask(spool, {"op": "status", "ids": ids})}
    alive = [number for number in ids if states.get(number) in {"PENDING", "RUNNING"}]
    client.ask(spool, {"op": "cancel", "ids": alive})
    for number in alive:
        say(f"Job <{number}> is being terminated")
    gone = [number for number in ids if number not in alive]
    answers = {True: "Job has already finished", False: "No matching job found"}
    return refuse(*(f"Job <{n}>: {answers[n in states]}" for n in gone), code=_FAILED if gone else 0)


def bhosts(spool: Path, arguments: Sequence[str]) -> int:
    """Tell of each host its state and its slots."""
    del arguments
    nodes = client.ask(spool, {"op": "info"})["nodes"]
    row = "{:<18} {:<14} {:>5} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6}"
    say(row.format("HOST_NAME", "STATUS", "JL/U", "MAX", "NJOBS", "RUN", "SSUSP", "USUSP", "RSV"))
    for node in nodes:
        busy = node["cores"] - node["free"] if node["state"] == "up" else 0
        state = "unavail" if node["state"] == "down" else "ok" if node["free"] else "closed"
        say(row.format(node["name"], state, "-", node["cores"], busy, busy, 0, 0, 0))
    return 0


def bslots(spool: Path, arguments: Sequence[str]) -> int:
    """Tell of the slots that are free, and for how long: for ever, or, while others wait, not at all."""
    del arguments
    free = sum(node["free"] for node in free_nodes(spool, client.ask(spool, {"op": "info"})))
    if not free:
        return refuse("No backfill window exists at this time", code=0)
    say(f"{'SLOTS':<15}RUNTIME\n{free:<15}UNLIMITED")
    return 0


def bqueues(spool: Path, arguments: Sequence[str]) -> int:
    """Tell of each queue how many slots its batch jobs want and have."""
    del arguments
    info = client.ask(spool, {"op": "info"})
    jobs = client.ask(spool, {"op": "status", "ids": None})
    row = "{:<15} {:>4}  {:<14} {:>4} {:>4} {:>4} {:>4} {:>5} {:>5} {:>5} {:>5}"
    say(row.format("QUEUE_NAME", "PRIO", "STATUS", "MAX", "JL/U", "JL/P", "JL/H", "NJOBS", "PEND", "RUN", "SUSP"))
    cores = info["limits"]["cores_per_node"]
    for queue in info["queues"]:
        ours = [job for job in jobs if job["queue"] == queue["name"]]
        waits, runs = (
            sum(json.loads(job["comment"])["nodes"] * cores for job in ours if job["state"] == state)
            for state in ("PENDING", "RUNNING")
        )
        say(row.format(queue["name"], 30, "Open:Active", "-", "-", "-", "-", waits + runs, waits, runs, 0))
    return 0


def _options(arguments: Sequence[str]) -> tuple[dict[str, str], str]:
    """Give the options of bsub, and the command line that follows."""
    options: dict[str, str] = {}
    words = list(arguments)
    while words and words[0].startswith("-"):
        name = words.pop(0)
        options[name] = "" if name in _ALONE or not words else words.pop(0)
    return options, " ".join(words)


def _seconds(text: str) -> int:
    hours, _, minutes = text.rpartition(":")
    return (int(hours or 0) * 60 + int(minutes)) * 60


def _submission(spool: Path, options: dict[str, str], command: str, wishes: dict[str, Any]) -> dict[str, Any]:
    if "-wa" in options:
        wishes["signal"] = f"{options['-wa']}@{_seconds(options['-wt'])}"
    for option, wish in (("-J", "name"), ("-o", "output"), ("-e", "error"), ("-cwd", "cwd")):
        wishes[wish] = options[option].replace("%J", "%j") if option in options else None
    request = client.submission(os.devnull, **wishes)
    request["script"] = _WRAPPER.format(
        name=shlex.quote(options.get("-J", command)),
        queue=shlex.quote(wishes["queue"]),
        work=shlex.quote(str(spool.absolute() / "work")),
        command=shlex.quote(command),
    )
    return request


def _custom(form: str, jobs: Sequence[dict[str, Any]]) -> tuple[str, list[str]]:
    """Give the heading and the lines of a format such as `jobid stat delimiter='^'`."""
    found = re.search(r"delimiter=(['\"])(.)\1", form)
    delimiter = found[2] if found else " "
    fields = [word.partition(":")[0] for word in form.split() if not word.startswith("delimiter=")]
    rows = [delimiter.join(_values(job)[field] for field in fields) for job in jobs]
    return delimiter.join(field.upper() for field in fields), rows


def _default(jobs: Sequence[dict[str, Any]]) -> tuple[str, list[str]]:
    row = "{:<7} {:<7} {:<5} {:<10} {:<11} {:<11} {:<10} {}"
    head = row.format("JOBID", "USER", "STAT", "QUEUE", "FROM_HOST", "EXEC_HOST", "JOB_NAME", "SUBMIT_TIME")
    fields = ("jobid", "user", "stat", "queue", "from_host", "first_host", "job_name", "submit_time")
    return head, [row.format(*(_values(job)[field] for field in fields)) for job in jobs]


def _values(job: dict[str, Any]) -> dict[str, str]:
    code = job["exit_code"]
    return {
        "jobid": str(job["id"]),
        "user": pwd.getpwuid(job["user"]).pw_name,
        "stat": _STATES.get(job["state"], "EXIT"),
        "exit_code": str(code) if code else "-",
        "exit_reason": _REASONS.get(job["state"], "-"),
        "job_name": job["name"],
        "pend_reason": job["reason"] or "New job is waiting for scheduling;" if job["state"] == "PENDING" else "-",
        "queue": job["queue"],
        "from_host": os.uname().nodename,
        "first_host": "batch1" if job["nodes"] else "",
        "submit_time": time.strftime("%b %d %H:%M", time.localtime(job["submit_time"])),
    }


COMMANDS = {
    command.__name__: or_away(command, "LSF is down. Please wait ...", code=_FAILED)
    for command in (bsub, bjobs, bkill, bhosts, bslots, bqueues)
}
