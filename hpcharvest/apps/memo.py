"""The memoizer: stages that the database knows to be done are answered from it; so a restart submits all DAGs again."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from parsl.dataflow.memoization import Memoizer

from hpcharvest.apps.payload import payload
from hpcharvest.apps.stage_in import stage_in
from hpcharvest.apps.ticket import Ran, Ticket
from hpcharvest.model.ids import JobId
from hpcharvest.model.job import Job
from hpcharvest.model.states import JobState


class DatabaseMemoizer(Memoizer):
    """Answers from the records as last committed; `look_up` gives a job's, if it is at hand. Only ever reads."""

    def __init__(self, look_up: Callable[[JobId], Job | None]) -> None:
        self._look_up = look_up

    def check_memo(self, task: Any) -> Future[Any] | None:
        """Give a future with the stage's result if it is done already."""
        answer = _ANSWERS.get(task["func"])
        if answer is None:
            return None
        ticket: Ticket = task["args"][0]
        job = self._look_up(ticket.job)
        return None if job is None else answer(job)

    def start(self, *, run_dir: str, config_run_dir: str) -> None:
        """Nothing to prepare."""

    def update_memo_result(self, task: Any, r: Any) -> None:
        """Nothing to write: the loop records what happened."""

    def update_memo_exception(self, task: Any, e: BaseException) -> None:
        """Nothing to write: the loop records what happened."""

    def close(self) -> None:
        """Nothing to close."""


def _staged_in(job: Job) -> Future[Any] | None:
    return None if job.state is JobState.RECEIVED else _done(None)


def _ran(job: Job) -> Future[Any] | None:
    if job.state is not JobState.RAN or job.outcome is None:
        return None
    return _done(Ran(attempt=job.attempt, outcome=job.outcome))


def _done(result: Any) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(result)
    return future


_ANSWERS: dict[Callable[..., Any], Callable[[Job], Future[Any] | None]] = {stage_in: _staged_in, payload: _ran}
