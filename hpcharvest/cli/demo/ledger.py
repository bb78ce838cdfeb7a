"""The controller's own database, looked at from outside while the controller writes it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from hpcharvest.cli.demo.audit import Kept
from hpcharvest.cli.demo.findings import Content
from hpcharvest.config.loader import load
from hpcharvest.model.allocation import Allocation
from hpcharvest.model.ids import AllocationId, JobId
from hpcharvest.model.states import AllocationState
from hpcharvest.store.database import Database

_PAGE = 1000


class Ledger:
    """The local ledger. Only read; open it when the controller has made it."""

    def __init__(self, config: Path) -> None:
        self._database = Database.open(load(config).controller.database)

    def close(self) -> None:
        """Give up the connections."""
        self._database.close()

    def jobs(self) -> Counter[str]:
        """Count the jobs by state."""
        found: Counter[str] = Counter()
        for states in self._database.jobs.counts().values():
            found.update({str(state): count for state, count in states.items()})
        return found

    def allocations(self) -> Counter[str]:
        """Count the allocations by state."""
        live = Counter(str(one.state) for one in self._database.allocations.live())
        return live + Counter({str(AllocationState.ENDED): self._database.allocations.last_id() - live.total()})

    def live_allocations(self) -> int:
        """Count the allocations that have not ended."""
        return len(self._database.allocations.live())

    def running(self) -> list[Allocation]:
        """Give the allocations whose runner is at work."""
        return [one for one in self._database.allocations.live() if one.state is AllocationState.RUNNING]

    def allocation_numbers(self) -> list[AllocationId]:
        """Give the numbers of all allocations."""
        return [AllocationId(number) for number in range(1, self._database.allocations.last_id() + 1)]

    def owed(self) -> int:
        """Count the reports that the server has not acknowledged."""
        return self._database.outbox.owed_count()

    def all(self) -> dict[int, Kept]:
        """Tell what is kept of every job, by PandaID."""
        owed = {report.job for report in self._database.outbox.all()}
        found: dict[int, Kept] = {}
        last = 0
        while page := self._database.jobs.page(limit=_PAGE, after=JobId(last)):
            last = page[-1].id
            for job in page:
                found[job.id] = Kept(
                    state=job.state,
                    files={file.lfn: Content(file.size, file.adler32) for file in job.stored},
                    report_owed=job.id in owed,
                    nodes=job.outcome.node if job.outcome else "",
                )
        return found
