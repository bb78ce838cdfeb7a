"""What is done about batch jobs, outside the loop: submit, close, cancel, leave a note. In the threads of the hands."""

from __future__ import annotations

import logging
from queue import SimpleQueue

from hpcharvest.apps.folders import Folders
from hpcharvest.apps.images import Images
from hpcharvest.clock import Clock
from hpcharvest.config.schema import Configuration, Queue
from hpcharvest.engine import event_tasks, images, launch
from hpcharvest.engine.events import Event
from hpcharvest.engine.runner_zip import RunnerFile
from hpcharvest.errors import ConfigurationError, HarvestError, MessageNotUnderstood, StorageUnavailable
from hpcharvest.messenger.mailbox import Mailbox
from hpcharvest.model import facts
from hpcharvest.model.allocation import Allocation
from hpcharvest.model.ids import AllocationId, Attempt, JobId
from hpcharvest.model.job import Job
from hpcharvest.providers.batch import BatchSystem
from hpcharvest.providers.dialect import BatchRequest

logger = logging.getLogger(__name__)


UNFORESEEN_TRIES = 20
"""How often a submission is tried that fails in a way that nobody foresaw."""


class BatchJobs:
    """The effects of decisions about allocations. Every one may be repeated."""

    def __init__(
        self,
        *,
        configuration: Configuration,
        folders: Folders,
        systems: dict[str, BatchSystem],
        images: Images,
        runner: RunnerFile,
        events: SimpleQueue[Event],
        clock: Clock,
    ) -> None:
        self._configuration = configuration
        self._heartbeat_s = configuration.controller.patience.heartbeat_s
        self._folders = folders
        self._systems = systems
        self._images = images
        self._runner = runner
        self._events = events
        self._clock = clock

    def mailbox(self, number: AllocationId) -> Mailbox:
        """Give the folder through which we speak with an allocation."""
        return Mailbox(self._folders.allocation(number))

    def submit(self, allocation: Allocation, jobs: list[Job]) -> None:
        """Look for the batch job by its tag if it may be there already; else write what it needs, and submit it."""
        try:
            batch_id = self._submitted(allocation, jobs)
        except HarvestError as error:
            level = logging.WARNING if error.transient else logging.ERROR
            logger.log(level, "allocation %s was not submitted: %s", allocation.id, error)
            self._failed(allocation, error, transient=error.transient)
        except Exception as error:
            # A dialect of others may break in ways that nobody foresaw; the allocation needs an answer all the same.
            logger.exception("allocation %s was not submitted", allocation.id)
            self._failed(allocation, error, transient=allocation.submissions < UNFORESEEN_TRIES)
        else:
            self._events.put(facts.Submitted(allocation=allocation.id, batch_id=batch_id, at=self._clock.wall()))

    def close(self, allocation: Allocation) -> None:
        """Win the end, and let the batch system end what may still be there of it."""
        mailbox = self.mailbox(allocation.id)
        try:
            (mailbox.folder / "journal").mkdir(parents=True, exist_ok=True)
            by = allocation.batch_words or "the controller"
            mailbox.journal.close(allocation.next_segment, by=by, at=self._clock.wall())
        except (HarvestError, OSError) as error:
            logger.warning("allocation %s cannot be closed: %s; will try again", allocation.id, error)
            return
        if allocation.batch_id and not allocation.batch_state.ended:
            self._end_batch_job(allocation)

    def cancel(self, allocation: Allocation) -> None:
        """Ask the runner to leave, which works also while the batch system does not answer, and the batch system."""
        try:
            self.mailbox(allocation.id).leave_kill_all()
        except HarvestError as error:
            logger.warning("allocation %s: no note could be left: %s; will try again", allocation.id, error)
        self._end_batch_job(allocation)

    def tag_in_folder(self, number: AllocationId) -> str:
        """Give the tag that an allocation's folder has; empty if there is none that can be read."""
        try:
            return self.mailbox(number).read_manifest().tag
        except (StorageUnavailable, MessageNotUnderstood):
            return ""

    def end_stray(self, site: str, batch_id: str, number: AllocationId | None) -> None:
        """End a batch job; if it is that of an allocation that is over, `number`, its runner is asked to leave."""
        try:
            if number is not None and self.mailbox(number).folder.is_dir():
                self.mailbox(number).leave_kill_all()
            self._systems[site].cancel([batch_id])
        except HarvestError as error:
            logger.warning("batch job %s cannot be ended: %s; will try again", batch_id, error)

    def leave_note(self, job: JobId, attempt: Attempt, allocation: AllocationId) -> None:
        """Ask the runner to stop one payload."""
        try:
            self.mailbox(allocation).leave_kill_note(job, attempt)
        except HarvestError as error:
            logger.warning("job %s: no kill note could be left: %s; will try again", job, error)

    def _end_batch_job(self, allocation: Allocation) -> None:
        try:
            self._systems[self._queue(allocation).site.name].cancel([allocation.batch_id])
        except HarvestError as error:
            logger.warning("allocation %s cannot be cancelled: %s; will try again", allocation.id, error)

    def _submitted(self, allocation: Allocation, jobs: list[Job]) -> str:
        queue = self._queue(allocation)
        system = self._systems[queue.site.name]
        batch_id = system.find(allocation.tag) if allocation.submissions > 1 else ""
        return batch_id or system.submit(self._prepare(allocation, jobs, queue))

    def _failed(self, allocation: Allocation, error: Exception, *, transient: bool) -> None:
        reason = f"{type(error).__name__}: {error}"
        at = self._clock.wall()
        self._events.put(facts.SubmissionFailed(allocation=allocation.id, transient=transient, reason=reason, at=at))

    def _queue(self, allocation: Allocation) -> Queue:
        queue = self._configuration.queues.get(allocation.queue)
        if queue is None:
            raise ConfigurationError(f"the queue {allocation.queue} is configured no more")
        return queue

    def _prepare(self, allocation: Allocation, jobs: list[Job], queue: Queue) -> BatchRequest:
        mailbox = self.mailbox(allocation.id)
        ready = images.all_ready(jobs, queue, self._folders, self._images)
        whole = [job for job in jobs if job.allocation == allocation.id]
        manifest = launch.manifest(
            allocation,
            whole,
            queue,
            self._folders,
            heartbeat_s=self._heartbeat_s,
            images=ready,
            event_tasks=event_tasks.event_tasks(jobs, allocation, queue, self._folders, ready),
        )
        mailbox.write_manifest(manifest)
        site, gpus = queue.site, manifest.gpus_per_node > 0
        request = launch.batch_request(allocation.tag, allocation.shape, mailbox.folder, site, gpus=gpus)
        if site.software.runner == "file":
            self._runner.place()
        dialect, runner = self._systems[site.name].dialect, self._runner.path
        try:
            prologue = site.software.prologue.read_text() if site.software.prologue else ""
            request.script.write_text(launch.script(request, site, dialect, prologue, runner))
        except OSError as error:
            raise StorageUnavailable(f"cannot write {request.script}: {error.strerror}") from error
        return request
