"""The face of Torque: qsub, qstat, qdel and pbsnodes, after its administrator's guide 6.1.

UNVERIFIED: there was no Torque to record. Jobs that ended are shown as `C`, as by a server with a long
`keep_completed`. How a lost node and a preemption look is a guess: they are the scheduler's affair, and there are
several of those.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hpcharvest.sandbox.batch.faces import pbs, pbs_submit, pbs_tables
from hpcharvest.sandbox.batch.faces.pbs_jobs import attributes, exit_status, letter
from hpcharvest.sandbox.batch.faces.pbs_submit import submission_of
from hpcharvest.sandbox.batch.faces.pbs_words import (
    SERVER,
    CommandError,
    as_text,
    number_of,
    read_options,
    show,
    when,
)
from hpcharvest.sandbox.batch.faces.voice import clock, refuse

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    Job = Mapping[str, Any]

_DOWN, _UNKNOWN = 111, 153
_REFUSED = {
    38: (
        228,
        "Maximum number of jobs already in queue for user MSG=total number of current user's jobs exceeds the limit",
    ),
    170: (170, "Unknown queue MSG=cannot locate queue"),
    188: (188, "Job exceeds queue resource limits MSG=cannot locate feasible nodes or violates queue limits"),
}
_CODES = {"TIMEOUT": -11, "CANCELLED": 271, "NODE_FAIL": -4, "PREEMPTED": 271}
_COMMENTS = {"NODE_FAIL": "Job lost its node", "PREEMPTED": "Job was preempted"}
_SHARED = (
    *("Job_Name", "Job_Owner", "resources_used", "job_state", "queue", "server", "Checkpoint", "ctime", "Error_Path"),
    *("exec_host", "Hold_Types", "Join_Path", "Keep_Files", "Mail_Points", "mtime", "Output_Path", "Priority", "qtime"),
    *("Rerunable", "Resource_List", "session_id", "Variable_List", "euser", "egroup", "queue_type", "etime"),
)


def qsub(spool: Path, argv: Sequence[str]) -> int:
    """Submit a script; print the id."""
    try:
        show([pbs_submit.qsub(spool, argv, oversize=False)])
    except CommandError as error:
        if error.exit_code == pbs.DOWN:
            raise _down("qsub") from error
        code, words = _REFUSED.get(error.exit_code, (error.exit_code, ""))
        raise CommandError(code, f"qsub: submit error ({words})" if words else str(error)) from error
    return 0


def qstat(spool: Path, argv: Sequence[str]) -> int:
    """Tell about jobs, also about those that ended lately."""
    options, words = read_options(
        "qstat", argv, "fW:airnslu:RGMqQBt1xe", "usage: qstat [-f [-1]] [job_identifier...]\n"
    )
    chosen = dict(options)
    try:
        info, jobs = pbs.ask(spool, "qstat", {"op": "info"}), pbs.ask(spool, "qstat", pbs.ALL_JOBS)
    except CommandError as error:
        raise _down("qstat") from error
    if "Q" in chosen:
        pbs_tables.queues(info, jobs, full="f" in chosen, in_json=False)
        return 0
    known = {job["id"]: job for job in jobs}
    found = [known[number] for word in words if (number := number_of(word)) in known] if words else jobs
    unknown = [word.partition(".")[0] for word in words if number_of(word) not in known]
    refuse(*(f"qstat: Unknown Job Id Error {word}.{SERVER}" for word in unknown))
    if "f" in chosen:
        for job in found:
            show([f"Job Id: {job['id']}.{SERVER}", *as_text(_attributes(job, info)), ""])
    else:
        pbs_tables.short(found, over="C")
    return _UNKNOWN if unknown else 0


def qdel(spool: Path, argv: Sequence[str]) -> int:
    """End jobs."""
    _, words = read_options("qdel", argv, "aAb:cm:pt:W:", "usage: qdel [{-a | -c | -p | -t | -W delay}] JOBID...\n")
    finished = "Request invalid for state of job MSG=invalid state for job - COMPLETE {id}"
    try:
        return pbs.cancel(spool, words, unknown="Unknown Job Id Error {id}", finished=finished)
    except CommandError as error:
        raise _down("qdel") from error


def pbsnodes(spool: Path, argv: Sequence[str]) -> int:
    """Tell about nodes."""
    read_options("pbsnodes", argv, "acdlN:nopqrs:x", "usage: pbsnodes [-a] [-x] [-l [state]] [nodename ...]\n")
    try:
        info, jobs = pbs.ask(spool, "pbsnodes", {"op": "info"}), pbs.ask(spool, "pbsnodes", pbs.ALL_JOBS)
    except CommandError as error:
        raise _down("pbsnodes") from error
    for node in info["nodes"]:
        holders = [job for job in jobs if job["state"] == "RUNNING" and node["name"] in job["nodes"]]
        state = "down" if node["state"] == "down" else "job-exclusive" if holders else "free"
        slots = f"0-{node['cores'] - 1}" if node["cores"] > 1 else "0"
        said = {"state": state, "power_state": "Running", "np": node["cores"], "ntype": "cluster"}
        said |= {"jobs": ",".join(f"{slots}/{job['id']}.{SERVER}" for job in holders)} if holders else {}
        show([node["name"], *as_text(said, "     "), ""])
    return 0


def _attributes(job: Job, info: Mapping[str, Any]) -> dict[str, Any]:
    """Give what Torque says of a job: much as PBS does, but for resources and the end."""
    whole = attributes(job, info)
    shape, over = submission_of(job).shape, letter(job) == "F"
    ppn = f"{shape.chunks}:ppn={shape.mpiprocs}"
    code = _CODES.get(job["state"], exit_status(job) if over else 0)
    said = {name: whole[name] for name in _SHARED if name in whole}
    said["job_state"] = "C" if over else whole["job_state"]
    said["Resource_List"] = {"nodect": shape.chunks, "nodes": ppn, "walltime": clock(job["walltime_s"])}
    started = job["start_time"] is not None
    return {
        **said,
        **({"comment": _COMMENTS[job["state"]]} if job["state"] in _COMMENTS else {}),
        **({"exit_status": code} if over and started else {}),
        "submit_args": whole["Submit_arguments"],
        **({"start_time": when(job["start_time"]), "start_count": job["restart_count"] + 1} if started else {}),
        **({"comp_time": when(job["end_time"])} if over else {}),
        "fault_tolerant": "False",
        "job_radix": 0,
        "submit_host": SERVER,
    }


def _down(program: str) -> CommandError:
    return CommandError(_DOWN, f"{program}: cannot connect to server {SERVER} (errno=111) Connection refused")


COMMANDS = {command.__name__: pbs.guarded(command) for command in (qsub, qstat, qdel, pbsnodes)}
