"""The event table: ranges handed out to jobs and reported back.

Source: sections on event ranges of the recorded behaviour of panda-server 1.0.3. A range belongs to a job set; a jumbo
job may have any range of its task. A range's name is made when it is handed out:
`<task>-<PandaID>-<file>-<process>-<attempts left>`.
"""

from __future__ import annotations

import json
import random
import threading
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hpcharvest.sandbox.books import Books
from hpcharvest.sandbox.ledger import TO_BE_KILLED, JobEntry
from hpcharvest.sandbox.states import REPORTS_EVENTS, WITH_EVENTS, EventState

MAX_UPDATES = 100_000
"""Ranges in one call; the rest is answered with null."""

FIRST_ATTEMPT = 3
_REPORTED = {
    "running": EventState.RUNNING,
    "finished": EventState.FINISHED,
    "failed": EventState.FAILED,
    "fatal": EventState.FAILED,
}
_IN_HAND = frozenset({EventState.SENT, EventState.RUNNING})


@dataclass(kw_only=True, slots=True, eq=False)
class Range:
    """One row of the table. `owner` is the PandaID it is with; `attempts` counts down."""

    task_id: int
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
    finished_reports: int = 0

    @property
    def name(self) -> str:
        """The identifier under which it is with its owner."""
        return f"{self.task_id}-{self.owner}-{self.file_id}-{self.process}-{self.attempts}"

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


@dataclass(kw_only=True, slots=True)
class Pool:
    """The ranges of one job set."""

    task_id: int
    ready: deque[Range] = field(default_factory=deque)


class EventTable:
    """All ranges of the server; its lock is apart from that of the books."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._lock = threading.RLock()
        self.reset()
        books.on_archive = self.release

    def reset(self) -> None:
        """Forget every range."""
        with self._lock:
            self._ranges: dict[tuple[int, int, int], Range] = {}
            self._pools: dict[int, Pool] = {}
            self._held: dict[int, list[Range]] = {}
            self._jumbo: set[int] = set()
            self._files = 0

    def make(self, job_id: int, n_ranges: int, *, jumbo: bool = False, events_per_range: int = 1) -> None:
        """Make a job an event-service job with so many ranges, spread evenly over its inputs.

        Ranges are added to those that its job set has. KeyError: no such job.
        """
        with self._lock:
            entry = self._books.entry(job_id)
            if entry is None:
                raise KeyError(job_id)
            entry.serve_events()
            if jumbo:
                self._jumbo.add(job_id)
            pool = self._pools.setdefault(entry.jobset_id, Pool(task_id=entry.task_id))
            made = list(self._make(entry, n_ranges, events_per_range))
            random.Random(job_id).shuffle(made)  # noqa: S311 - the server does not sort; nothing is guarded here
            pool.ready.extend(made)

    def _make(self, entry: JobEntry, n_ranges: int, events_per_range: int) -> Iterable[Range]:
        job = json.loads(entry.wire)
        names = job["inFiles"].split(",")
        guids, scopes = job["GUID"].split(","), job["scopeIn"].split(",")
        for at, lfn in enumerate(names):
            self._files += 1
            count = n_ranges * (at + 1) // len(names) - n_ranges * at // len(names)
            for process in range(1, count + 1):
                one = Range(
                    task_id=entry.task_id,
                    file_id=self._files,
                    process=process,
                    start=(process - 1) * events_per_range + 1,
                    last=process * events_per_range,
                    lfn=lfn,
                    guid=guids[at],
                    scope=scopes[at],
                )
                self._ranges[one.task_id, one.file_id, one.process] = one
                yield one

    def _pools_of(self, job_id: int, jobset_id: int, task_id: int | None) -> list[Pool]:
        """Give where a job may take from: the whole task for a jumbo job, else its job set."""
        if job_id in self._jumbo:
            return [pool for pool in self._pools.values() if pool.task_id == task_id]
        pool = self._pools.get(jobset_id)
        return [pool] if pool is not None else []

    def acquire(self, job_id: int, jobset_id: int, task_id: int | None, n_ranges: int) -> list[dict[str, Any]]:
        """Hand out at most so many ready ranges; nothing to a job that may not have any. There is no redelivery."""
        with self._lock:
            entry = self._books.entry(job_id)
            if entry is None or entry.state not in WITH_EVENTS or entry.command == TO_BE_KILLED:
                return []
            got: list[Range] = []
            for pool in self._pools_of(job_id, jobset_id, task_id or entry.task_id):
                while pool.ready and len(got) < n_ranges:
                    got.append(pool.ready.popleft())
            for one in got:
                one.owner = job_id
                one.state = EventState.SENT
            self._held.setdefault(job_id, []).extend(got)
            return [one.served() for one in got]

    def available(self, job_id: int, jobset_id: int, task_id: int) -> int:
        """Count the ready ranges that a job could get."""
        with self._lock:
            return sum(len(pool.ready) for pool in self._pools_of(job_id, jobset_id, task_id))

    def update(
        self, items: Iterable[Mapping[str, Any]], version: int
    ) -> tuple[list[bool | None], dict[str, str | None]]:
        """Take reports and give, for each, true, false or null, and for each PandaID the command.

        `version` 1 and 2: an item may be a chunk with `eventRanges` and a `zipFile`; 2 may report a ready range.
        """
        with self._lock:
            returns: list[bool | None] = []
            commands: dict[str, str | None] = {}
            for item in _flatten(items):
                if len(returns) >= MAX_UPDATES:
                    returns.append(None)
                    continue
                returns.append(self._update(item, commands, ready_too=version == 2))
            return returns, commands

    def _update(self, item: Mapping[str, Any], commands: dict[str, str | None], *, ready_too: bool) -> bool | None:
        try:
            task, job_id, file_id, process, attempt = (int(part) for part in item["eventRangeID"].split("-"))
            status = item["eventStatus"]
        except (KeyError, ValueError, TypeError, AttributeError):
            return False
        if status == "transferring":
            return None
        if status not in _REPORTED:
            return False
        entry = self._books.entry(job_id)
        if entry is None or entry.state not in REPORTS_EVENTS:
            commands[str(job_id)] = TO_BE_KILLED
            return False
        commands[str(job_id)] = entry.command
        one = self._ranges.get((task, file_id, process))
        if one is None or one.attempts != attempt:
            return True
        fresh = ready_too and one.state is EventState.READY
        if fresh:
            self._take(one, job_id)
        if one.owner == job_id:
            _report(one, entry, item, changeable=fresh or one.state in _IN_HAND)
        return True

    def _take(self, one: Range, job_id: int) -> None:
        """Give a ready range to a job that reports on it without having asked for it."""
        for pool in self._pools.values():
            if one in pool.ready:
                pool.ready.remove(one)
        one.owner = job_id
        self._held.setdefault(job_id, []).append(one)

    def release(self, entry: JobEntry) -> None:
        """Take back from an ended job what it did not do: such a range is ready again with one attempt less."""
        with self._lock:
            pool = self._pools.get(entry.jobset_id)
            for one in self._held.pop(entry.panda_id, []):
                if one.state is EventState.FINISHED:
                    one.state = EventState.DONE
                elif one.state in _IN_HAND | {EventState.FAILED} and pool is not None:
                    one.attempts -= 1
                    one.owner = None
                    one.state = EventState.READY if one.attempts > 0 else EventState.FATAL
                    if one.state is EventState.READY:
                        pool.ready.append(one)

    def statuses(self, panda_ids: Iterable[int]) -> dict[str, dict[str, dict[str, Any]]]:
        """Give what each job's ranges are at, by PandaID and range."""
        with self._lock:
            wanted = set(panda_ids)
            answer: dict[str, dict[str, dict[str, Any]]] = {}
            for one in self._ranges.values():
                if one.owner in wanted:
                    row = {"status": one.state.name.lower(), "error": one.error, "dialog": one.dialog}
                    answer.setdefault(str(one.owner), {})[one.name] = row
            return answer

    def summary(self) -> dict[str, Any]:
        """Count the ranges by state, and those that were reported finished more than once."""
        with self._lock:
            ranges = self._ranges.values()
            return {
                "ranges": len(ranges),
                "states": dict(Counter(one.state.name.lower() for one in ranges)),
                "finished_reports": sum(one.finished_reports for one in ranges),
                "finished_again": sum(1 for one in ranges if one.finished_reports > 1),
            }


def _flatten(items: Iterable[Mapping[str, Any]]) -> Iterable[Mapping[str, Any]]:
    """Give the ranges of every chunk, and those that stand alone."""
    for item in items:
        if isinstance(item, Mapping) and "eventRanges" in item:
            yield from item["eventRanges"]
        else:
            yield item


def _report(one: Range, entry: JobEntry, item: Mapping[str, Any], *, changeable: bool) -> None:
    """Write down a report about a range that is with this job."""
    state = _REPORTED[item["eventStatus"]]
    if state is EventState.FINISHED:
        one.finished_reports += 1
    if not changeable:
        return
    one.state = state
    one.error, one.dialog = item.get("errorCode"), item.get("errorDiag")
    if item["eventStatus"] == "fatal":
        one.attempts = 1
    if state is EventState.FINISHED:
        entry.ranges_done += 1
