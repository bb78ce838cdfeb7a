"""Where things lie in the work folder, which the edge node shares with the compute nodes. Pure names.

<work_dir>/<harvester_id>/
    lease.json
    runner-<digest>.zip                 the runner, where the site wants it in a single file
    jobs/<PandaID>/<lfn>                inputs, whole and checked
    jobs/<PandaID>.<attempt>/           one attempt's own folder: made and used by the runner
    jobs/<PandaID>.a<number>/           what an allocation keeps of event ranges that failed
    images/                             container images as files, and notes of what was pulled
    allocations/<number>/               manifest, journal, heartbeat, kill notes, script, stdout, stderr
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hpcharvest.model.ids import AllocationId, Attempt, JobId


@dataclass(frozen=True, slots=True)
class Folders:
    """The folders of one harvester."""

    root: Path

    @property
    def lease(self) -> Path:
        """The lease that keeps a second controller off."""
        return self.root / "lease.json"

    @property
    def allocations(self) -> Path:
        """All allocations."""
        return self.root / "allocations"

    @property
    def jobs(self) -> Path:
        """All jobs."""
        return self.root / "jobs"

    @property
    def images(self) -> Path:
        """Container images, where the site names no other place."""
        return self.root / "images"

    def allocation(self, number: AllocationId) -> Path:
        """One allocation's folder."""
        return self.allocations / str(number)

    def inputs(self, job: JobId) -> Path:
        """Where a job's inputs are staged in."""
        return self.jobs / str(job)

    def served(self, job: JobId, allocation: AllocationId) -> Path:
        """Where an allocation keeps what people may want to see of a job's event ranges."""
        return self.jobs / f"{job}.a{allocation}"

    def attempt(self, job: JobId, attempt: Attempt) -> Path:
        """Where one attempt of a job runs."""
        return self.jobs / f"{job}.{attempt}"
