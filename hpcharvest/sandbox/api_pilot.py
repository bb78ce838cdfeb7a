"""The methods of the modules `pilot`, `job` and `statistics` that are about jobs.

The arguments were checked against `signatures`; those that the sandbox has no use for are taken and ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpcharvest.sandbox.books import DatabaseError
from hpcharvest.sandbox.desk import Call
from hpcharvest.sandbox.ledger import Criteria
from hpcharvest.sandbox.protocol import Reply, check
from hpcharvest.sandbox.signatures import SIGNATURES
from hpcharvest.sandbox.states import REPORTABLE, JobState

SUCCESS = 0
FAILED = 30
INVALID = 50
_UPDATE_JOB = SIGNATURES["pilot/update_job"]
_REPORTABLE = {str(state): state for state in REPORTABLE}


def acquire_jobs(
    call: Call,
    *,
    site_name: str,
    memory: int | None = None,
    disk_space: int | None = None,
    prod_source_label: str | None = None,
    prod_user_id: str | None = None,
    task_id: int | None = None,
    n_jobs: int = 1,
    resource_type: str | None = None,
    harvester_id: str | None = None,
    scheduler_id: str | None = None,
    remaining_time: Any = None,
    **_: Any,
) -> Reply:
    """Hand out jobs; that there are none is a failure with `data` null."""
    if not call.caller.production and prod_source_label != "user":
        return Reply(False, "no production/pilot role in VOMS FQANs or non pilot owner")
    wanted = Criteria(
        site=site_name,
        label=prod_source_label,
        owner=prod_user_id if call.caller.production else call.caller.dn,
        task_id=task_id,
        resource_type=resource_type,
        memory=memory or 0,
        disk_space=disk_space or 0,
        remaining_time=remaining_time if isinstance(remaining_time, int) else 0,
    )
    jobs = call.desk.books.acquire(wanted, n_jobs, harvester_id or scheduler_id, call.now)
    if not jobs:
        return Reply(False, "No jobs in PanDA")
    listed = ",".join(job.wire for job in jobs)
    return Reply(True, data=f'{{"StatusCode": {SUCCESS}, "jobs": [{listed}]}}', raw=True)


def update_job(call: Call, **given: Any) -> Reply:
    """Take one report about a job."""
    reported = _REPORTABLE.get(given["job_status"])
    if reported is None:
        return Reply(False, f"Invalid job status: {given['job_status']}", {"StatusCode": INVALID})
    return _update(call, reported, given)


def _update(call: Call, reported: JobState, given: Mapping[str, Any]) -> Reply:
    try:
        command = call.desk.books.update(given["job_id"], reported, given, call.now)
    except DatabaseError:
        return Reply(True, "Database error", {"StatusCode": FAILED})
    return Reply(True, data={"StatusCode": SUCCESS, "command": command})


def update_jobs_bulk(call: Call, *, job_list: list[Any], **_: Any) -> Reply:
    """Take many reports. One without its key ends the call; those before it count, though the answer hides them."""
    replies: list[dict[str, Any]] = []
    try:
        for job in job_list:
            given = {"job_id": job["job_id"], "job_status": job["job_status"], **job}
            if "meta_data" in given:
                given["meta_data"] = str(given["meta_data"])
            refusal = check(_UPDATE_JOB, given)
            reply = update_job(call, **given) if refusal is None else Reply(False, refusal)
            replies.append(reply.as_dict())
    except (KeyError, TypeError) as error:
        return Reply(False, f"failed with {type(error).__name__} {error}", [])
    return Reply(True, data=replies)


def get_job_status(call: Call, *, job_ids: list[int], **_: Any) -> Reply:
    """Tell the pilot's view of jobs."""
    return Reply(True, data=call.desk.books.pilot_status(job_ids, call.now))


def get_status(call: Call, *, job_ids: list[int], **_: Any) -> Reply:
    """Tell status and command of jobs."""
    return Reply(True, data=call.desk.books.status(job_ids, call.now))


def kill(call: Call, *, job_ids: list[int], code: int | None = None, **_: Any) -> Reply:
    """Kill jobs."""
    return Reply(True, data=call.desk.books.kill(job_ids, code, call.now))


def set_command(call: Call, *, job_id: int, command: str) -> Reply:
    """Leave a command for a job; the refusal's words are ours, for it was never seen on a real server."""
    done = call.desk.books.set_command(job_id, command, call.now)
    return Reply(True, "command received") if done else Reply(False, f"no active job with PandaID={job_id}")


def active_job_stats_by_site(call: Call) -> Reply:
    """Count active jobs; that there are none is a failure."""
    sites = call.desk.books.by_site(call.now)
    return Reply(True, data=sites) if sites else Reply(False, "Database failure getting the job statistics", {})
