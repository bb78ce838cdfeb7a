"""One event range of the server's table, with its own account of who was given it and who reported it finished."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from hpcharvest.sandbox.states import EventState
from hpcharvest.sandbox.zips import Zip

FIRST_ATTEMPT = 3
REPORTED = {
    "running": EventState.RUNNING,
    "finished": EventState.FINISHED,
    "failed": EventState.FAILED,
    "fatal": EventState.FAILED,
}
"""What may be reported, and what it makes of a range."""
IN_HAND = frozenset({EventState.SENT, EventState.RUNNING})


class Finish(NamedTuple):
    """One report that a range is finished: when, under which name, in which archive (None: by itself).

    `counted`: it changed the range. One that did not came again, or too late, and is what a client should not do.
    """

    at: float
    name: str
    zip: Zip | None
    counted: bool

    def detail(self) -> dict[str, Any]:
        """Give it for JSON."""
        return {
            "at": self.at,
            "name": self.name,
            "zip": self.zip.lfn if self.zip else None,
            "job_id": self.zip.job_id if self.zip else None,
            "counted": self.counted,
        }


@dataclass(kw_only=True, slots=True, eq=False)
class Range:
    """One row of the table. `owner` is the PandaID it is with; `attempts` counts down.

    `unanswered` counts how often it was handed out to a job that ended without a word about it.
    """

    task_id: int
    jobset_id: int
    file_id: int
    process: int
    start: int
    last: int
    lfn: str
    guid: str
    scope: str
    owner: int | None = None
    attempts: int = FIRST_ATTEMPT
    state: EventState = EventState.READY
    error: str | None = None
    dialog: str | None = None
    zip: Zip | None = None
    handed_out: int = 0
    unanswered: int = 0
    finishes: tuple[Finish, ...] = ()

    @property
    def name(self) -> str:
        """The identifier under which it is with its owner."""
        return f"{self.task_id}-{self.owner}-{self.file_id}-{self.process}-{self.attempts}"

    @property
    def told_again(self) -> bool:
        """Whether it was reported finished twice under one name."""
        return len(self.finishes) > 1 and len({one.name for one in self.finishes}) < len(self.finishes)

    def served(self) -> dict[str, Any]:
        """Give it as `acquire_event_ranges` does."""
        return {
            "eventRangeID": self.name,
            "startEvent": self.start,
            "lastEvent": self.last,
            "LFN": self.lfn,
            "GUID": self.guid,
            "scope": self.scope,
        }

    def detail(self) -> dict[str, Any]:
        """Give all that is known of it, for JSON; `range` names it whoever has it."""
        return {
            "range": f"{self.task_id}-{self.file_id}-{self.process}",
            "name": self.name if self.owner is not None else None,
            "jobset_id": self.jobset_id,
            "lfn": self.lfn,
            "start": self.start,
            "last": self.last,
            "owner": self.owner,
            "attempts": self.attempts,
            "state": self.state.name.lower(),
            "error": self.error,
            "dialog": self.dialog,
            "zip": self.zip.lfn if self.zip else None,
            "handed_out": self.handed_out,
            "unanswered": self.unanswered,
            "finished": [one.detail() for one in self.finishes],
        }

    def hand_out(self, job_id: int) -> None:
        """Give it to a job."""
        self.owner = job_id
        self.state = EventState.SENT
        self.handed_out += 1

    def release(self) -> None:
        """Take it back from a job that has ended: what is finished is done, the rest is ready with an attempt less."""
        if self.state is EventState.FINISHED:
            self.state = EventState.DONE
        elif self.state in IN_HAND | {EventState.FAILED}:
            self.unanswered += self.state is EventState.SENT
            self.attempts -= 1
            self.owner = None
            self.state = EventState.READY if self.attempts > 0 else EventState.FATAL

    def report(self, item: Mapping[str, Any], in_zip: Zip | None, now: float, *, changeable: bool) -> bool:
        """Write down a report, and say whether the range is finished by it."""
        state = REPORTED[item["eventStatus"]]
        finished = state is EventState.FINISHED
        if finished:
            name = item["eventRangeID"]
            self.finishes = (*self.finishes, Finish(now, name, in_zip, changeable))
        if not changeable:
            return False
        self.state = state
        self.error, self.dialog = item.get("errorCode"), item.get("errorDiag")
        if item["eventStatus"] == "fatal":
            self.attempts = 1
        if finished:
            self.zip = in_zip
        return finished
