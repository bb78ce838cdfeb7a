"""From the server's job dictionary (section "acquire_jobs" of its protocol) to `JobSpec`."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from hpcharvest.errors import AnswerNotUnderstood, JobError, JobNotUnderstood
from hpcharvest.model.ids import JobId
from hpcharvest.model.job import InputFile, JobSpec, ListFile, MergeStep, OutputFile
from hpcharvest.panda.wire.envelope import decode_envelope, excerpt
from hpcharvest.panda.wire.fields import NOTHING, Fields

MAX_JOB_BYTES = 16 * 2**20
"""How long any one text of a job may be, if nothing else is configured (jobPars of 10 MB have been seen)."""

_LONGEST_REFUSAL = 4096
_ZIPPED = "zip://"
_MERGE, _PER_INPUT = "esmergeSpec", "nEventsPerInputFile"
_NO_STORAGE = "PANDA_UNDEFINED2"
"""What the server gives as the endpoint of a site of which it knows none."""
_SECRET = re.compile(r"secret|proxy|password|credname", re.IGNORECASE)
"""In the keys of what is for nobody's eyes, such as `secrets`, `pilotSecrets` and `myproxy`."""
_ADLER32 = re.compile(r"ad:([0-9a-fA-F]{1,8})", re.ASCII)
_MD5 = re.compile(r"md:[0-9a-fA-F]{32}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedJob:
    """A job of an answer that cannot be run: to be reported as failed, if as much as its PandaID is known."""

    panda_id: JobId | None
    attempt_nr: int | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedAnswer:
    """What was in the answer to a request for jobs: each is either here or there."""

    jobs: tuple[JobSpec, ...] = ()
    refused: tuple[RefusedJob, ...] = ()


def encode_acquire(
    queue: str,
    n_jobs: int,
    *,
    harvester_id: str,
    prod_source_label: str,
    node: str,
    computing_element: str,
    resource_type: str | None = None,
) -> dict[str, Any]:
    """Word the request for at most `n_jobs` jobs. A key that the server does not know, or a null, is fatal there."""
    request: dict[str, Any] = {
        "site_name": queue,
        "n_jobs": n_jobs,
        "prod_source_label": prod_source_label,
        "node": node,
        "computing_element": computing_element,
        "scheduler_id": f"harvester-{harvester_id}",
        "harvester_id": harvester_id,
        "resource_type": resource_type,
    }
    return {key: value for key, value in request.items() if value not in {None, ""}}


def no_jobs_in(body: bytes) -> bool:
    """Whether this answer is the ordinary "No jobs in PanDA"; cheap, for a body that may have jobs is only glanced at.

    Raises `ServerRefused` for any other refusal and `AnswerNotUnderstood` for what cannot be an answer at all.
    """
    if len(body) > _LONGEST_REFUSAL:
        if not body.lstrip(b" \t\r\n").startswith(b"{"):
            raise AnswerNotUnderstood(f"the PanDA server's answer is not JSON: {excerpt(body)}")
        return False
    envelope = decode_envelope(body)
    if not envelope.no_jobs:
        envelope.unwrap()
    return envelope.no_jobs


def decode_jobs(body: bytes, *, max_bytes: int = MAX_JOB_BYTES, with_text: bool = False) -> DecodedAnswer:
    """Read the answer to a request for jobs, as it came; one bad job harms no other. `with_text`: as in `decode_job`.

    Raises `AnswerNotUnderstood` if the answer as a whole cannot be read, and `ServerRefused` if it is a refusal.
    "No jobs in PanDA" is no error but an empty answer.
    """
    envelope = decode_envelope(body)
    if envelope.no_jobs:
        return DecodedAnswer()
    data = envelope.unwrap()
    if not isinstance(data, dict) or not isinstance(data.get("jobs"), list):
        raise AnswerNotUnderstood(f"the PanDA server's answer has no list of jobs: {excerpt(body)}")
    jobs: list[JobSpec] = []
    refused: list[RefusedJob] = []
    for raw in data["jobs"]:
        try:
            jobs.append(decode_job(raw, max_bytes=max_bytes, with_text=with_text))
        except JobError as problem:
            refused.append(_refusal(raw, str(problem)))
    return DecodedAnswer(jobs=tuple(jobs), refused=tuple(refused))


def decode_job(raw: Any, *, max_bytes: int = MAX_JOB_BYTES, with_text: bool = False) -> JobSpec:
    """Read one job. `JobNotUnderstood` or `UnsafeName` tell PandaID, key, what was found and what was expected.

    `with_text`: keep the dictionary itself too, but for its secrets.
    """
    if not isinstance(raw, dict):
        raise JobNotUnderstood(f"a job is {excerpt(raw)}, expected a dictionary")
    known_id = _positive(raw.get("PandaID"))
    fields = Fields(raw, owner=f"job {known_id or 'without PandaID'}", max_bytes=max_bytes)
    panda_id = JobId(fields.number("PandaID", least=1, nothing=None))
    transformation = fields.text("transformation")
    if not transformation:
        fields.fail("transformation", raw["transformation"], "a program")
    inputs = _inputs(fields)
    outputs = _outputs(fields)
    lists = _lists(fields)
    _check_distinct(fields, inputs, outputs, lists)
    return JobSpec(
        panda_id=panda_id,
        attempt_nr=fields.number("attemptNr", nothing=None),
        transformation=transformation,
        job_pars=fields.text("jobPars"),
        inputs=inputs,
        outputs=outputs,
        lists=lists,
        core_count=fields.number("coreCount") or 1,
        memory_mb=fields.number("minRamCount"),
        disk_mb=fields.number("maxDiskCount"),
        max_walltime_s=fields.number("maxWalltime"),
        task_id=fields.number("taskID"),
        jobset_id=fields.number("jobsetID"),
        priority=fields.number("currentPriority", least=-(2**31)),
        prod_source_label=fields.text("prodSourceLabel"),
        processing_type=fields.text("processingType"),
        resource_type=fields.text("resource_type"),
        event_service=fields.flag("eventService"),
        merge=_merge_step(fields, raw, max_bytes),
        image=fields.optional("container_name"),
        text=_without_secrets(raw) if with_text else "",
    )


def _without_secrets(raw: dict[str, Any]) -> str:
    return json.dumps({key: value for key, value in raw.items() if not _SECRET.search(key)})


def _inputs(fields: Fields) -> tuple[InputFile, ...]:
    """Read the parallel lists about the inputs. A `zip://` before a name only says that the file is an archive."""
    named = fields.texts("inFiles")
    lfns = fields.names("inFiles", (lfn.removeprefix(_ZIPPED) for lfn in named))
    count = len(lfns)
    columns = zip(
        lfns,
        (lfn.startswith(_ZIPPED) for lfn in named),
        fields.names("scopeIn", fields.texts("scopeIn", count), needed=False),
        fields.texts("GUID", count),
        fields.numbers("fsize", count),
        fields.texts("checksum", count),
        fields.texts("realDatasetsIn", count),
        _endpoints(fields, "ddmEndPointIn", count),
        strict=True,
    )
    return tuple(
        InputFile(
            lfn=lfn,
            scope=scope,
            guid=guid,
            size=size or None,
            adler32=_adler32(fields, checksum),
            dataset=dataset,
            endpoint=endpoint,
            archive=archive,
        )
        for lfn, archive, scope, guid, size, checksum, dataset, endpoint in columns
    )


def _outputs(fields: Fields) -> tuple[OutputFile, ...]:
    """Read the parallel lists about the outputs; the log is among the files, but its scope and GUID are elsewhere."""
    lfns = fields.names("outFiles", fields.texts("outFiles"))
    log = fields.text("logFile")
    if log and log not in lfns:
        fields.fail("logFile", log, "one of outFiles")
    scopes = iter(fields.names("scopeOut", fields.texts("scopeOut", len(lfns) - bool(log)), needed=False))
    log_scope = fields.name("scopeLog", fields.text("scopeLog"), needed=False)
    log_guid = fields.text("logGUID")
    columns = zip(
        lfns,
        fields.texts("realDatasets", len(lfns)),
        _endpoints(fields, "ddmEndPointOut", len(lfns)),
        strict=True,
    )
    return tuple(
        OutputFile(lfn=lfn, scope=log_scope, dataset=dataset, endpoint=endpoint, guid=log_guid, log=True)
        if lfn == log
        else OutputFile(lfn=lfn, scope=next(scopes, ""), dataset=dataset, endpoint=endpoint)
        for lfn, dataset, endpoint in columns
    )


def _lists(fields: Fields) -> tuple[ListFile, ...]:
    """Read what is to be written into files for the payload: `<file>:<name>,<name>`, several with `^` between them."""
    parts = [part.partition(":") for part in fields.optional("writeToFile").split("^") if part]
    return tuple(
        ListFile(lfn=fields.name("writeToFile", lfn), names=tuple(filter(None, names.split(","))))
        for lfn, _, names in parts
    )


def _merge_step(fields: Fields, raw: dict[str, Any], max_bytes: int) -> MergeStep | None:
    """Read how event ranges' outputs are to be merged on site. Source: the keys that Raythena reads."""
    found = raw.get(_MERGE, "")
    if found in {"", NOTHING} if isinstance(found, str) else found is None:
        return None
    if not isinstance(found, dict):
        fields.fail(_MERGE, found, "a dictionary")
    inner = Fields(found, owner=f"{fields.owner}: {_MERGE}", max_bytes=max_bytes)
    return MergeStep(
        transformation=inner.text("transPath"),
        job_pars=inner.text("jobParameters"),
        per_output=inner.number("nEventsPerOutputFile", least=1, nothing=None),
        per_input=fields.number(_PER_INPUT) if _PER_INPUT in raw else 0,
    )


def _endpoints(fields: Fields, key: str, count: int) -> list[str]:
    found = fields.texts(key, count, may_lack=True)
    return fields.names(key, ("" if one == _NO_STORAGE else one for one in found), needed=False)


def _adler32(fields: Fields, checksum: str) -> str | None:
    """Return the eight digits; None if there is no checksum, or one of another kind, which is well formed."""
    if not checksum or _MD5.fullmatch(checksum):
        return None
    found = _ADLER32.fullmatch(checksum)
    if found is None:
        fields.fail("checksum", checksum, '"ad:" with 8 hex digits or "md:" with 32')
    return found[1].lower().zfill(8)


def _check_distinct(
    fields: Fields, inputs: tuple[InputFile, ...], outputs: tuple[OutputFile, ...], lists: tuple[ListFile, ...]
) -> None:
    """Refuse a job of which two files would have one name in its folder."""
    seen: set[str] = set()
    for key, files in (("inFiles", inputs), ("outFiles", outputs), ("writeToFile", lists)):
        for one in files:
            if one.lfn in seen:
                fields.fail(key, one.lfn, "names of which no two are the same")
            seen.add(one.lfn)


def _refusal(raw: Any, reason: str) -> RefusedJob:
    known = raw if isinstance(raw, dict) else {}
    panda_id = _positive(known.get("PandaID"))
    return RefusedJob(
        panda_id=None if panda_id is None else JobId(panda_id),
        attempt_nr=_positive(known.get("attemptNr"), least=0),
        reason=reason,
    )


def _positive(value: Any, *, least: int = 1) -> int | None:
    """Read a number in passing, for an error's sake; None if it is none."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 19:
        value = int(value)
    return value if type(value) is int and least <= value < 2**63 else None
