"""The exact books of the jobs: who asked what and when, and what became of every job.

Pure state in memory under one lock; whoever calls brings the time. Nothing runs in the background: the adder and the
redelivery of unheard-of jobs are caught up with at the start of every call, so that what a client sees is what it
would see if they had run on time.
"""

from __future__ import annotations

import heapq
import statistics
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from hpcharvest.sandbox.adder import judge
from hpcharvest.sandbox.ledger import NO_COMMAND, TO_BE_KILLED, Acquisition, Criteria, JobEntry, Update
from hpcharvest.sandbox.states import ARCHIVED, FINAL, JobState

STATUS_MEMORY_S = 3600.0
"""How long `get_status` remembers an archived job."""

FORCED_KILL_CODES = frozenset({9, 52, 99})
_KILLED_AT_ONCE = frozenset({JobState.ACTIVATED, JobState.SENT})
_KEPT_APART = frozenset({"job_output_report", "stdout", "pilot_log"})


class DatabaseError(Exception):
    """The real server's database would have refused this."""


def _nobody_listens(_entry: JobEntry) -> None:
    """Do nothing about an archived job."""


def _nothing_more() -> None:
    """Do nothing about jobs that were added."""


class Books:
    """All jobs of the server.

    `redeliver_after_s`: a job that is still `sent` and of which no update came for so long is handed out again, since
    its answer may have been lost; None never does. `adder_delay_s`: how long a reported job stays in holding.
    `on_archive` is called, under the lock, for every job that ends.
    """

    def __init__(self, *, redeliver_after_s: float | None = 60.0, adder_delay_s: float = 0.2) -> None:
        self.redeliver_after_s = redeliver_after_s
        self.adder_delay_s = adder_delay_s
        self.on_archive: Callable[[JobEntry], None] = _nobody_listens
        self._lock = threading.RLock()
        self._clear()

    def _clear(self) -> None:
        self._jobs: dict[int, JobEntry] = {}
        self._waiting: dict[str, list[tuple[int, int]]] = {}
        self._unheard: deque[tuple[float, int]] = deque()
        self._reported: deque[tuple[float, int]] = deque()
        self._unsolicited = 0

    def reset(self) -> None:
        """Forget everything."""
        with self._lock:
            self._clear()

    def add(self, jobs: Iterable[Mapping[str, Any]], *, then: Callable[[], None] = _nothing_more) -> int:
        """Activate jobs and say how many; ValueError, and nothing added, if one is incomplete or known already.

        `then` is done before anybody can get them.
        """
        with self._lock:
            try:
                entries = [JobEntry.of(job) for job in jobs]
            except KeyError as error:
                raise ValueError(f"job dictionary without {error}: make it with jobs.make_job") from error
            known = {entry.panda_id for entry in entries} & self._jobs.keys()
            if known or len({entry.panda_id for entry in entries}) < len(entries):
                raise ValueError(f"PandaIDs given twice: {sorted(known)[:10]}")
            for entry in entries:
                self._jobs[entry.panda_id] = entry
                self._queue(entry)
            then()
            return len(entries)

    def _queue(self, entry: JobEntry) -> None:
        heap = self._waiting.setdefault(entry.site, [])
        heapq.heappush(heap, (-entry.priority, entry.panda_id))

    def entry(self, panda_id: int) -> JobEntry | None:
        """Give the page of one job, as it was left by the last call."""
        return self._jobs.get(panda_id)

    def acquire(self, wanted: Criteria, n_jobs: int, scheduler: str | None, now: float) -> list[JobEntry]:
        """Hand out at most `n_jobs` activated jobs, high priority first, then the lowest PandaID."""
        with self._lock:
            self.settle(now)
            heap = self._waiting.get(wanted.site, [])
            got: list[JobEntry] = []
            passed: list[tuple[int, int]] = []
            while heap and len(got) < n_jobs:
                item = heapq.heappop(heap)
                entry = self._jobs[item[1]]
                if entry.state is not JobState.ACTIVATED:
                    continue
                if not entry.suits(wanted):
                    passed.append(item)
                    continue
                self._hand_out(entry, scheduler, now)
                got.append(entry)
            for item in passed:
                heapq.heappush(heap, item)
            return got

    def _hand_out(self, entry: JobEntry, scheduler: str | None, now: float) -> None:
        again = bool(entry.acquisitions)
        entry.acquisitions.append(Acquisition(at=now, scheduler=scheduler, redelivery=again))
        entry.state = JobState.SENT
        entry.first_sent_at = now if entry.first_sent_at is None else entry.first_sent_at
        self._unheard.append((now, entry.panda_id))

    def update(self, job_id: int, status: JobState, given: Mapping[str, Any], now: float) -> str:
        """Take one report and give the command for the client.

        `given` has the arguments of `update_job` by name. Raises DatabaseError where the real server fails.
        """
        with self._lock:
            self.settle(now)
            entry = self._jobs.get(job_id)
            if entry is None:
                return TO_BE_KILLED
            return self._update(entry, status, given, now)

    def _update(self, entry: JobEntry, status: JobState, given: Mapping[str, Any], now: float) -> str:
        attempt_nr = given.get("attempt_nr")
        gone = entry.state in ARCHIVED or attempt_nr not in {None, entry.attempt_nr}
        accepted = not gone and entry.admits(status)
        entry.updates.append(Update(at=now, status=status, accepted=accepted))
        if status in FINAL:
            entry.final_reports += 1
        if not entry.acquisitions:
            self._unsolicited += 1
        if gone:
            return TO_BE_KILLED
        if entry.changes_batch_id(given.get("batch_id")):
            entry.updates[-1] = Update(at=now, status=status, accepted=False)
            raise DatabaseError(f"job {entry.panda_id}: batch_id changed")
        if accepted:
            self._accept(entry, status, given, now)
        return entry.command or NO_COMMAND

    def _accept(self, entry: JobEntry, status: JobState, given: Mapping[str, Any], now: float) -> None:
        for key, value in given.items():
            if value is not None and key not in _KEPT_APART:
                entry.fields[key] = value
        entry.batch_id = given.get("batch_id") or entry.batch_id
        entry.sub_status = given.get("job_sub_status") or entry.sub_status
        if status not in FINAL:
            entry.state = status
            return
        entry.state = JobState.HOLDING
        entry.final_at = now
        entry.final_status = status
        entry.output_report = given.get("job_output_report", "")
        self._reported.append((now, entry.panda_id))

    def settle(self, now: float) -> None:
        """Catch up with what is due: the adder, and jobs to be handed out again. Every other call does it first."""
        with self._lock:
            while self._reported and self._reported[0][0] + self.adder_delay_s <= now:
                self._add_outputs(self._jobs[self._reported.popleft()[1]], now)
            if self.redeliver_after_s is not None:
                while self._unheard and self._unheard[0][0] + self.redeliver_after_s <= now:
                    self._redeliver(*self._unheard.popleft())

    def _redeliver(self, sent_at: float, panda_id: int) -> None:
        entry = self._jobs[panda_id]
        if entry.state is JobState.SENT and not entry.updates and entry.acquisitions[-1].at == sent_at:
            entry.state = JobState.ACTIVATED
            self._queue(entry)

    def _add_outputs(self, entry: JobEntry, now: float) -> None:
        if entry.state is not JobState.HOLDING or entry.final_status is None:
            return
        codes = (entry.fields.get("pilot_error_code"), entry.fields.get("trans_exit_code"))
        verdict = judge(
            entry.expected,
            entry.final_status,
            entry.output_report or "",
            own_error=any(codes),
            killed=entry.command == TO_BE_KILLED,
        )
        entry.diag = verdict.diag
        if entry.expected.event_service and verdict.state is JobState.FINISHED and not entry.ranges_done:
            entry.sub_status = "es_noevent"
            self._archive(entry, JobState.CLOSED, now)
        else:
            self._archive(entry, verdict.state, now)

    def _archive(self, entry: JobEntry, state: JobState, now: float) -> None:
        entry.state = state
        entry.archived_at = now
        self.on_archive(entry)

    def status(self, job_ids: Sequence[int], now: float) -> list[dict[str, str | None]]:
        """Answer `job/get_status`, in the order of the question."""
        with self._lock:
            self.settle(now)
            return [self._status(self._jobs.get(job_id), now) for job_id in job_ids]

    def _status(self, entry: JobEntry | None, now: float) -> dict[str, str | None]:
        forgotten = entry is not None and entry.archived_at is not None
        if entry is None or (forgotten and (entry.archived_at or 0.0) + STATUS_MEMORY_S < now):
            return {"command": TO_BE_KILLED, "status": "unknown"}
        return {"command": entry.command, "status": entry.state}

    def pilot_status(self, job_ids: Sequence[int], now: float) -> list[dict[str, Any]]:
        """Answer `pilot/get_job_status`."""
        with self._lock:
            self.settle(now)
            return [
                {"job_id": job_id, "status": "not found", "attempt_number": 0}
                if (entry := self._jobs.get(job_id)) is None
                else {"job_id": job_id, "status": entry.state, "attempt_number": entry.attempt_nr}
                for job_id in job_ids
            ]

    def kill(self, job_ids: Sequence[int], code: int | None, now: float) -> list[bool]:
        """Cancel at once what has not started, or by force; tell the others to stop. False: nothing to kill."""
        with self._lock:
            self.settle(now)
            return [self._kill(self._jobs.get(job_id), code, now) for job_id in job_ids]

    def _kill(self, entry: JobEntry | None, code: int | None, now: float) -> bool:
        if entry is None or entry.state in ARCHIVED:
            return False
        entry.command = TO_BE_KILLED
        if entry.state in _KILLED_AT_ONCE or code in FORCED_KILL_CODES:
            self._archive(entry, JobState.CANCELLED, now)
        return True

    def set_command(self, job_id: int, command: str, now: float) -> bool:
        """Leave a command for the next contact; False if there is no such active job."""
        with self._lock:
            self.settle(now)
            entry = self._jobs.get(job_id)
            if entry is None or entry.state in ARCHIVED:
                return False
            entry.command = command
            return True

    def by_site(self, now: float) -> dict[str, dict[str, int]]:
        """Count the active jobs of each queue by state."""
        with self._lock:
            self.settle(now)
            sites: dict[str, dict[str, int]] = {}
            for entry in self._jobs.values():
                if entry.state not in ARCHIVED:
                    counts = sites.setdefault(entry.site, {"running": 0, "activated": 0, "sent": 0, "assigned": 0})
                    counts[entry.state] = counts.get(entry.state, 0) + 1
            return sites

    def details(self, state: str, now: float) -> list[dict[str, Any]]:
        """Give every job in a state, or every job for the empty string."""
        with self._lock:
            self.settle(now)
            return [entry.detail() for entry in self._jobs.values() if state in {"", entry.state}]

    def summary(self, now: float) -> dict[str, Any]:
        """Give the account of all jobs; latencies are seconds from the first fetch to the first final report."""
        with self._lock:
            self.settle(now)
            entries = list(self._jobs.values())
            doubles = [entry.panda_id for entry in entries if entry.double_reports]
            latencies = [entry.latency_s for entry in entries if entry.latency_s is not None]
            deliveries = sum(len(entry.acquisitions) for entry in entries)
            acquired = sum(1 for entry in entries if entry.acquisitions)
            return {
                "jobs": len(entries),
                "states": dict(Counter(str(entry.state) for entry in entries)),
                "acquired": acquired,
                "deliveries": deliveries,
                "redelivered": deliveries - acquired,
                "final_reports": sum(entry.final_reports for entry in entries),
                "double_reports": sum(entry.double_reports for entry in entries),
                "double_reported_jobs": doubles[:100],
                "unsolicited_updates": self._unsolicited,
                "latency_s": {
                    "median": statistics.median(latencies) if latencies else None,
                    "max": max(latencies, default=None),
                },
            }
