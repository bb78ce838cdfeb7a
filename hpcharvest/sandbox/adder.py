"""The adder: makes a job that waits in holding finished or failed, by the files it reports.

Source: the rules and messages of panda-server's adder (1.0.3), for jobs, event-service jobs and jumbo jobs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hpcharvest.sandbox.states import JobState

UNREADABLE = "Could not get GUID/LFN/MD5/FSIZE/SURL from pilot JSON"
_MD5 = re.compile(r"[0-9a-fA-F]{32}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Expected:
    """The files of a job, as the server knows them."""

    inputs: frozenset[str]
    outputs: tuple[str, ...]
    log: str
    optional: frozenset[str]
    event_service: bool

    @classmethod
    def of(cls, job: Mapping[str, Any]) -> Expected:
        """Read the lists of a job dictionary."""
        log = job["logFile"]
        return cls(
            inputs=frozenset(_split(job["inFiles"])),
            outputs=tuple(lfn for lfn in _split(job["outFiles"]) if lfn != log),
            log=log,
            optional=frozenset(_split(job.get("allowNoOutput", ""))),
            event_service=job.get("eventService") == "True",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What became of a job, and `ddmErrorDiag` (empty when the files are in order)."""

    state: JobState
    diag: str = ""


def judge(expected: Expected, reported: JobState, report: str, *, own_error: bool, killed: bool) -> Verdict:
    """Decide on a job that was reported finished or failed with an output report.

    `own_error`: the client gave an error code of its own, so that an unreadable report needs no further word.
    `killed`: the job had been told to stop; a failed one is then cancelled.
    """
    diag = _complaint(expected, reported, report)
    if diag == UNREADABLE and own_error:
        return Verdict(state=_failed(killed=killed))
    if diag or reported is JobState.FAILED:
        return Verdict(state=_failed(killed=killed), diag=diag)
    return Verdict(state=JobState.FINISHED)


def _failed(*, killed: bool) -> JobState:
    return JobState.CANCELLED if killed else JobState.FAILED


def _complaint(expected: Expected, reported: JobState, report: str) -> str:
    """Say what is wrong with a report, the server's way; nothing for a job that has no outputs at all."""
    if not expected.outputs and not expected.log:
        return ""
    try:
        listed = _read(report or ("{}" if expected.event_service else ""), expected.inputs)
    except (ValueError, TypeError, KeyError, AttributeError):
        return UNREADABLE
    diag = ""
    for lfn in _wanted(expected, reported):
        if lfn not in listed:
            diag = f"expected output {lfn} is missing in pilot JSON"
    known = {*expected.outputs, expected.log} | expected.inputs
    for lfn in listed:
        if lfn not in known and not _is_numbered(lfn, expected):
            return f"pilot produced {lfn} inconsistently with jobdef"
    return diag


def _wanted(expected: Expected, reported: JobState) -> list[str]:
    """List what has to be in the report: everything, and of a failed job the log only."""
    if expected.event_service and reported is JobState.FINISHED:
        return []
    outputs = expected.outputs if reported is JobState.FINISHED else ()
    return [lfn for lfn in (*outputs, expected.log) if lfn and lfn not in expected.optional]


def _read(report: str, inputs: frozenset[str]) -> set[str]:
    """Give the listed names; an entry without guid, size or checksum makes the report unreadable as a whole."""
    listed = json.loads(report)
    for lfn, entry in listed.items():
        str(entry["guid"])
        size = int(entry["fsize"]) if "fsize" in entry else None
        has_sum = "adler32" in entry or _MD5.fullmatch(str(entry.get("md5sum", ""))) is not None
        if lfn not in inputs and (size is None or not has_sum):
            raise ValueError(f"{lfn} has no fsize, or neither adler32 nor a valid md5sum")
    return set(listed)


def _is_numbered(lfn: str, expected: Expected) -> bool:
    """Tell whether the name is that of an output with a number appended, one of a variable number of outputs."""
    return any(re.fullmatch(rf"{re.escape(out)}\.*_\d+", lfn) for out in expected.outputs)


def _split(text: str) -> list[str]:
    """Take a comma-joined list apart; the empty string is the empty list."""
    return text.split(",") if text else []
