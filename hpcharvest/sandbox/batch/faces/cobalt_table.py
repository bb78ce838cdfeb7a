"""What Cobalt's tables have in their cells, and how it prints them."""

from __future__ import annotations

import json
import pwd
import re
from typing import TYPE_CHECKING, Any

from hpcharvest.sandbox.batch.faces import cobalt_log
from hpcharvest.sandbox.batch.faces.voice import clock

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULT = ("JobID", "User", "WallTime", "Nodes", "State", "Location")
FULL = (
    *("JobID", "JobName", "User", "WallTime", "QueuedTime", "RunTime", "TimeRemaining", "Nodes", "State"),
    *("Location", "Mode", "Procs", "Preemptable", "Queue", "StartTime", "Index"),
)
LONG = (
    *FULL[:13],
    *("User_Hold", "Admin_Hold", "Queue", "StartTime", "Index", "SubmitTime", "Path", "OutputDir", "ErrorPath"),
    *("OutputPath", "Envs", "Command", "Args", "Kernel", "KernelOptions", "ION_Kernel", "ION_KernelOptions"),
    *("Project", "Dependencies", "S", "Notify", "Score", "Maxtasktime", "attrs", "dep_frac", "user_list"),
    *("Geometry", "Est_Start_Time"),
)


def table(head: Sequence[str], rows: Sequence[Sequence[str]], end: str = "  ") -> str:
    """Give a table: cells as wide as the widest of their column, two blanks behind them, a rule below the heads.

    `end`: what is behind the last cell of a line; the rule counts the blanks there in any case.
    """
    widths = [max(len(row[place]) for row in (head, *rows)) + 2 for place in range(len(head))]
    lines = [
        "".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))[:-2] + end for row in (head, *rows)
    ]
    return "\n".join([lines[0], "=" * sum(widths), *lines[1:], ""])


def upright(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Give a paragraph for each row, and in it a line for each cell."""
    width = max(len(name) for name in head)
    texts = []
    for row in rows:
        first, *others = zip(head, row, strict=True)
        texts.append(f"{first[0]}: {first[1]}\n" + "".join(f"    {n.ljust(width)} : {cell}\n" for n, cell in others))
    return "\n".join(texts)


def cells(jobs: Sequence[dict[str, Any]], columns: Sequence[str], now: float) -> list[list[str]]:
    """Give the cells of batch jobs; a column that there is not has a dash."""
    width = max((len(str(job["id"])) for job in jobs), default=0)
    values = [_values(job, now) | {"jobid": str(job["id"]).rjust(width)} for job in jobs]
    return [[one.get(column.lower(), "-") for column in columns] for one in values]


def fold(names: Sequence[str]) -> str:
    """Fold the names of nodes: those that follow upon each other, as in `c[02-07]`."""
    runs: list[list[str]] = []
    for name in sorted(names):
        if runs and _follows(runs[-1][-1], name):
            runs[-1].append(name)
        else:
            runs.append([name])
    return ",".join(run[0] if len(run) == 1 else _folded(run[0], run[-1]) for run in runs)


def _values(job: dict[str, Any], now: float) -> dict[str, str]:
    about, start = json.loads(job["comment"]), job["start_time"]
    user = pwd.getpwuid(job["user"]).pw_name
    fixed = dict.fromkeys(("index", "kerneloptions", "ion_kerneloptions", "notify", "maxtasktime", "dep_frac"), "None")
    return fixed | {
        "jobname": job["name"].replace("%j", str(job["id"])),
        "user": user,
        "user_list": user,
        "walltime": clock(job["walltime_s"]),
        "queuedtime": clock((start or now) - job["submit_time"]),
        "runtime": clock(now - start) if start else "N/A",
        "timeremaining": clock(start + job["walltime_s"] - now) if start else "N/A",
        "starttime": cobalt_log.stamp(start) if start else "N/A",
        "submittime": cobalt_log.stamp(job["submit_time"]),
        "nodes": str(about["nodes"]),
        "procs": str(about["nodes"]),
        "project": str(about["project"]),
        "state": _state(job),
        "short_state": "Q" if job["state"] == "PENDING" else "R",
        "location": fold(job["nodes"]) if job["nodes"] else "None",
        "mode": "script",
        "preemptable": "False",
        "user_hold": "False",
        "admin_hold": "False",
        "queue": job["queue"],
        "outputdir": job["cwd"],
        "outputpath": str(job["output"]).replace("%j", str(job["id"])),
        "errorpath": str(job["error"]).replace("%j", str(job["id"])),
        "envs": "",
        "args": "",
        "kernel": "default",
        "ion_kernel": "default",
        "dependencies": "",
        "score": "  0.1  ",
        "attrs": "{}",
        "geometry": "Any",
        "est_start_time": "-",
    }


def _state(job: dict[str, Any]) -> str:
    if job["state"] == "PENDING":
        return "queued"
    return "killing" if cobalt_log.DELETION in cobalt_log.read(*cobalt_log.of(job)) else "running"


def _parts(name: str) -> tuple[str, str]:
    found = re.fullmatch(r"(.*?)([0-9]*)", name)
    return (found[1], found[2]) if found else (name, "")


def _follows(one: str, other: str) -> bool:
    (prefix, number), (next_prefix, next_number) = _parts(one), _parts(other)
    same = prefix == next_prefix and len(number) == len(next_number) and number != ""
    return same and int(next_number) == int(number) + 1


def _folded(first: str, last: str) -> str:
    prefix, number = _parts(first)
    return f"{prefix}[{number}-{_parts(last)[1]}]"
