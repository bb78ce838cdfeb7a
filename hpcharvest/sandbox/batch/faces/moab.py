"""Moab's command line, as much as is asked of it before Torque: showbf, showq and checkjob.

Unverified: the columns of `showbf -p NAME --blocking` are those that were read on Titan; those of showq and checkjob
were written down without a sample of their output at hand. A task is a core.
"""

from __future__ import annotations

import pwd
import time
from typing import TYPE_CHECKING, Any

from hpcharvest.sandbox.batch import client
from hpcharvest.sandbox.batch.faces.leisure import free_nodes
from hpcharvest.sandbox.batch.faces.voice import clock, or_away, refuse, say

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_STATES = {"PENDING": "Idle", "RUNNING": "Running", "COMPLETED": "Completed"}


def showbf(spool: Path, arguments: Sequence[str]) -> int:
    """Print for how long how many nodes are free now: for ever, or, while others wait, none at all."""
    words = list(arguments)
    partition = words[words.index("-p") + 1] if "-p" in words[:-1] else "base"
    free = free_nodes(spool, client.ask(spool, {"op": "info"}))
    row = "{:<12} {:>8}  {:>8}  {:>12}  {:>12}  {:>14}"
    say(row.format("Partition", "Tasks", "Nodes", "Duration", "StartOffset", "StartDate"))
    say(row.format(*("-" * width for width in (9, 5, 5, 12, 12, 14))))
    if free:
        tasks, now = sum(node["free"] for node in free), time.strftime("%H:%M:%S_%m/%d")
        say(row.format(partition, tasks, len(free), "INFINITY", "00:00:00", now))
    return 0


def showq(spool: Path, arguments: Sequence[str]) -> int:
    """Print the batch jobs that run, and those that wait."""
    del arguments
    info = client.ask(spool, {"op": "info"})
    jobs = client.ask(spool, {"op": "status", "ids": None})
    cores = info["limits"]["cores_per_node"]
    for title, state, last in (("active", "RUNNING", "STARTTIME"), ("eligible", "PENDING", "QUEUETIME")):
        chosen = [job for job in jobs if job["state"] == state]
        time_head = "REMAINING" if state == "RUNNING" else "WCLIMIT"
        say(f"{title} jobs------------------------")
        say(f"{'JOBID':<18} {'USERNAME':>11} {'STATE':>10} {'PROCS':>5} {time_head:>11} {last:>20}\n")
        for job in chosen:
            say(_row(job, cores))
        say(f"\n{len(chosen)} {title} job{'' if len(chosen) == 1 else 's'}\n")
    say("blocked jobs-----------------------\n\n0 blocked jobs\n")
    say(f"Total jobs:  {sum(job['state'] in {'RUNNING', 'PENDING'} for job in jobs)}\n")
    return 0


def checkjob(spool: Path, arguments: Sequence[str]) -> int:
    """Print what there is to know of one batch job."""
    names = [word.partition(".")[0] for word in arguments if not word.startswith("-")]
    ids = [int(name) for name in names if name.isdigit()]
    jobs = client.ask(spool, {"op": "status", "ids": ids}) if ids else []
    if not jobs:
        return refuse(f"ERROR:  invalid job specified: {''.join(names[:1])}")
    (job,) = jobs[:1]
    say(f"job {job['id']}\n\nAName: {job['name']}\nState: {_STATES.get(job['state'], 'Removed')}")
    if job["exit_code"] is not None:
        say(f"Completion Code: {job['exit_code']}")
    say(f"Creds:  user:{pwd.getpwuid(job['user']).pw_name}  class:{job['queue']}")
    if job["nodes"]:
        say(f"Allocated Nodes:\n{''.join(f'[{name}:1]' for name in job['nodes'])}")
    return 0


def _row(job: dict[str, Any], cores: int) -> str:
    since = job["start_time"] or job["submit_time"]
    left = since + job["walltime_s"] - time.time() if job["start_time"] else job["walltime_s"]
    procs = len(job["nodes"]) * cores if job["nodes"] else "-"
    user, state = pwd.getpwuid(job["user"]).pw_name, _STATES[job["state"]]
    day = time.strftime("%a %b %d %H:%M:%S", time.localtime(since))
    return f"{job['id']:<18} {user:>11} {state:>10} {procs:>5} {_clock(left):>11} {day:>20}"


def _clock(seconds: float) -> str:
    days, rest = divmod(max(0, int(seconds)), 86_400)
    return f"{days}:{clock(rest)}" if days else clock(rest)


COMMANDS = {
    command.__name__: or_away(command, "ERROR:  cannot connect to server: connection refused")
    for command in (showbf, showq, checkjob)
}
