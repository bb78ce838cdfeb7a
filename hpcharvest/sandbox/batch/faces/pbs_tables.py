"""The tables of qstat: jobs in short, jobs in detail, queues."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from hpcharvest.sandbox.batch.faces.pbs_jobs import comment, exec_vnode, letter, vnodes
from hpcharvest.sandbox.batch.faces.pbs_submit import submission_of, user
from hpcharvest.sandbox.batch.faces.pbs_words import SERVER, VERSION, as_json, as_text, head, show
from hpcharvest.sandbox.batch.faces.voice import clock

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_SHORT = """\
Job id            Name             User              Time Use S Queue
----------------  ---------------- ----------------  -------- - -----"""
_DETAILED = """\

{server}:\x20
{top}                                                            Req'd  Req'd   {middle}
Job ID          Username Queue    Jobname    SessID NDS TSK Memory Time  S Time
--------------- -------- -------- ---------- ------ --- --- ------ ----- - -----"""
_QUEUES = """\
Queue              Max   Tot Ena Str   Que   Run   Hld   Wat   Trn   Ext Type
---------------- ----- ----- --- --- ----- ----- ----- ----- ----- ----- ----"""
_SERVERS = """\
Server             Max   Tot   Que   Run   Hld   Wat   Trn   Ext Status
---------------- ----- ----- ----- ----- ----- ----- ----- ----- -----------"""
_COMMENT = 75


def short(jobs: Sequence[Mapping[str, Any]], *, over: str = "F") -> None:
    """Print what plain qstat does, nothing at all without jobs; `over` is the letter of those that ended."""
    if jobs:
        show(_SHORT.splitlines())
    for job in jobs:
        used = "0" if job["start_time"] is None else "00:00:00"
        name = submission_of(job).name
        show(
            [
                (
                    f"{job['id']}.{SERVER:<{16 - len(str(job['id']))}} {name:<16.16} {user():<16} {used:>9} "
                    f"{letter(job).replace('F', over)} {job['queue']:<16}"
                )
            ]
        )


def detailed(jobs: Iterable[Mapping[str, Any]], info: Mapping[str, Any], chosen: Mapping[str, str]) -> None:
    """Print what `qstat -a` does; with `s` the comments, with `T` estimated starts, of which there are none."""
    rows = list(jobs)
    if not rows:
        return
    estimated = "T" in chosen
    top = " " * 75 + "Est\n" if estimated else ""
    show(_DETAILED.format(server=SERVER, top=top, middle="Start" if estimated else "Elap").splitlines())
    for job in rows:
        submission, shape = submission_of(job), submission_of(job).shape
        started = job["start_time"] is not None
        session = f"{job['id'] + 1000:>6}" if started else "   -- "
        elapsed = (job["end_time"] or time.time()) - job["start_time"] if started else 0
        last = "   --" if estimated else clock(elapsed)[:-3] if started else "  -- "
        total = shape.chunks * shape.ncpus
        show(
            [
                (
                    f"{job['id']}.{SERVER:<{14 - len(str(job['id']))}} {user():<8.8} {job['queue']:<8.8} "
                    f"{submission.name:<10.10} {session} {shape.chunks:>3} {total:>3}    --  "
                    f"{clock(job['walltime_s'])[:-3]} {letter(job)} {last}"
                )
            ]
        )
        if "s" in chosen:
            placed = exec_vnode(vnodes(job, submission, info["limits"]["cores_per_node"]), submission)
            text = comment(job, info, placed) if started or letter(job) == "Q" else ""
            folded = text if "w" in chosen or len(text) <= _COMMENT else f"{text[: _COMMENT - 3]}..."
            show([f"   {folded}" if text else "    -- "])


def queues(info: Mapping[str, Any], jobs: Sequence[Mapping[str, Any]], *, full: bool, in_json: bool) -> None:
    """Print what `qstat -Q` does, and with `-f`, and with `-F json`."""
    told = {queue["name"]: _queue(queue, jobs) for queue in info["queues"]}
    if in_json:
        show([as_json(head() | {"Queue": told})])
        return
    if full:
        for name, queue in told.items():
            show([f"Queue: {name}", *as_text(queue), ""])
        return
    show(_QUEUES.splitlines())
    for name, queue in told.items():
        here = [job for job in jobs if job["queue"] == name]
        waiting, running = (sum(job["state"] == state for job in here) for state in ("PENDING", "RUNNING"))
        kind = "Exe*"
        counts = " ".join(f"{count:>5}" for count in (waiting, running, 0, 0, 0, 0))
        show([f"{name:<16} {0:>5} {queue['total_jobs']:>5} yes yes {counts} {kind}"])


def server(info: Mapping[str, Any], jobs: Sequence[Mapping[str, Any]], *, full: bool, in_json: bool) -> None:
    """Print what `qstat -B` does, and with `-f`, and with `-F json`: what the embedded batch system has of it."""
    told = {
        "server_state": "Active",
        "server_host": SERVER,
        "scheduling": "True",
        **_counts(jobs),
        "default_queue": info["queues"][0]["name"],
        "query_other_jobs": "True",
        "resources_assigned": _assigned(jobs),
        "pbs_version": VERSION,
        "job_history_enable": "True",
    }
    if in_json:
        show([as_json(head() | {"Server": {SERVER: told}})])
    elif full:
        show([f"Server: {SERVER}", *as_text(told), ""])
    else:
        waiting, running = (sum(job["state"] == state for job in jobs) for state in ("PENDING", "RUNNING"))
        counts = " ".join(f"{count:>5}" for count in (0, told["total_jobs"], waiting, running, 0, 0, 0, 0))
        show([*_SERVERS.splitlines(), f"{SERVER:<16} {counts} {'Active':<10}"])


def _queue(queue: Mapping[str, Any], jobs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    here = [job for job in jobs if job["queue"] == queue["name"]]
    return {
        "queue_type": "Execution",
        **_counts(here),
        "resources_max": {"walltime": clock(queue["max_walltime_s"])},
        "resources_assigned": _assigned(here),
        "enabled": "True",
        "started": "True",
    }


def _counts(jobs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    waiting, running = (sum(job["state"] == state for job in jobs) for state in ("PENDING", "RUNNING"))
    counts = f"Transit:0 Queued:{waiting} Held:0 Waiting:0 Running:{running} Exiting:0 Begun:0 "
    return {"total_jobs": waiting + running, "state_count": counts}


def _assigned(jobs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    running = [submission_of(job).shape for job in jobs if job["state"] == "RUNNING"]
    taken = {"ncpus": sum(one.chunks * one.ncpus for one in running), "nodect": sum(one.chunks for one in running)}
    return {"mem": "0gb", **taken}
