"""Makes job dictionaries as `pilot/acquire_jobs` hands them out.

Keys, types and spellings are those of a recorded answer of panda-server 1.0.3: parallel lists are joined with commas,
what the database does not know is the string `NULL`.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, NamedTuple

ROUTING_KEY = "computingSite"
"""The queue a job waits in. The real dictionary does not say it, so the server takes it off before it serves one."""

NULL = "NULL"
_NAMESPACE = uuid.UUID("5d3c6f0e-3f5b-4a53-9a86-1c1b7c9f2f60")


class InputFile(NamedTuple):
    """One input: size in bytes, adler32 as eight hexadecimal digits."""

    lfn: str
    size: int
    adler32: str
    guid: str
    scope: str


def make_job(
    panda_id: int,
    *,
    site: str,
    transformation: str,
    job_pars: str,
    inputs: Sequence[InputFile | tuple[str, int, str, str, str]] = (),
    outputs: Sequence[str] = (),
    log: str | None = None,
    core_count: int = 1,
    max_walltime: int = 7200,
    memory: int = 2000,
    attempt_nr: int = 1,
    **extra: Any,
) -> dict[str, Any]:
    """Give the dictionary of one job; `max_walltime` in seconds, `memory` in MB for the whole job.

    `site` goes into the routing key, which is never served. `extra` replaces or adds keys (`eventService="True"`,
    `currentPriority=5`, `allowNoOutput="a.root"`). A job without a log has `logFile`, `logGUID` and `scopeLog` empty
    (not `NULL`): the server joins the rows of the file table, and there is none.
    """
    files = [InputFile(*item) for item in inputs]
    scope = files[0].scope if files else "sandbox"
    job = {
        **_head(panda_id, transformation, core_count),
        **_files(panda_id, files, [*outputs, *([log] if log else [])], scope),
        "logFile": log or "",
        "logGUID": _guid(panda_id, log) if log else "",
        "jobPars": job_pars,
        "attemptNr": attempt_nr,
        "scopeOut": ",".join(scope for _ in outputs),
        "scopeLog": scope if log else "",
        "maxCpuCount": max_walltime * core_count,
        "minRamCount": memory,
        "coreCount": core_count,
        "maxWalltime": max_walltime,
        "resource_type": _resource_type(core_count, memory),
        **extra,
    }
    return {key: job[key] for key in (*(key for key in SERVED_KEYS if key in job), *extra)} | {ROUTING_KEY: site}


def _head(panda_id: int, transformation: str, core_count: int) -> dict[str, Any]:
    """Give what does not depend on the files."""
    return {
        "StatusCode": 0,
        "PandaID": panda_id,
        "prodSourceLabel": "managed",
        "swRelease": "Sandbox-1.0",
        "homepackage": "Sandbox/1.0",
        "transformation": transformation,
        "jobName": f"sandbox.{panda_id}",
        "jobDefinitionID": panda_id,
        "cloud": "SANDBOX",
        "destinationSE": "local",
        "prodUserID": "/DC=sandbox/O=hpcharvest/CN=Sandbox User",
        "maxDiskCount": 1000 * core_count,
        "cmtConfig": "x86_64-el9-gcc13-opt",
        "processingType": "simul",
        "transferType": NULL,
        "sourceSite": NULL,
        "currentPriority": 900,
        "taskID": 1000,
        "jobsetID": panda_id,
        "reqID": 1,
        "nucleus": NULL,
        "ioIntensity": 1,
        "ioIntensityUnit": "kBPerS",
        "nSent": 1,
    }


def _files(panda_id: int, inputs: Sequence[InputFile], results: Sequence[str], scope: str) -> dict[str, Any]:
    """Give the parallel lists of the inputs, and of the outputs with the log."""
    nulls_in, nulls_out = _repeat(NULL, inputs), _repeat(NULL, results)
    dataset_in, dataset_out = f"{scope}:{scope}.input", f"{scope}:{scope}.output"
    return {
        "inFiles": ",".join(file.lfn for file in inputs),
        "dispatchDblock": nulls_in,
        "dispatchDBlockToken": nulls_in,
        "dispatchDBlockTokenForOut": nulls_out,
        "outFiles": ",".join(results),
        "destinationDblock": _repeat(f"{scope}.output_sub{panda_id}", results),
        "destinationDBlockToken": nulls_out,
        "prodDBlocks": _repeat(dataset_in, inputs),
        "prodDBlockToken": nulls_in,
        "realDatasets": _repeat(dataset_out, results),
        "realDatasetsIn": _repeat(dataset_in, inputs),
        "fileDestinationSE": _repeat("local", results),
        "GUID": ",".join(file.guid for file in inputs),
        "checksum": ",".join(f"ad:{file.adler32}" for file in inputs),
        "fsize": ",".join(str(file.size) for file in inputs),
        "scopeIn": ",".join(file.scope for file in inputs),
        "ddmEndPointIn": _repeat("", inputs),
        "ddmEndPointOut": _repeat("", results),
    }


def _repeat(text: str, items: Sequence[Any]) -> str:
    """Join as many of `text` as there are items."""
    return ",".join([text] * len(items))


def _guid(panda_id: int, lfn: str) -> str:
    """Give the same identifier for the same file of the same job, always."""
    return str(uuid.uuid5(_NAMESPACE, f"{panda_id}/{lfn}"))


def _resource_type(core_count: int, memory: int) -> str:
    """Name the resource type as `metaconfig/get_resource_types` bounds it (2000 MB for each core)."""
    name = "SCORE" if core_count == 1 else "MCORE"
    return name if memory <= 2000 * core_count else f"{name}_HIMEM"


SERVED_KEYS = (
    "StatusCode",
    "PandaID",
    "prodSourceLabel",
    "swRelease",
    "homepackage",
    "transformation",
    "jobName",
    "jobDefinitionID",
    "cloud",
    "inFiles",
    "dispatchDblock",
    "dispatchDBlockToken",
    "dispatchDBlockTokenForOut",
    "outFiles",
    "destinationDblock",
    "destinationDBlockToken",
    "prodDBlocks",
    "prodDBlockToken",
    "realDatasets",
    "realDatasetsIn",
    "fileDestinationSE",
    "logFile",
    "logGUID",
    "jobPars",
    "attemptNr",
    "GUID",
    "checksum",
    "fsize",
    "scopeIn",
    "scopeOut",
    "scopeLog",
    "ddmEndPointIn",
    "ddmEndPointOut",
    "destinationSE",
    "prodUserID",
    "maxCpuCount",
    "minRamCount",
    "maxDiskCount",
    "cmtConfig",
    "processingType",
    "transferType",
    "sourceSite",
    "currentPriority",
    "taskID",
    "coreCount",
    "jobsetID",
    "reqID",
    "nucleus",
    "maxWalltime",
    "resource_type",
    "ioIntensity",
    "ioIntensityUnit",
    "nSent",
)
"""The keys that every job has, in the order of the recorded answer."""
