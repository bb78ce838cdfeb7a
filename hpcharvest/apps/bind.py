"""How the three stages become one Parsl DAG, in a DataFlowKernel of our own; and how an archive gets one of its own."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import Any

from parsl.config import Config
from parsl.dataflow.dflow import DataFlowKernel
from parsl.dataflow.errors import DependencyError
from parsl.executors.threads import ThreadPoolExecutor

from hpcharvest.apps.archive import ArchiveTicket, archived, store_archive
from hpcharvest.apps.memo import DatabaseMemoizer
from hpcharvest.apps.payload import LABEL, AllocationExecutor, payload
from hpcharvest.apps.stage_in import stage_in
from hpcharvest.apps.stage_out import stage_out
from hpcharvest.apps.ticket import Ran, Ticket
from hpcharvest.model.event_range import Bundle
from hpcharvest.model.ids import Attempt, JobId
from hpcharvest.model.job import Job, StoredFile

EDGE = "edge"
"""The executor on which data moves: threads on this very node."""


class Witness:
    """Who is told how the stages of a DAG went. Called from Parsl's threads: it must not block."""

    def staged_in(self, job: JobId) -> None:
        """All inputs are here."""

    def payload_wanted(self, job: JobId) -> None:
        """Its DAG has come to the payload."""

    def staged_out(self, job: JobId, attempt: Attempt, stored: tuple[StoredFile, ...]) -> None:
        """All outputs are confirmed."""

    def stage_failed(self, job: JobId, error: BaseException) -> None:
        """Staging in or out failed."""

    def bundle_stored(self, bundle: Bundle, url: str) -> None:
        """Hear that a bundle's archive is confirmed at its destination."""

    def bundle_failed(self, bundle: Bundle, error: BaseException) -> None:
        """Hear that a bundle's archive did not get there."""

    def dag_ended(self, job: JobId) -> None:
        """Nothing of this DAG is left in Parsl."""


class Dags:
    """The DAGs that lie in Parsl. One DataFlowKernel, never the global one."""

    def __init__(
        self, witness: Witness, look_up: Callable[[JobId], Job | None], *, run_dir: Path, stage_threads: int
    ) -> None:
        # Every failure of a stage comes to the witness with its reason; Parsl's own account of it would only repeat it.
        logging.getLogger("parsl").setLevel(logging.ERROR)
        logging.getLogger("parsl.dataflow.dflow").addFilter(lambda record: record.funcName != "handle_exec_update")
        shutil.rmtree(run_dir, ignore_errors=True)  # Parsl makes a folder at every start, and leaves it
        self._witness = witness
        self.allocations = AllocationExecutor(witness.payload_wanted)
        self._edge = ThreadPoolExecutor(label=EDGE, max_threads=stage_threads)
        self._kernel = DataFlowKernel(
            Config(
                executors=[self._edge, self.allocations],
                memoizer=DatabaseMemoizer(look_up),
                strategy="none",
                initialize_logging=False,
                monitoring=None,
                usage_tracking=0,
                retries=0,
                run_dir=str(run_dir),
            )
        )

    def start(self, ticket: Ticket) -> None:
        """Give a job's DAG to Parsl: stage-in, payload, stage-out, with futures as edges."""
        job = ticket.job
        inputs = self._submit(stage_in, EDGE, ticket)
        # Before the payload is submitted, so that the witness hears of the inputs before the payload is wanted.
        inputs.add_done_callback(lambda done: self._saw_stage_in(job, done))
        ran = self._submit(payload, LABEL, ticket, inputs)
        outputs = self._submit(stage_out, EDGE, ticket, ran)
        outputs.add_done_callback(lambda done: self._saw_stage_out(job, ran, done))

    def start_bundle(self, archive: ArchiveTicket) -> None:
        """Give a bundle's DAG to Parsl: its job's inputs, which are there, the archive, and its stage-out."""
        inputs = self._submit(stage_in, EDGE, archive.ticket)
        found = self._submit(archived, EDGE, archive, inputs)
        stored = self._submit(store_archive, EDGE, archive, found)
        stored.add_done_callback(lambda done: self._saw_archive(archive.bundle, (inputs, found, done)))

    def close(self) -> None:
        """Wait for the stages that are moving data, drop those that have not begun, and leave; allocations go on."""
        self._edge.executor.shutdown(wait=True, cancel_futures=True)
        self._kernel.cleanup()

    def _submit(self, stage: Callable[..., Any], executor: str, *arguments: Any) -> Future[Any]:
        future: Future[Any] = self._kernel.submit(
            stage, app_args=arguments, executors=[executor], cache=False, ignore_for_cache=None, app_kwargs={}
        )
        return future

    def _saw_stage_in(self, job: JobId, done: Future[None]) -> None:
        error = _failure(done)
        if error is None:
            self._witness.staged_in(job)
        elif not isinstance(error, CancelledError):  # one that was dropped at the end did not fail
            self._witness.stage_failed(job, error)

    def _saw_archive(self, bundle: Bundle, stages: Iterable[Future[Any]]) -> None:
        """Tell how a bundle's stages went; of those that failed, the first says why."""
        error = next((error for stage in stages if (error := _failure(stage)) is not None), None)
        if error is None:
            *_, stored = stages
            self._witness.bundle_stored(bundle, stored.result())
        elif not isinstance(error, CancelledError):
            self._witness.bundle_failed(bundle, error)

    def _saw_stage_out(self, job: JobId, ran: Future[Ran], done: Future[tuple[StoredFile, ...]]) -> None:
        error = _failure(done)
        if error is None:
            self._witness.staged_out(job, ran.result().attempt, done.result())
        elif not isinstance(error, DependencyError | CancelledError):  # an earlier stage's failure was told already
            self._witness.stage_failed(job, error)
        self._witness.dag_ended(job)


def _failure(done: Future[Any]) -> BaseException | None:
    """Say what a stage failed of; None: of nothing."""
    return CancelledError() if done.cancelled() else done.exception()
