"""An event-service job in the words of the job dictionary. Pure.

Source: panda-server 1.0.3. Not recorded: whether the tags of the merge step are left in what such a job gets as
parameters (here they are not).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

_TAG = re.compile(r"<PANDA_ESMERGE_(TRF|JOBP)>(.*?)</PANDA_ESMERGE_\1>", re.DOTALL)


class MergeStep(NamedTuple):
    """What is to run when all ranges of a job set are done: a transformation with its parameters."""

    transformation: str
    job_pars: str


def event_service(job: Mapping[str, Any], *, jumbo: bool) -> tuple[dict[str, Any], MergeStep | None]:
    """Give the dictionary of a job as it is served as an event-service job, and the merge step that it names, if any.

    A jumbo job has all files of its dataset as inputs and in its parameters, and its PandaID in its log's name; nothing
    else tells it from others.
    """
    tags = dict(_TAG.findall(job["jobPars"]))
    step = MergeStep(tags["TRF"], tags.get("JOBP", "")) if tags.get("TRF") else None
    served = {
        **job,
        "eventService": "True",
        "prodDBlockTokenForOutput": job["destinationDBlockToken"],
        "jobPars": _TAG.sub("", job["jobPars"]),
    }
    return (_jumbo(served) if jumbo else served), step


def _jumbo(job: dict[str, Any]) -> dict[str, Any]:
    parameters = job["jobPars"]
    for dataset in {name.rstrip("/").split(":")[-1] for name in job["realDatasetsIn"].split(",") if name}:
        parameters = parameters.replace(f"tmpin__cnt_{dataset}", job["inFiles"])
    changed = {**job, "jobPars": parameters}
    log, ending = job["logFile"], f".{job['PandaID']}"
    if log and not log.endswith(ending):
        changed["logFile"] = log + ending
        changed["outFiles"] = ",".join(log + ending if name == log else name for name in job["outFiles"].split(","))
    return changed
