"""The middle stage of every DAG: the payload, on an executor of ours.

Parsl's own pilot executors keep their tasks in memory and lose them with the process (docs/adr/0003). Ours keeps
nothing: `submit` says that the payload is wanted and gives a future, the engine puts the job into an allocation and
resolves the future when the allocation's journal has told the outcome and the database has it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from parsl.executors.base import ParslExecutor

from hpcharvest.apps.ticket import Ran, Ticket
from hpcharvest.errors import JobError
from hpcharvest.model.ids import JobId

LABEL = "allocations"


class PayloadAbandonedError(JobError):
    """The payload will not run: its job was stopped, or lost too often."""


def payload(ticket: Ticket, staged: None) -> Ran:
    """Name the stage; it is never called, because its executor runs no Python but batch jobs."""
    raise PayloadAbandonedError(f"job {ticket.job}: a payload runs in an allocation, not here (inputs: {staged})")


class AllocationExecutor(ParslExecutor):
    """Gives payloads to allocations. `wanted` is called with every job whose DAG has come to its payload."""

    label = LABEL

    def __init__(self, wanted: Callable[[JobId], None]) -> None:
        super().__init__()
        self._wanted = wanted
        self._futures: dict[JobId, Future[Ran]] = {}
        self._lock = threading.Lock()

    def submit(
        self, func: Callable[..., Any], resource_specification: dict[str, Any], *args: Any, **kwargs: Any
    ) -> Future[Ran]:
        """Say that the payload is wanted. Called in Parsl's single launch thread: never blocks, never writes."""
        del func, resource_specification, kwargs
        ticket: Ticket = args[0]
        future: Future[Ran] = Future()
        with self._lock:
            self._futures[ticket.job] = future
        self._wanted(ticket.job)
        return future

    def resolve(self, job: JobId, ran: Ran) -> None:
        """Let the job's DAG go on. Without effect if nobody waits: the memoizer will answer whoever comes."""
        if future := self._take(job):
            future.set_result(ran)

    def abandon(self, job: JobId, reason: str) -> None:
        """Let the job's DAG end here."""
        if future := self._take(job):
            future.set_exception(PayloadAbandonedError(f"job {job}: {reason}"))

    def _take(self, job: JobId) -> Future[Ran] | None:
        with self._lock:
            return self._futures.pop(job, None)

    def shutdown(self) -> None:
        """Forget the futures; allocations go on without us."""
        with self._lock:
            self._futures.clear()
        super().shutdown()

    def monitor_resources(self) -> bool:
        """Parsl has no process of ours to look at."""
        return False
