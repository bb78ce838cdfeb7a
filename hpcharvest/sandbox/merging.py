"""The merge job that follows when all ranges of a job set are done. Pure. Source: a recording of one."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from hpcharvest.sandbox.definition import MergeStep
from hpcharvest.sandbox.jobs import ROUTING_KEY, InputFile, make_job
from hpcharvest.sandbox.ranges import Range
from hpcharvest.sandbox.states import EventState
from hpcharvest.sandbox.zips import Zip

_PRIORITY = 5000
_KEPT = (
    *("outFiles", "destinationDblock", "destinationDBlockToken", "realDatasets", "scopeOut", "scopeLog", "logFile"),
    *("taskID", "jobsetID", "reqID", "prodSourceLabel", "prodUserID"),
)


def merge_job(
    number: int, job: Mapping[str, Any], site: str, step: MergeStep, ranges: Sequence[Range]
) -> dict[str, Any]:
    """Make the merge job of a job set; `job`: the event-service job as it was served. Its inputs are the archives.

    Outputs of ranges that were reported without an archive are not among its inputs.
    """
    done = [one for one in ranges if one.state is EventState.DONE]
    zips = archives(done)
    out = next((name for name in job["outFiles"].split(",") if name != job["logFile"]), "")
    dataset = job["realDatasets"].split(",")[0]
    members = ",".join(f"{out}.{one.name}" for one in done)
    made = make_job(
        number,
        site=site,
        transformation=step.transformation,
        job_pars=step.job_pars,
        inputs=[_input(one, job["scopeIn"].split(",")[0]) for one in zips],
        outputs=[name for name in job["outFiles"].split(",") if name and name != job["logFile"]],
        log=job["logFile"] or None,
        max_walltime=job["maxWalltime"],
        memory=job["minRamCount"],
        attempt_nr=job["attemptNr"] + 1,
        currentPriority=_PRIORITY,
        realDatasetsIn=",".join(dataset for _ in zips),
        eventServiceMerge="True",
        writeToFile=f"inputFor_{out}:{members}",
    )
    kept = {key: job[key] for key in _KEPT}
    return made | kept | {"prodDBlockToken": ",".join(one.place for one in zips), ROUTING_KEY: site}


def archives(ranges: Sequence[Range]) -> list[Zip]:
    """Give the archives of these ranges, each once, in their order."""
    return list(dict.fromkeys(one.zip for one in ranges if one.zip is not None))


def _input(one: Zip, scope: str) -> InputFile:
    guid = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{one.job_id}/{one.lfn}"))
    size, checksum = int(one.told.get("fsize") or 0), str(one.told.get("adler32") or "00000001")
    return InputFile(f"zip://{one.lfn}", size, checksum, guid, scope)
