"""The files by which panda-harvester and a worker talk to each other: their names, their shapes, how they are read.

Text in, records out, and back: nothing here touches a file. A text that is not whole is a TornMessage: many payloads
write in place, so it is read again later. Entries without sense are told apart and left out, for one of them must not
cost the others. What the files are, who writes them and where we differ: docs/harvester-files.md.
"""

from __future__ import annotations

import html
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, TypeVar

from hpcharvest.errors import MessageNotUnderstood, TornMessage
from hpcharvest.messenger import codec
from hpcharvest.messenger.ranges import EventTask
from hpcharvest.model.event_range import EventRange
from hpcharvest.model.ids import JobId

JOBS: Final = "HPCJobs.json"
CATALOG: Final = "PoolFileCatalog_H.xml"
PANDA_IDS: Final = "worker_pandaids.json"
JOB_REQUEST: Final = "worker_requestjob.json"
RANGE_REQUEST: Final = "worker_requestevents.json"
RANGES: Final = "JobsEventRanges.json"
DUMP: Final = "event_status.dump.json"
UPDATES: Final = "worker_updateevents.json"
ATTRIBUTES: Final = "worker_attributes.json"
REPORT: Final = "jobReport.json"
KILLS: Final = ("kill_worker.json", "kill_worker")
"""The first is the incumbent's, the second what the pilot writes."""
HEARTBEAT: Final = "worker_heartbeat.json"
FINISHED: Final = "FINISHED"
TAKEN: Final = ".read"
"""Behind the name of a file that is being read; with the time behind that, it was taken in."""
NAMES: Final = frozenset(
    {JOBS, CATALOG, PANDA_IDS, JOB_REQUEST, RANGE_REQUEST, RANGES, DUMP, UPDATES, ATTRIBUTES, REPORT, *KILLS}
    | {HEARTBEAT, FINISHED, DUMP + TAKEN, UPDATES + TAKEN}
)

W = TypeVar("W", bound=StrEnum)

MOST_RANGES: Final = 1_000_000
"""More are not heard in one request."""


class Status(StrEnum):
    """What is said of a range, or of a job."""

    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    FATAL = "fatal"


class Kind(StrEnum):
    """What a file in a dump is."""

    OUTPUT = "output"
    LOG = "log"
    RANGE_OUTPUT = "es_output"
    ZIP = "zip_output"
    """The outputs of several ranges in one file."""
    CHECKPOINT = "checkpoint"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What a dump, or an update of ranges, says of one range or file."""

    range: str = ""
    """The eventRangeID; empty: this is about a file."""
    status: Status | None = None
    path: str = ""
    """Empty: this is about a range's status alone."""
    kind: Kind | None = None
    size: int | None = None
    checksum: str = ""
    """As it was written: adler32 in hexadecimal digits, with `ad:` or nothing before it; or MD5 after `md:`."""
    guid: str = ""
    cpu_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Dump:
    """What one file says, by job."""

    entries: Mapping[JobId, Sequence[Entry]]
    strange: Sequence[str] = ()
    """What was left out, each with its reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """What a worker says of its job as a whole."""

    status: str = ""
    """`jobStatus`, as it was written; empty: nothing was said."""
    error_code: int = 0
    """The first that is not 0 of the pilot's, the payload's and the transform's."""
    error: str = ""
    """In its words."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """All that was said."""


def read_range_request(text: bytes, where: str) -> Mapping[JobId, int]:
    """Read how many ranges are asked for, by job. TornMessage, or MessageNotUnderstood, with nothing in between."""
    asked = {}
    for name, one in _object(text, where).items():
        number, job = (_whole(one.get("nRanges")) if type(one) is dict else None), _whole(name)
        if number is None or job is None:
            raise MessageNotUnderstood(f"{where}: {name!r:.40} asks for {one!r:.80}, but a number of ranges is wanted")
        asked[JobId(job)] = max(0, min(number, MOST_RANGES))
    return asked


def read_job_request(text: bytes) -> int:
    """Read how many jobs are asked for. What cannot be read asks for 1, as it does with the incumbent."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return 1
    asked = _whole(value.get("nJobs")) if type(value) is dict else None
    return 1 if asked is None else max(0, asked)


def read_dump(text: bytes, where: str) -> Dump:
    """Read a dump, or an update of ranges. TornMessage; MessageNotUnderstood: it is no object of lists at all."""
    entries: dict[JobId, list[Entry]] = {}
    strange = []
    for name, rows in _object(text, where).items():
        job = _whole(name)
        if job is None or type(rows) is not list:
            strange.append(f"{name!r:.40} with {rows!r:.80} is no job with a list")
            continue
        for row in rows:
            entry = _entry(row)
            if entry is None:
                strange.append(f"{row!r:.120} of job {job} makes no sense")
            else:
                entries.setdefault(JobId(job), []).append(entry)
    return Dump(entries=entries, strange=strange)


def read_attributes(text: bytes, where: str) -> Attributes:
    """Read `worker_attributes.json`. TornMessage; MessageNotUnderstood: it is no object."""
    values = _object(text, where)
    code, error = 0, ""
    for prefix in ("pilotError", "exeError"):
        code = code or _whole(values.get(f"{prefix}Code")) or 0
        error = error or str(values.get(f"{prefix}Diag") or "")
    code = code or _whole(values.get("transExitCode")) or 0
    return Attributes(status=str(values.get("jobStatus") or ""), error_code=code, error=error, values=values)


def read_finished(text: bytes) -> str:
    """Read what `FINISHED` says of the worker; empty: nothing that is understood."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    return str(value.get("worker_status") or "") if type(value) is dict else ""


def write_ranges(ranges: Mapping[JobId, Iterable[EventRange]]) -> bytes:
    """Write ranges for jobs; none for a job: there are no more."""
    return _json({str(job): [_row(one) for one in some] for job, some in ranges.items()})


def write_panda_ids(jobs: Iterable[JobId]) -> bytes:
    """Write which jobs a worker has."""
    return _json(list(jobs))


def write_job(job: JobId, dictionary: Mapping[str, Any]) -> bytes:
    """Write what a worker is to know of its job."""
    return _json({str(job): dictionary})


def job_dictionary(job: JobId, text: str, inputs: Mapping[str, str], more: Mapping[str, Any]) -> dict[str, Any]:
    """Give the server's own dictionary of a job (`text`, JSON), with the paths of its inputs.

    `inputs`: absolute paths by LFN. `more`: what is said if the server said nothing of it. MessageNotUnderstood: the
    text is no object.
    """
    value = codec.parse(text.encode(), f"the dictionary of job {job}") if text else {}
    if type(value) is not dict:
        raise MessageNotUnderstood(f"the dictionary of job {job} is {value!r:.80}, but an object is wanted")
    made: dict[str, Any] = {"PandaID": job, "inFiles": ",".join(inputs)} | dict(more) | value
    names = _list(made["inFiles"])
    made["inFilePaths"] = ",".join(inputs.get(name, name) for name in names)
    return made


def event_job(task: EventTask) -> dict[str, Any]:
    """Give the dictionary of an event-service job. MessageNotUnderstood as `job_dictionary`."""
    more = {"taskID": task.task_id, "eventService": "True", "coreCount": task.cores}
    return job_dictionary(task.job, task.job_text, task.inputs, more)


def write_catalog(inputs: Mapping[str, str], dictionary: Mapping[str, Any]) -> bytes:
    """Write the POOL catalogue of input files: absolute paths by LFN, GUIDs from the job's dictionary."""
    guids = dict(zip(_list(dictionary.get("inFiles")), _list(dictionary.get("GUID")), strict=False))
    lines = [
        '<?xml version="1.0" encoding="UTF-8" standalone="no" ?>',
        '<!DOCTYPE POOLFILECATALOG SYSTEM "InMemory">',
        "<POOLFILECATALOG>",
    ]
    for lfn, path in inputs.items():
        guid, place, name = (html.escape(word) for word in (guids.get(lfn) or lfn, path, lfn))
        lines += [
            f'  <File ID="{guid}">',
            f'    <physical><pfn filetype="ROOT_All" name="{place}"/></physical>',
            f'    <logical><lfn name="{name}"/></logical>',
            "  </File>",
        ]
    return "\n".join([*lines, "</POOLFILECATALOG>", ""]).encode()


def _object(text: bytes, where: str) -> dict[str, Any]:
    try:
        value = json.loads(text)  # also NaN, as some payloads write it: else such a text would be torn for ever
    except (ValueError, RecursionError) as error:
        raise TornMessage(f"{where}: no whole JSON text ({error}); it is read again later") from error
    if type(value) is not dict:
        raise MessageNotUnderstood(f"{where}: is {value!r:.80}, but an object is wanted")
    return value


def _entry(row: Any) -> Entry | None:
    """Make an entry; None: it says nothing that is understood."""
    if type(row) is not dict:
        return None
    name, path = str(row.get("eventRangeID") or ""), str(row.get("path") or "")
    status, kind = _member(Status, row.get("eventStatus")), _member(Kind, row.get("type"))
    if not (name or path) or (name and status is None) or (kind is None and not name) or "\0" in path:
        return None
    return Entry(
        range=name,
        status=status,
        path=path,
        kind=Kind.ZIP if name and _whole(row.get("isZip")) == 1 else kind,
        size=_whole(row.get("fsize")),
        checksum=str(row.get("chksum") or ""),
        guid=str(row.get("guid") or ""),
        cpu_s=_seconds(row.get("cpuConsumptionTime")),
    )


def _member(kind: type[W], word: Any) -> W | None:
    return kind(word) if type(word) is str and word in set(kind) else None


def _whole(value: Any) -> int | None:
    """Read a whole number, or the text of one, as some write it."""
    if type(value) is int and abs(value) <= codec.LARGEST:
        return value
    return int(value) if type(value) is str and value.isascii() and value.isdecimal() and len(value) < 19 else None


def _seconds(value: Any) -> float:
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return found if math.isfinite(found) and found > 0 else 0.0


def _list(value: Any) -> list[str]:
    """Read a list as PanDA writes it in a job's dictionary: names with commas between them."""
    return [name for name in str(value or "").split(",") if name]


def _row(one: EventRange) -> dict[str, Any]:
    return {
        "eventRangeID": one.id,
        "LFN": one.lfn,
        "GUID": one.guid,
        "scope": one.scope,
        "startEvent": one.start,
        "lastEvent": one.last,
    }


def _json(value: Any) -> bytes:
    return json.dumps(value, allow_nan=False).encode("ascii")
