"""The window of DAGs that lie in Parsl; the rest waits in the database."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue

from hpcharvest.apps.bind import Dags, Witness
from hpcharvest.apps.folders import Folders
from hpcharvest.apps.images import WantedImage
from hpcharvest.apps.ticket import Ran, Storage, Ticket
from hpcharvest.clock import Clock
from hpcharvest.engine.events import BundleFailed, BundleStored, DagEnded, Event
from hpcharvest.engine.mirror import Mirror
from hpcharvest.engine.sweeper import Sweeper
from hpcharvest.errors import ChecksumMismatch, HarvestError, JobError, OutputMissing, SourceMissing
from hpcharvest.model import facts
from hpcharvest.model.event_range import Bundle
from hpcharvest.model.ids import Attempt, JobId
from hpcharvest.model.job import Job, StoredFile
from hpcharvest.model.states import JobState
from hpcharvest.store.database import Database

STAGE_CODE = 1099
"""The pilot's error code of a stage that failed in a way that nobody foresaw."""
_MOVING = frozenset({JobState.RECEIVED, JobState.STAGED_IN, JobState.RAN})


class Reporter(Witness):
    """Puts what Parsl's threads see into the loop's queue."""

    def __init__(self, events: SimpleQueue[Event], clock: Clock) -> None:
        self._events = events
        self._clock = clock

    def staged_in(self, job: JobId) -> None:
        """All inputs are here."""
        self._events.put(facts.StagedIn(job=job, at=self._clock.wall()))

    def payload_wanted(self, job: JobId) -> None:
        """Its DAG has come to the payload."""
        self._events.put(facts.PayloadWanted(job=job, at=self._clock.wall()))

    def staged_out(self, job: JobId, attempt: Attempt, stored: tuple[StoredFile, ...]) -> None:
        """All outputs are confirmed."""
        self._events.put(facts.StagedOut(job=job, attempt=attempt, stored=stored, at=self._clock.wall()))

    def stage_failed(self, job: JobId, error: BaseException) -> None:
        """Staging in or out failed: what our errors do not tell is told as it is, and tried again."""
        foreseen = isinstance(error, HarvestError)
        transient = error.transient if isinstance(error, HarvestError) else True
        code = (error.pilot_code if isinstance(error, JobError) else None) or STAGE_CODE
        reason = str(error) if foreseen else f"{type(error).__name__}: {error}"
        self._events.put(
            facts.StageFailed(job=job, transient=transient, reason=reason[:1000], code=code, at=self._clock.wall())
        )

    def bundle_stored(self, bundle: Bundle, url: str) -> None:
        """Say that a bundle's archive is confirmed."""
        self._events.put(BundleStored(bundle=bundle.id, url=url))

    def bundle_failed(self, bundle: Bundle, error: BaseException) -> None:
        """Say that a bundle's archive is lost, or that it is to be tried again."""
        lost = isinstance(error, OutputMissing | ChecksumMismatch | SourceMissing)
        reason = str(error) if isinstance(error, HarvestError) else f"{type(error).__name__}: {error}"
        self._events.put(BundleFailed(bundle=bundle.id, lost=lost, reason=reason[:1000]))

    def dag_ended(self, job: JobId) -> None:
        """Nothing of the job's DAG is left in Parsl."""
        self._events.put(DagEnded(job=job))


class DagWindow:
    """Which jobs' DAGs lie in Parsl, at most `size` at once. Used by the loop alone."""

    def __init__(
        self,
        dags: Dags,
        *,
        folders: Folders,
        storages: dict[str, Storage],
        image: Callable[[Job], WantedImage | None],
        size: int,
        sweeper: Sweeper,
    ) -> None:
        self._dags = dags
        self._folders = folders
        self._storages = storages
        self._image = image
        self._size = size
        self._sweeper = sweeper
        self._inside: dict[JobId, JobState] = {}
        self._backlog = True
        """Whether the database may have waiting jobs that are not at hand."""

    def holds(self, job: JobId) -> bool:
        """Whether the job's DAG lies in Parsl."""
        return job in self._inside

    def moving(self) -> bool:
        """Whether any job inside is moving data, rather than waiting for its payload."""
        return any(state in _MOVING for state in self._inside.values())

    def start(self, job: Job, *, waited: bool = False) -> bool:
        """Give a job's DAG to Parsl, unless it is there already; False if there is no room for one that only begins.

        While jobs wait in the database, one that only begins goes there too, unless it comes from there (`waited`).

        A job whose queue is configured no more waits until it is again.
        """
        if job.id in self._inside:
            return True
        full = len(self._inside) >= self._size
        if job.state is JobState.RECEIVED and not job.tries and (full or (self._backlog and not waited)):
            self._backlog = True
            return False
        if storage := self._storages.get(job.queue):
            self._inside[job.id] = job.state
            self._dags.start(Ticket(spec=job.spec, folders=self._folders, storage=storage, image=self._image(job)))
        return True

    def follow(self, job: Job) -> None:
        """Let the DAG of a job go on, or end, as its committed state says."""
        if job.id in self._inside:
            self._inside[job.id] = job.state
        if job.state is JobState.RAN and job.outcome is not None:
            self._dags.allocations.resolve(job.id, Ran(attempt=job.attempt, outcome=job.outcome))
        elif job.state.final:
            self._dags.allocations.abandon(job.id, job.error or job.state)
            if job.state is not JobState.FAILED:  # what failed is kept, for people to look at
                attempts = range(1, job.attempt + 1)
                self._sweeper.take(
                    self._folders.inputs(job.id), *(self._folders.attempt(job.id, Attempt(one)) for one in attempts)
                )

    def ended(self, job: JobId) -> None:
        """Note that nothing of a job's DAG is left in Parsl."""
        self._inside.pop(job, None)

    def next_waiting(self, database: Database, mirror: Mirror) -> list[Job]:
        """Give jobs that wait in the database and may come into the window now."""
        room = self._size - len(self._inside)
        if not self._backlog or room < max(1, self._size // 10):
            return []
        found = database.jobs.waiting(room, exclude=self._inside.keys() | _asleep(mirror), queues=self._storages.keys())
        self._backlog = len(found) == room
        return found


def _asleep(mirror: Mirror) -> set[JobId]:
    """Jobs at hand that wait for their next try."""
    return {job.id for job in mirror.jobs.values() if job.state is JobState.RECEIVED and job.not_before}
