"""The event table: ranges handed out to jobs and reported back.

Source: sections on event ranges of the recorded behaviour of panda-server 1.0.3. A range belongs to a job set; a jumbo
job may have any range of its task. A range's name is made when it is handed out:
`<task>-<PandaID>-<file>-<process>-<attempts left>`.
"""

from __future__ import annotations

import json
import random
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from hpcharvest.sandbox.books import Books
from hpcharvest.sandbox.ledger import TO_BE_KILLED, JobEntry
from hpcharvest.sandbox.merging import archives, merge_job
from hpcharvest.sandbox.pool import Pool, slices
from hpcharvest.sandbox.ranges import IN_HAND, REPORTED, Range
from hpcharvest.sandbox.states import REPORTS_EVENTS, WITH_EVENTS, EventState, JobState
from hpcharvest.sandbox.zips import Zip, Zips

MAX_UPDATES = 100_000
"""Ranges in one call, by default; the rest is answered with null."""

MERGES_FROM = 9_000_000_001
"""PandaIDs of merge jobs, apart from those that people give."""


class Name(NamedTuple):
    """A range's identifier, taken apart."""

    task: int
    job: int
    file: int
    process: int
    attempt: int

    @property
    def row(self) -> tuple[int, int, int]:
        """What names the range whoever has it."""
        return self.task, self.file, self.process


class EventTable:
    """All ranges of the server. Its lock is apart from that of the books, and taken after it where both are."""

    def __init__(self, books: Books, max_updates: int = MAX_UPDATES) -> None:
        self._books = books
        self._max_updates = max_updates
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
            self._zips = Zips()
            self._finished: Counter[str] = Counter()
            self._files = 0
            self._merges = 0

    def order(self, job: Mapping[str, Any], n_ranges: int, *, jumbo: bool = False, events_per_range: int = 1) -> None:
        """Activate a job that is an event-service job from the first. ValueError as `Books.add`."""
        self._books.add(
            [job],
            then=lambda: self.make(job["PandaID"], n_ranges, jumbo=jumbo, events_per_range=events_per_range),
        )

    def make(self, job_id: int, n_ranges: int, *, jumbo: bool = False, events_per_range: int = 1) -> None:
        """Make a job an event-service job with so many ranges, spread evenly over its inputs.

        Ranges are added to those that its job set has. KeyError: no such job.
        """
        with self._lock:
            entry = self._books.entry(job_id)
            if entry is None:
                raise KeyError(job_id)
            step = entry.serve_events(jumbo=jumbo)
            if jumbo:
                self._jumbo.add(job_id)
            pool = self._pools.setdefault(entry.jobset_id, Pool(entry=entry))
            pool.step = pool.step or step
            made = list(slices(entry, n_ranges, events_per_range, self._files + 1))
            self._files = max((one.file_id for one in made), default=self._files)
            self._ranges.update({(one.task_id, one.file_id, one.process): one for one in made})
            random.Random(job_id).shuffle(made)  # noqa: S311 - the server does not sort; nothing is guarded here
            pool.members.extend(made)
            pool.ready.extend(made)

    def _pools_of(self, job_id: int, jobset_id: int, task_id: int | None) -> list[Pool]:
        """Give where a job may take from: the whole task for a jumbo job, else its job set."""
        if job_id in self._jumbo:
            return [pool for pool in self._pools.values() if pool.entry.task_id == task_id]
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
                one.hand_out(job_id)
            self._held.setdefault(job_id, []).extend(got)
            return [one.served() for one in got]

    def available(self, job_id: int, jobset_id: int, task_id: int) -> int:
        """Count the ready ranges that a job could get."""
        with self._lock:
            return sum(len(pool.ready) for pool in self._pools_of(job_id, jobset_id, task_id))

    def update(
        self, items: Iterable[Mapping[str, Any]], version: int, now: float = 0.0
    ) -> tuple[list[bool | None], dict[str, str | None]]:
        """Take reports and give, for each, true, false or null, and for each PandaID the command.

        `version` 1 and 2: an item may be a chunk with `eventRanges` and a `zipFile`; 2 may report a ready range.
        """
        with self._lock:
            returns: list[bool | None] = []
            commands: dict[str, str | None] = {}
            archives_of: dict[tuple[int, int], Zip] = {}
            for item, said in _flatten(items):
                if len(returns) >= self._max_updates:
                    returns.append(None)
                    continue
                name = _numbers(item)
                answer = None if name is None else self._refused(name, item, commands)
                if name is None or answer is not True:
                    self._note(name, item, now)
                    returns.append(answer if name else False)
                    continue
                in_zip = None
                if said is not None:  # once for a chunk and a job, not for each of its ranges
                    key = id(said), name.job
                    in_zip = archives_of.get(key) or self._zips.register(name.job, said)
                    archives_of[key] = in_zip
                self._report(name, item, in_zip, now, ready_too=version == 2)
                returns.append(True)
            return returns, commands

    def _refused(self, name: Name, item: Mapping[str, Any], commands: dict[str, str | None]) -> bool | None:
        """Say whether a report is taken (true), passed over (null) or refused (false), and note its job's command."""
        status = item.get("eventStatus")
        if status == "transferring":
            return None
        if status not in REPORTED:
            return False
        entry = self._books.entry(name.job)
        if entry is None or entry.state not in REPORTS_EVENTS:
            commands[str(name.job)] = TO_BE_KILLED
            return False
        commands[str(name.job)] = entry.command
        return True

    def _note(self, name: Name | None, item: Any, now: float) -> None:
        """Remember a report that is refused, as its job may not report any more."""
        one = self._ranges.get(name.row) if name else None
        if one is not None and item.get("eventStatus") == "finished":
            self._tell(one, item, None, now, changeable=False)

    def _report(self, name: Name, item: Mapping[str, Any], in_zip: Zip | None, now: float, *, ready_too: bool) -> None:
        """Write a report down. One under a name that the range has no more is only remembered."""
        one = self._ranges.get(name.row)
        if one is None:
            return
        fresh = ready_too and one.state is EventState.READY and one.attempts == name.attempt
        if fresh:
            self._take(one, name.job)
        mine = one.attempts == name.attempt and one.owner == name.job
        done = self._tell(one, item, in_zip, now, changeable=mine and (fresh or one.state in IN_HAND))
        entry = self._books.entry(name.job)
        if done and entry is not None:
            entry.ranges_done += 1

    def _tell(self, one: Range, item: Mapping[str, Any], in_zip: Zip | None, now: float, *, changeable: bool) -> bool:
        """Tell a range of a report, count it, and say whether the range is finished by it."""
        again = one.told_again
        done = one.report(item, in_zip, now, changeable=changeable)
        if item["eventStatus"] == "finished":
            self._finished["reports"] += 1
            self._finished["void"] += not done
            self._finished["again"] += one.told_again - again
        return done

    def _take(self, one: Range, job_id: int) -> None:
        """Give a ready range to a job that reports on it without having asked for it."""
        self._pools[one.jobset_id].ready.remove(one)
        one.hand_out(job_id)
        self._held.setdefault(job_id, []).append(one)

    def release(self, entry: JobEntry) -> None:
        """Take back from an ended job what it did not do, and let merge jobs follow where all is done."""
        with self._lock:
            pools = {entry.jobset_id: self._pools[entry.jobset_id]} if entry.jobset_id in self._pools else {}
            for one in self._held.pop(entry.panda_id, []):
                pool = pools[one.jobset_id] = self._pools[one.jobset_id]
                one.release()
                if one.state is EventState.READY:
                    pool.ready.append(one)
            if entry.state is JobState.FINISHED:
                for pool in pools.values():
                    self._merge(pool, entry)

    def _merge(self, pool: Pool, entry: JobEntry) -> None:
        """Let the merge job follow if it is due; with an archive that is nowhere the job hangs in holding."""
        if not pool.due or pool.step is None:
            return
        pool.merged = True
        if not all(one.placed for one in archives(pool.members)):
            entry.state, entry.archived_at = JobState.HOLDING, None
            return
        if entry.panda_id not in self._jumbo:
            entry.state, entry.sub_status = JobState.MERGING, "es_merge"
        job = json.loads(pool.entry.wire)
        self._books.add([merge_job(MERGES_FROM + self._merges, job, pool.entry.site, pool.step, pool.members)])
        self._merges += 1

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

    def details(self, state: str = "") -> dict[str, list[dict[str, Any]]]:
        """Give every range in a state, or every range for the empty string, and all archives."""
        with self._lock:
            wanted = [one for one in self._ranges.values() if state in {"", one.state.name.lower()}]
            return {"ranges": [one.detail() for one in wanted], "zips": self._zips.details()}

    def summary(self) -> dict[str, Any]:
        """Count the ranges by state, and what a client should not do to them.

        `finished_again`: ranges that were reported finished more than once under one name; `finished_void`: all reports
        that changed nothing, also those under an older name and those of a job that had ended; `unanswered`: how often
        a range was handed out, and nothing came of it.
        """
        with self._lock:
            ranges = self._ranges.values()
            in_sent = sum(1 for one in ranges if one.state is EventState.SENT)
            return {
                "ranges": len(ranges),
                "states": dict(Counter(one.state.name.lower() for one in ranges)),
                "handed_out": sum(one.handed_out for one in ranges),
                "unanswered": in_sent + sum(one.unanswered for one in ranges),
                "finished_reports": self._finished["reports"],
                "finished_void": self._finished["void"],
                "finished_again": self._finished["again"],
                **self._zips.summary(),
            }


def _numbers(item: Any) -> Name | None:
    """Read the name in a report; None: it is none."""
    try:
        return Name(*map(int, item["eventRangeID"].split("-")))
    except (KeyError, ValueError, TypeError, AttributeError):
        return None


def _flatten(items: Iterable[Any]) -> Iterator[tuple[Any, Mapping[str, Any] | None]]:
    """Give the ranges of every chunk, each with what is said of the chunk's archive, and those that stand alone."""
    for item in items:
        if isinstance(item, Mapping) and "eventRanges" in item:
            said = item.get("zipFile")
            known = said if isinstance(said, Mapping) and "lfn" in said else None
            yield from ((one, known) for one in item["eventRanges"])
        else:
            yield item, None
