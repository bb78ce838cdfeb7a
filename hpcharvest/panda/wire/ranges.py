"""Event ranges as the server words them: handed out, reported on, asked after (section "event ranges" of its protocol).

What the server does with a report it may answer with HTTP 500, after it has committed it: then, as after any lost
answer, only `decode_range_statuses` says what it has.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hpcharvest.errors import AnswerNotUnderstood, JobError, JobNotUnderstood
from hpcharvest.model.event_range import Bundle, EventRange, RangeOutcome
from hpcharvest.model.ids import JobId
from hpcharvest.model.job import JobSpec
from hpcharvest.model.states import RangeState
from hpcharvest.panda.wire.envelope import decode_envelope, excerpt
from hpcharvest.panda.wire.fields import Fields, printable

VERSION = 1
"""The form of reports in which ranges come together with the archive that they are in."""
MAX_ASKED = 5_120
"""How many ranges are asked for at once at the most, as the incumbent does."""
MAX_REPORTED = 10_000
"""How many ranges go into one report at the most; the server passes over what is beyond 100,000."""

_LONGEST_NONE = 4096
_LONGEST_TEXT = 4096
_LONGEST_DIAGNOSIS = 500
_FAILED_CODE = 1305
"""The pilot's code for a payload that failed."""
_ID = re.compile(r"[0-9]+(?:-[0-9]+){4}", re.ASCII)
_STATUS: dict[RangeState, str] = {
    RangeState.FINISHED: "finished",
    RangeState.FAILED: "failed",
    RangeState.FATAL: "fatal",
}
_NOT_YET = frozenset({"ready", "sent", "running", "reserved_fail", "reserved_get"})
"""In these a range waits for its report; all others follow a report, or take none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedRanges:
    """The ranges of an answer; `refused`: why some of it are none."""

    ranges: tuple[EventRange, ...] = ()
    refused: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RangesAnswer:
    """What the server said to a report. `taken`: of each range, in their order; None: it did not look at it."""

    taken: tuple[bool | None, ...]
    stop: bool = False
    """Whether it wants no more of a job that the report was about."""


def fatal_name(name: str) -> str:
    """Give the name that a range has once it was told to be fatal: its last number, the tries left, is 1 then."""
    return f"{name.rpartition('-')[0]}-1"


def encode_acquire_ranges(spec: JobSpec, number: int) -> dict[str, Any]:
    """Word the request for at most so many ranges of a job."""
    return {**_job(spec), "n_ranges": min(number, MAX_ASKED)}


def encode_range_count(spec: JobSpec) -> dict[str, Any]:
    """Word the question how many ranges of a job could be had."""
    return _job(spec)


def encode_range_question(spec: JobSpec) -> dict[str, Any]:
    """Word the question where a job's ranges are. The key is not the documented one, which the server refuses."""
    return {"job_task_ids": json.dumps([{"task_id": spec.task_id, "panda_id": spec.panda_id}])}


def encode_range_report(
    bundles: Iterable[tuple[Bundle, Sequence[RangeOutcome]]], *, objstore_id: int
) -> dict[str, Any]:
    """Word what became of ranges: those in an archive together with it, failures as they are."""
    items: list[dict[str, Any]] = []
    for bundle, outcomes in bundles:
        words = [_outcome(one) for one in outcomes]
        if bundle.archive:
            items.append({"eventRanges": words, "zipFile": _archive(bundle, objstore_id)})
        else:
            items += words
    return {"event_ranges": json.dumps(items), "version": VERSION}


def no_ranges_in(body: bytes) -> bool:
    """Whether this answer is the ordinary "there are none". Raises `ServerRefused` and `AnswerNotUnderstood`."""
    return len(body) <= _LONGEST_NONE and not _list(decode_envelope(body).unwrap())


def decode_ranges(body: bytes) -> DecodedRanges:
    """Read the answer to a request for ranges, as it came; one bad range harms no other.

    Raises `ServerRefused` for a refusal, and `AnswerNotUnderstood` for what is no list.
    """
    ranges: list[EventRange] = []
    refused: list[str] = []
    for raw in _list(decode_envelope(body).unwrap()):
        try:
            ranges.append(_range(raw))
        except JobError as problem:
            refused.append(str(problem))
    return DecodedRanges(ranges=tuple(ranges), refused=tuple(refused))


def decode_range_count(data: Any) -> int:
    """Read how many ranges could be had."""
    if type(data) is not int or data < 0:
        raise AnswerNotUnderstood(f"the PanDA server answered {excerpt(data)}, expected a number of event ranges")
    return data


def decode_range_report(data: Any, count: int) -> RangesAnswer:
    """Read the answer to a report about `count` ranges. A server on PostgreSQL says one `false` more than it should.

    Raises `AnswerNotUnderstood` if nobody knows which answer is whose.
    """
    returns = data.get("Returns") if isinstance(data, dict) else None
    if isinstance(returns, list) and len(returns) == count + 1 and returns[-1] is False:
        returns = returns[:-1]
    if not isinstance(returns, list) or len(returns) != count or any(type(one) not in _ANSWERS for one in returns):
        raise AnswerNotUnderstood(f"the PanDA server answered {excerpt(data)}, expected the fate of {count} ranges")
    commands = data.get("Commands", data.get("Command"))
    words = commands.values() if isinstance(commands, dict) else ()
    return RangesAnswer(taken=tuple(returns), stop=any(word == "tobekilled" for word in words))


def decode_range_statuses(data: Any, job: JobId) -> dict[str, bool]:
    """Read which ranges the server says that the job has; of each, whether it has heard of its outcome."""
    found = data.get(str(job), {}) if isinstance(data, dict) else None
    if not isinstance(found, Mapping):
        raise AnswerNotUnderstood(f"the PanDA server answered {excerpt(data)}, expected the states of event ranges")
    told: dict[str, bool] = {}
    for name, row in found.items():
        status = row.get("status") if isinstance(row, Mapping) else None
        if not isinstance(status, str):
            raise AnswerNotUnderstood(f"the PanDA server gave {excerpt(row)} as the state of range {excerpt(name)}")
        told[name] = status not in _NOT_YET
    return told


_ANSWERS = frozenset({bool, type(None)})


def _job(spec: JobSpec) -> dict[str, Any]:
    return {"job_id": spec.panda_id, "jobset_id": spec.jobset_id, "task_id": spec.task_id}


def _list(data: Any) -> list[Any]:
    if not isinstance(data, list):
        raise AnswerNotUnderstood(f"the PanDA server answered {excerpt(data)}, expected a list of event ranges")
    return data


def _range(raw: Any) -> EventRange:
    if not isinstance(raw, dict):
        raise JobNotUnderstood(f"an event range is {excerpt(raw)}, expected a dictionary")
    name = raw.get("eventRangeID")
    fields = Fields(raw, owner=f"event range {excerpt(name)}", max_bytes=_LONGEST_TEXT)
    if not isinstance(name, str) or not _ID.fullmatch(name) or len(name) > 200:
        fields.fail("eventRangeID", name, "five numbers with dashes between them")
    start = fields.number("startEvent", least=0, nothing=None)
    return EventRange(
        id=name,
        start=start,
        last=fields.number("lastEvent", least=start, nothing=None),
        lfn=fields.name("LFN", fields.text("LFN")),
        guid=fields.optional("GUID"),
        scope=fields.name("scope", fields.optional("scope"), needed=False),
    )


def _outcome(one: RangeOutcome) -> dict[str, Any]:
    words: dict[str, Any] = {"eventRangeID": one.id, "eventStatus": _STATUS[one.state]}
    if one.state is RangeState.FINISHED:
        words["coreCount"] = one.cores
        if math.isfinite(one.cpu_s) and one.cpu_s > 0:
            words["cpuConsumptionTime"] = int(one.cpu_s)
    else:
        words["errorCode"] = _FAILED_CODE
        words["errorDiag"] = printable(one.error, _LONGEST_DIAGNOSIS)
    return words


def _archive(bundle: Bundle, objstore_id: int) -> dict[str, Any]:
    return {
        "lfn": bundle.archive,
        "objstoreID": objstore_id,
        "fsize": bundle.size,
        "adler32": bundle.adler32,
        "numEvents": bundle.ranges,
    }
