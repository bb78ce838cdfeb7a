"""The calls that we make, one method each.

Any of them may raise a `PandaError`. After `ServerUnreachable` nothing was carried out; after `AnswerLost` or
`AnswerNotUnderstood` something may have been, so that a report's fate must be asked for before it is repeated.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from hpcharvest.errors import ServerRefused
from hpcharvest.model.event_range import Bundle, RangeOutcome
from hpcharvest.model.ids import JobId
from hpcharvest.model.job import JobSpec
from hpcharvest.panda import wire
from hpcharvest.panda.transport import Transport
from hpcharvest.panda.wire import RangesAnswer, ServerCommand, ServerJobStatus, UpdateAnswer

__all__ = ["PandaClient", "RangesAnswer", "ServerCommand", "ServerJobStatus", "UpdateAnswer"]

_STATUS_CHUNK = 100

T = TypeVar("T")


class PandaClient:
    """The PanDA server as the harvester `harvester_id` sees it. `chunk`: how many job updates go in one call."""

    def __init__(self, transport: Transport, harvester_id: str, *, chunk: int = 200) -> None:
        self._transport = transport
        self._harvester_id = harvester_id
        self._chunk = chunk

    def is_alive(self) -> bool:
        """Tell that the server answers and works; else raise the error that says why not."""
        self._transport.get("system/is_alive")
        return True

    def acquire(
        self,
        queue: str,
        n_jobs: int,
        *,
        prod_source_label: str,
        node: str,
        computing_element: str,
        resource_type: str | None = None,
    ) -> bytes | None:
        """Ask for at most `n_jobs` jobs and return the answer as it came; None if there is none for us.

        From this moment the jobs are ours: make the answer durable first, then give it to `wire.decode_jobs`.
        """
        request = wire.encode_acquire(
            queue,
            n_jobs,
            harvester_id=self._harvester_id,
            prod_source_label=prod_source_label,
            node=node,
            computing_element=computing_element,
            resource_type=resource_type,
        )
        body = self._transport.post_raw("pilot/acquire_jobs", request)
        return None if wire.no_jobs_in(body) else body

    def update_jobs(self, entries: Sequence[dict[str, Any]]) -> list[UpdateAnswer]:
        """Send entries of `wire.encode_update` and return what the server said to each, in their order.

        If a call fails as a whole, nothing is told of the calls before it either: give one chunk at a time, or ask.
        """
        answers: list[UpdateAnswer] = []
        for chunk in _chunks(entries, self._chunk):
            call = wire.encode_bulk(chunk, harvester_id=self._harvester_id)
            answers += wire.decode_update_answer(self._transport.post("pilot/update_jobs_bulk", call), len(chunk))
        return answers

    def job_statuses(self, ids: Iterable[JobId]) -> dict[JobId, ServerJobStatus]:
        """Ask what the server thinks of the jobs; `wire.settled` says what that means for a report in transit."""
        statuses: dict[JobId, ServerJobStatus] = {}
        for chunk in _chunks(list(ids), _STATUS_CHUNK):
            data = self._transport.get("job/get_status", wire.encode_status_question(chunk))
            statuses |= wire.decode_statuses(data, chunk)
        return statuses

    def acquire_ranges(self, spec: JobSpec, number: int) -> bytes | None:
        """Ask for at most `number` event ranges of a job and return the answer as it came; None: there are none.

        From this moment the ranges are ours, and are never handed out again while the job lives: make the answer
        durable first, then give it to `wire.decode_ranges`.
        """
        body = self._transport.post_raw("event/acquire_event_ranges", wire.encode_acquire_ranges(spec, number))
        return None if wire.no_ranges_in(body) else body

    def available_ranges(self, spec: JobSpec) -> int:
        """Ask how many event ranges of a job could be had."""
        data = self._transport.get("event/get_available_event_range_count", wire.encode_range_count(spec))
        return wire.decode_range_count(data)

    def update_ranges(
        self, bundles: Sequence[tuple[Bundle, Sequence[RangeOutcome]]], *, objstore_id: int
    ) -> RangesAnswer:
        """Report what became of event ranges, `wire.MAX_REPORTED` of them at the most, and return what was said."""
        call = wire.encode_range_report(bundles, objstore_id=objstore_id)
        count = sum(len(outcomes) for _, outcomes in bundles)
        return wire.decode_range_report(self._transport.post("event/update_event_ranges", call), count)

    def range_statuses(self, spec: JobSpec) -> dict[str, bool]:
        """Ask which ranges the server says that a job has; of each, whether it has heard of its outcome."""
        data = self._transport.get("event/get_event_range_statuses", wire.encode_range_question(spec))
        return wire.decode_range_statuses(data, spec.panda_id)

    def heartbeat(self, start_time: float, version: str) -> None:
        """Say that we are alive since `start_time` (wall seconds).

        The first sign of life of a harvester that the server does not know is taken and refused at once, so it is
        given again.
        """
        sign = wire.encode_heartbeat(start_time, version, harvester_id=self._harvester_id)
        try:
            self._transport.post("harvester/heartbeat", sign)
        except ServerRefused:
            self._transport.post("harvester/heartbeat", sign)

    def update_workers(self, workers: Sequence[dict[str, Any]]) -> tuple[bool, ...]:
        """Send entries of `wire.encode_worker` and return for each whether it was taken."""
        if not workers:  # the server answers a database error to an empty list
            return ()
        call = wire.encode_update_workers(workers, harvester_id=self._harvester_id)
        return wire.decode_flags(self._transport.post("harvester/update_workers", call), len(workers))

    def acquire_commands(self, n_commands: int = 10) -> tuple[ServerCommand, ...]:
        """Ask for commands. Each is delivered once, so one whose answer was lost is lost."""
        call = wire.encode_acquire_commands(n_commands, harvester_id=self._harvester_id)
        return wire.decode_commands(self._transport.post("harvester/acquire_commands", call))

    def acknowledge_commands(self, ids: Sequence[int]) -> None:
        """Say that the commands are done."""
        if ids:  # as for workers
            self._transport.post("harvester/acknowledge_commands", wire.encode_acknowledge_commands(ids))


def _chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))
