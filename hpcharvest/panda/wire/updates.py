"""From our records to the entries of `update_jobs_bulk`, and from its answers to what they mean.

The server checks every key and type of an entry strictly and drops the whole entry over one that it does not like, so
an entry has only what is known, in the exact type. Times are UTC.
"""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from hpcharvest.errors import AnswerNotUnderstood
from hpcharvest.model.ids import JobId
from hpcharvest.model.job import Job, OutputFile, PayloadOutcome, StoredFile
from hpcharvest.model.report import Report
from hpcharvest.model.states import JobState, PayloadResult
from hpcharvest.panda.wire.envelope import excerpt
from hpcharvest.panda.wire.fields import NOTHING, printable, utc

_STATUS: dict[JobState, str] = {
    JobState.RECEIVED: "starting",
    JobState.STAGED_IN: "starting",
    JobState.QUEUED: "starting",
    JobState.ASSIGNED: "starting",
    JobState.RUNNING: "running",
    JobState.SERVED: "running",
    JobState.RAN: "transferring",
    JobState.FINISHED: "finished",
    JobState.FAILED: "failed",
    # The server accepts no "cancelled" from outside; the sub-status says it.
    JobState.CANCELLED: "failed",
}
_SUB_STATUS: dict[JobState, str] = {JobState.CANCELLED: "cancelled"}
_DEFAULT_CODE: dict[JobState, int] = {JobState.FAILED: 1008, JobState.CANCELLED: 1144}
"""The pilot's codes for "general error" and "killed by PanDA": a failure without a code tells its owner nothing."""

_OUR_REPORT_IS_THERE = frozenset({"holding", "finished", "failed", "cancelled", "closed", "merging", "unknown"})
_ACCEPTED = 0
_TRY_AGAIN = frozenset({10, 30, 90})
"""Status codes "timeout", "failed" (a database error) and "proxy error": nothing is wrong with what we said."""
_OUR_FAULT = ("Type error", "Argument error", "Invalid job status")
"""How refusals begin that would be repeated however often we say the same."""
_STOP = frozenset({"tobekilled", "badattemptnr", "alreadydone"})

_LONGEST_DIAGNOSIS = 500
_LONGEST_BATCH_ID = 80
_LONGEST_NODE = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateAnswer:
    """What the server said to one entry."""

    accepted: bool
    transient: bool = False
    """Not accepted, but the same entry may be accepted later; without it the server will never take the entry."""
    command: str | None = None
    """What it wants to be done with the job, in its own words ("tobekilled", "debug", a list of them with commas)."""
    message: str = ""

    @property
    def stop(self) -> bool:
        """Whether the server wants no more of this job: killed, archived, unknown, or no longer this attempt."""
        return _wants_stop(self.command)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerJobStatus:
    """What the server thinks of a job, in its own words; `settled` reads `status`."""

    status: str
    command: str | None = None

    @property
    def stop(self) -> bool:
        """Whether the server wants no more of this job."""
        return _wants_stop(self.command)


def encode_update(job: Job, report: Report, *, harvester_id: str, batch_id: str = "", node: str = "") -> dict[str, Any]:
    """Word `report` about `job` as one entry of an update.

    `batch_id` must never change in a job's life: the server answers a database error to one that does. A negative
    attempt number is one that the server did not tell; without one it checks none.
    """
    outcome = job.outcome if report.status is JobState.RAN or report.final else None
    entry: dict[str, Any] = {
        "job_id": job.spec.panda_id,
        "job_status": _STATUS[report.status],
        "attempt_nr": job.spec.attempt_nr if job.spec.attempt_nr >= 0 else None,
        "site_name": job.queue,
        "scheduler_id": f"harvester-{harvester_id}",
        "core_count": job.spec.core_count,
        "batch_id": printable(batch_id, _LONGEST_BATCH_ID),
        "node": printable((outcome.node if outcome else "") or node, _LONGEST_NODE),
        "job_sub_status": _SUB_STATUS.get(report.status, ""),
    }
    if job.state is report.status is JobState.RUNNING:
        entry["start_time"] = _time(job.since)
    if outcome is not None:
        entry |= _measured(outcome)
    if report.final:
        entry |= _result(job, report.status)
    return {key: value for key, value in entry.items() if value is not None and value != ""}


def encode_bulk(entries: Sequence[dict[str, Any]], *, harvester_id: str) -> dict[str, Any]:
    """Word the call that carries the entries."""
    return {"job_list": list(entries), "harvester_id": harvester_id}


def encode_status_question(ids: Iterable[JobId]) -> dict[str, Any]:
    """Word the question what the server thinks of the jobs."""
    return {"job_ids": list(ids)}


def decode_update_answer(data: Any, count: int) -> list[UpdateAnswer]:
    """Read the answers to `count` entries, in their order; one that cannot be read counts as not accepted for now.

    Raises `AnswerNotUnderstood` if there are not `count` of them: then nobody knows which answer is whose.
    """
    return [_update_answer(raw) for raw in _list(data, count)]


def decode_statuses(data: Any, ids: Sequence[JobId]) -> dict[JobId, ServerJobStatus]:
    """Read what the server thinks of the jobs `ids`, for which it answers in the order of the question."""
    return {job: _job_status(raw) for job, raw in zip(ids, _list(data, len(ids)), strict=True)}


def settled(status: str) -> bool:
    """Whether a job of this status at the server needs no final report of ours any more.

    "holding" and what follows it show that the report arrived; a closed, archived or forgotten job takes none.
    "transferring" proves nothing: we say it ourselves before the end.
    """
    return status in _OUR_REPORT_IS_THERE


def _measured(outcome: PayloadOutcome) -> dict[str, Any]:
    """Tell what the runner measured; what it could not is left out."""
    cpu_s = _whole(outcome.cpu_s)
    return {
        "start_time": _time(outcome.started_at),
        "end_time": _time(outcome.ended_at),
        "cpu_consumption_time": cpu_s,
        "cpu_consumption_unit": None if cpu_s is None else "s",
        "max_rss": _whole(outcome.max_rss_kb * 1024) or None,
        "trans_exit_code": _exit_code(outcome),
    }


def _result(job: Job, status: JobState) -> dict[str, Any]:
    """Tell how it ended: the report about the files, the payload's own report, and whose fault a failure is."""
    finished = status is JobState.FINISHED
    return {
        "job_output_report": _output_report(job, log_only=not finished),
        "meta_data": printable(job.outcome.metadata) if job.outcome else "",
        "job_metrics": f"attempts={job.attempt} infrastructureLosses={job.infrastructure_losses}",
        **({} if finished else _blame(job, status)),
    }


def _blame(job: Job, status: JobState) -> dict[str, Any]:
    """Tell whose fault it was: the payload's own exit code if it failed by itself, else a code of the pilot's."""
    failed_by_itself = job.outcome is not None and job.outcome.result is PayloadResult.FAILED
    exit_code = _exit_code(job.outcome) if job.outcome and failed_by_itself else None
    reason = job.error or (job.outcome.reason if job.outcome else "") or job.kill_requested or "no reason is known"
    diagnosis = printable(reason, _LONGEST_DIAGNOSIS)
    blame: dict[str, Any] = {}
    if exit_code:
        blame |= {"exe_error_code": exit_code, "exe_error_diag": diagnosis}
    if job.error_code or not exit_code:
        blame |= {"pilot_error_code": job.error_code or _DEFAULT_CODE[status], "pilot_error_diag": diagnosis}
    return blame


def _output_report(job: Job, *, log_only: bool) -> str:
    """Tell size, checksum and place of what was stored. The server fails a job over a name that it did not promise.

    It takes an output with a number behind it for one of several: so are merged outputs called.
    """
    promised = {one.lfn: one for one in job.spec.outputs if one.log or not log_only}
    known = {one.lfn: promised.get(one.lfn) or promised.get(one.lfn.rpartition("._")[0]) for one in job.stored}
    report = {one.lfn: _stored(job, one, output) for one in job.stored if (output := known[one.lfn]) is not None}
    return json.dumps(report) if report else ""


def _stored(job: Job, stored: StoredFile, promised: OutputFile) -> dict[str, Any]:
    told = {
        "guid": stored.guid or promised.guid or _guid(job, stored.lfn),
        "fsize": stored.size,
        "adler32": stored.adler32,
        "surl": stored.url,
        "endpoint": stored.endpoint or promised.endpoint,
    }
    return {key: value for key, value in told.items() if value != ""}


def _guid(job: Job, lfn: str) -> str:
    """Make the same GUID for the same file of the same attempt, however often it is reported."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"panda:{job.spec.panda_id}/{job.spec.attempt_nr}/{lfn}"))


def _exit_code(outcome: PayloadOutcome) -> int | None:
    """Return what a shell would: the exit code, or 128 and the signal."""
    return 128 + outcome.signal if outcome.signal else outcome.exit_code


def _whole(value: float) -> int | None:
    return int(value) if math.isfinite(value) and 0 <= value < 2**63 else None


def _time(wall: float) -> str | None:
    """Word wall seconds as the server reads them; None for no time at all."""
    moment = utc(wall)
    return None if moment is None else f"{moment:%Y-%m-%d %H:%M:%S}"


def _list(data: Any, count: int) -> list[Any]:
    if not isinstance(data, list) or len(data) != count:
        raise AnswerNotUnderstood(f"the PanDA server answered {excerpt(data)}, expected a list of {count}")
    return data


def _update_answer(raw: Any) -> UpdateAnswer:
    if not isinstance(raw, dict):
        return UpdateAnswer(accepted=False, transient=True, message=f"not understood: {excerpt(raw)}")
    data = raw["data"] if isinstance(raw.get("data"), dict) else {}
    message = str(raw.get("message") or "")
    code = data.get("StatusCode")
    if raw.get("success") is True and code == _ACCEPTED:
        return UpdateAnswer(accepted=True, command=_command(data), message=message)
    for_good = message.startswith(_OUR_FAULT) or (isinstance(code, int) and code not in _TRY_AGAIN)
    return UpdateAnswer(accepted=False, transient=not for_good, command=_command(data), message=message or excerpt(raw))


def _job_status(raw: Any) -> ServerJobStatus:
    if not isinstance(raw, dict) or not isinstance(raw.get("status"), str):
        raise AnswerNotUnderstood(f"the PanDA server gave {excerpt(raw)} as a job's status")
    return ServerJobStatus(status=raw["status"], command=_command(raw))


def _command(raw: dict[str, Any]) -> str | None:
    command = raw.get("command")
    return command if isinstance(command, str) and command not in {"", NOTHING} else None


def _wants_stop(command: str | None) -> bool:
    return command is not None and not _STOP.isdisjoint(command.split(","))
