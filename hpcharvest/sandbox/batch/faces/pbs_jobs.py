"""What qstat of PBS says of an embedded job: its attributes, in the order and the spelling of the recordings."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hpcharvest.sandbox.batch.faces.pbs_submit import Submission, submission_of, user
from hpcharvest.sandbox.batch.faces.pbs_words import SERVER, when
from hpcharvest.sandbox.batch.faces.voice import clock

if TYPE_CHECKING:
    from collections.abc import Mapping

_RUNNING, _QUEUED, _TERMINATED, _FINISHED, _FAILED = 42, 10, 91, 92, 93
_SIGNAL = 256
_NO_NODES = "Not Running: Not enough free nodes available"


@dataclass(frozen=True, kw_only=True)
class End:
    """What an end looks like: substate, exit status (None: the script's own), and what the comment adds."""

    substate: int
    code: int | None
    words: str


ENDS = {
    "COMPLETED": End(substate=_FINISHED, code=None, words="and finished"),
    "FAILED": End(substate=_FAILED, code=None, words="and failed"),
    "TIMEOUT": End(substate=_FAILED, code=-29, words="and exceeded resource walltime"),
    "CANCELLED": End(substate=_TERMINATED, code=None, words="and terminated by {user}@{server}"),
    # Not on record: a MoM that is lost with a job that may not be run again, and preemption by deletion.
    "NODE_FAIL": End(substate=_FAILED, code=-20, words="and failed"),
    "PREEMPTED": End(substate=_TERMINATED, code=None, words="and terminated: preempted by deletion"),
}


def letter(job: Mapping[str, Any]) -> str:
    """Give the letter of a job's state."""
    return {"PENDING": "Q", "RUNNING": "R"}.get(job["state"], "F")


def exit_status(job: Mapping[str, Any]) -> int:
    """Give the exit status of a job that ran: negative if it is the server's, 256 and more for a signal."""
    code = ENDS[job["state"]].code
    if code is not None:
        return code
    if str(job["reason"]).startswith("could not be started"):
        return -1
    return _SIGNAL + int(job["signal"]) if job["signal"] else int(job["exit_code"] or 0)


def vnodes(job: Mapping[str, Any], submission: Submission, cores: int) -> list[str]:
    """Give the node of each chunk."""
    per_node = max(1, submission.shape.per_node(cores))
    return [job["nodes"][chunk // per_node] for chunk in range(submission.shape.chunks)] if job["nodes"] else []


def attributes(job: Mapping[str, Any], info: Mapping[str, Any]) -> dict[str, Any]:
    """Give all that is said of a job."""
    submission = submission_of(job)
    state, started = letter(job), job["start_time"] is not None
    cores = info["limits"]["cores_per_node"]
    held = vnodes(job, submission, cores)
    said = {
        "Job_Name": submission.name,
        "Job_Owner": f"{user()}@{SERVER}",
        **({"resources_used": _used(job, submission)} if started else {}),
        "job_state": state,
        "queue": job["queue"],
        "server": SERVER,
        "Checkpoint": "u",
        "ctime": when(job["submit_time"]),
        "Error_Path": f"{SERVER}:{_path(job, submission.error)}",
        **({"exec_host": _exec_host(held, submission), "exec_vnode": exec_vnode(held, submission)} if held else {}),
        "Hold_Types": "n",
        "Join_Path": submission.join,
        "Keep_Files": "n",
        "Mail_Points": submission.mail,
        "mtime": when(job["end_time"] or job["start_time"] or job["submit_time"]),
        "Output_Path": f"{SERVER}:{_path(job, submission.output)}",
        "Priority": submission.priority,
        "qtime": when(job["submit_time"]),
        "Rerunable": str(submission.rerunable),
        "Resource_List": resources(job, submission),
        "schedselect": submission.shape.select,
    }
    return said | _life(job, info, held) | _rest(job, submission, held)


def resources(job: Mapping[str, Any], submission: Submission) -> dict[str, Any]:
    """Give what a job asked for, altogether."""
    shape = submission.shape
    gpus = {"ngpus": shape.chunks * shape.ngpus} if shape.ngpus else {}
    return {
        "ncpus": shape.chunks * shape.ncpus,
        **gpus,
        "nodect": shape.chunks,
        "place": shape.place,
        "select": shape.select,
        "walltime": clock(job["walltime_s"]),
    }


def comment(job: Mapping[str, Any], info: Mapping[str, Any], placed: str) -> str:
    """Give what the scheduler, and then the server, remarked on a job."""
    submission = submission_of(job)
    cores, total = info["limits"]["cores_per_node"], len(info["nodes"])
    if job["state"] == "PENDING":
        wanted = submission.shape.nodes(cores)
        if wanted is None:
            asked = submission.shape.ncpus
            return f"Can Never Run: Insufficient amount of resource: ncpus (R: {asked} A: {cores} T: {cores})"
        return "Can Never Run: Not enough total nodes available" if wanted > total else _NO_NODES
    ran = time.strftime("Job run at %a %b %d at %H:%M", time.localtime(job["start_time"])) + f" on {placed}"
    end = ENDS.get(job["state"])
    return ran if end is None else f"{ran} {end.words.format(user=user(), server=SERVER)}"


def exec_vnode(held: list[str], submission: Submission) -> str:
    """Give the nodes with what is taken of each."""
    return "+".join(f"({node}:ncpus={submission.shape.ncpus})" for node in held)


def _exec_host(held: list[str], submission: Submission) -> str:
    ncpus = submission.shape.ncpus
    slots = [f"{node}/{held[:at].count(node)}" for at, node in enumerate(held)]
    return "+".join(slot if ncpus == 1 else f"{slot}*{ncpus}" for slot in slots)


def _used(job: Mapping[str, Any], submission: Submission) -> dict[str, Any]:
    elapsed = (job["end_time"] or time.time()) - job["start_time"]
    ncpus = submission.shape.chunks * submission.shape.ncpus
    zero = {"cpupercent": 0, "cput": "00:00:00", "mem": "0kb"}
    return {**zero, "ncpus": ncpus, "vmem": "0kb", "walltime": clock(max(0, elapsed))}


def _life(job: Mapping[str, Any], info: Mapping[str, Any], held: list[str]) -> dict[str, Any]:
    submission, state = submission_of(job), letter(job)
    started = job["start_time"] is not None
    substate = {"Q": _QUEUED, "R": _RUNNING}.get(state) or ENDS[job["state"]].substate
    return {
        **({"stime": when(job["start_time"])} if started else {}),
        **({"obittime": when(job["end_time"])} if started and state == "F" else {}),
        **({"session_id": job["id"] + 1000, "jobdir": submission.variables.get("PBS_O_HOME", "/")} if started else {}),
        "substate": substate,
        "Variable_List": {name: loose(value) for name, value in _variables(submission).items()},
        "euser": user(),
        "egroup": user(),
        **({"hashname": f"{job['id']}.{SERVER}"} if started else {}),
        "queue_rank": int(job["submit_time"] * 1e6),
        "queue_type": "E",
        **({"comment": comment(job, info, exec_vnode(held, submission))} if started or state == "Q" else {}),
        "etime": when(job["submit_time"]),
    }


def _rest(job: Mapping[str, Any], submission: Submission, held: list[str]) -> dict[str, Any]:
    over = letter(job) == "F"
    starts = job["restart_count"] + bool(held)
    account = {"Account_Name": submission.account} if submission.account else {}
    return {
        **account,
        **({"run_count": starts} if starts else {}),
        **({"Stageout_status": 1, "Exit_status": exit_status(job)} if over and held else {}),
        "Submit_arguments": submission.arguments,
        **({"history_timestamp": int(job["end_time"])} if over else {}),
        "project": "_pbs_project_default",
        **({"run_version": starts} if starts else {}),
        "Submit_Host": SERVER,
    }


def _path(job: Mapping[str, Any], path: str) -> str:
    return path.replace("%j", str(job["id"]))


def _variables(submission: Submission) -> dict[str, str]:
    return submission.variables | {"PBS_O_QUEUE": submission.queue, "PBS_O_HOST": SERVER}


def loose(value: str) -> Any:
    """Give a variable as the real JSON has it: what looks like a number or like true is one, whatever it was."""
    if re.fullmatch(r"-?[0-9]{1,15}", value):
        return int(value)
    if re.fullmatch(r"-?[0-9]+(\.[0-9]+)?([eE]\+?[0-9]{1,2})?", value):
        return int(float(value)) if float(value).is_integer() else float(value)
    return {"true": True, "false": False}.get(value, value)
