"""What the books hold of one job."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hpcharvest.sandbox.adder import Expected
from hpcharvest.sandbox.definition import MergeStep, event_service
from hpcharvest.sandbox.jobs import ROUTING_KEY
from hpcharvest.sandbox.states import ARCHIVED, FINAL, JobState

LABELS: dict[str | None, frozenset[str]] = {
    None: frozenset({"managed", "test", "prod_test", "install"}),
    "managed": frozenset({"managed", "test", "prod_test", "install"}),
    "user": frozenset({"user", "panda", "install"}),
    "unified": frozenset({"managed", "test", "prod_test", "install", "user", "panda"}),
}
"""Which `prodSourceLabel`s a request for one label gets."""

TO_BE_KILLED = "tobekilled"
NO_COMMAND = "NULL"


@dataclass(frozen=True, kw_only=True, slots=True)
class Criteria:
    """What a client asks for in `acquire_jobs`; zero or None is no filter."""

    site: str
    label: str | None = None
    owner: str | None = None
    task_id: int | None = None
    resource_type: str | None = None
    memory: int = 0
    disk_space: int = 0
    remaining_time: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Acquisition:
    """Once handed out: when (seconds since the epoch), to whom, and whether it had been handed out before."""

    at: float
    scheduler: str | None
    redelivery: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Update:
    """One call of `update_job` with right arguments: when, what was said, and whether it changed the job."""

    at: float
    status: str
    accepted: bool


@dataclass(kw_only=True, slots=True)
class JobEntry:
    """One job's page in the books. Times are seconds since the epoch.

    The definition is kept as the JSON text that is served, which is small and cheap to send.
    """

    panda_id: int
    site: str
    priority: int
    attempt_nr: int
    label: str
    owner: str
    task_id: int
    jobset_id: int
    resource_type: str
    memory: int
    disk_space: int
    walltime: int
    expected: Expected
    wire: str
    state: JobState = JobState.ACTIVATED
    sub_status: str | None = None
    command: str | None = None
    batch_id: str | None = None
    ranges_done: int = 0
    acquisitions: list[Acquisition] = field(default_factory=list)
    updates: list[Update] = field(default_factory=list)
    fields: dict[str, Any] = field(default_factory=dict)
    final_reports: int = 0
    first_sent_at: float | None = None
    final_at: float | None = None
    final_status: JobState | None = None
    output_report: str | None = None
    archived_at: float | None = None
    diag: str = ""

    @classmethod
    def of(cls, job: Mapping[str, Any]) -> JobEntry:
        """Make the page of an activated job; KeyError names a key that the dictionary lacks."""
        return cls(
            panda_id=job["PandaID"],
            site=job[ROUTING_KEY],
            priority=job["currentPriority"],
            attempt_nr=job["attemptNr"],
            label=job["prodSourceLabel"],
            owner=job["prodUserID"],
            task_id=job["taskID"],
            jobset_id=job["jobsetID"],
            resource_type=job["resource_type"],
            memory=job["minRamCount"],
            disk_space=job["maxDiskCount"],
            walltime=job["maxWalltime"],
            expected=Expected.of(job),
            wire=json.dumps({key: value for key, value in job.items() if key != ROUTING_KEY}),
        )

    def serve_events(self, *, jumbo: bool = False) -> MergeStep | None:
        """Make it an event-service job, from the next time it is handed out; give the merge step that it names."""
        job, step = event_service(json.loads(self.wire), jumbo=jumbo)
        self.wire = json.dumps(job)
        self.expected = Expected.of(job)
        return step

    @property
    def double_reports(self) -> int:
        """How many final reports came beyond the one that is due."""
        return max(0, self.final_reports - 1)

    @property
    def latency_s(self) -> float | None:
        """Seconds from the first handing out to the first accepted final report."""
        if self.first_sent_at is None or self.final_at is None:
            return None
        return self.final_at - self.first_sent_at

    def suits(self, wanted: Criteria) -> bool:
        """Tell whether the job is among what was asked for."""
        labels = LABELS.get(wanted.label, frozenset({wanted.label}))
        return (
            self.label in labels
            and wanted.owner in {None, self.owner}
            and wanted.task_id in {None, self.task_id}
            and wanted.resource_type in {None, self.resource_type}
            and not 0 < wanted.memory < self.memory
            and not 0 < wanted.disk_space < self.disk_space
            and not 0 < wanted.remaining_time < self.walltime
        )

    def changes_batch_id(self, batch_id: str | None) -> bool:
        """Tell whether the batch id goes from one non-numeric value to another, at which the server stumbles."""
        return (
            batch_id is not None
            and self.batch_id is not None
            and batch_id != self.batch_id
            and not batch_id.isdigit()
            and not self.batch_id.isdigit()
        )

    def admits(self, reported: JobState) -> bool:
        """Tell whether a report changes the job: nothing but a final one does while it is in holding."""
        if self.state in ARCHIVED or self.final_at is not None:
            return False
        return self.state is not JobState.HOLDING or reported in FINAL

    def detail(self) -> dict[str, Any]:
        """Give everything that is known, for JSON."""
        return {
            "panda_id": self.panda_id,
            "site": self.site,
            "state": self.state,
            "sub_status": self.sub_status,
            "command": self.command,
            "attempt_nr": self.attempt_nr,
            "acquisitions": [
                {"at": one.at, "scheduler": one.scheduler, "redelivery": one.redelivery} for one in self.acquisitions
            ],
            "updates": [{"at": one.at, "status": one.status, "accepted": one.accepted} for one in self.updates],
            "fields": self.fields,
            "final_reports": self.final_reports,
            "double_reports": self.double_reports,
            "first_sent_at": self.first_sent_at,
            "final_at": self.final_at,
            "final_status": self.final_status,
            "latency_s": self.latency_s,
            "output_report": self.output_report,
            "diag": self.diag,
        }
