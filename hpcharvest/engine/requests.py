"""The inbox: what operators asked for, carried out by the loop like everything else."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from hpcharvest.clock import Clock
from hpcharvest.engine.turn import Turn
from hpcharvest.model import facts
from hpcharvest.model.ids import AllocationId, JobId
from hpcharvest.model.request import Request, Verb
from hpcharvest.model.states import RequestState
from hpcharvest.store.database import Database

logger = logging.getLogger(__name__)

LOOK_S = 1.0
"""Seconds between two looks into the inbox."""

Answer = tuple[RequestState, str]


class Requests:
    """Looks into the inbox and answers every request."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._next = 0.0

    def carry_out(self, turn: Turn) -> None:
        """Carry out what is new."""
        now = self._clock.steady()
        if now < self._next:
            return
        new = self._database.inbox.new()
        self._next = now + LOOK_S
        answered = {one.id for one in turn.changes.requests}
        for request in new:
            if request.id in answered:
                continue
            state, answer = _VERBS[request.verb](request, turn)
            logger.info("%s %s, asked by %s: %s", request.verb, request.subject, request.by, answer)
            turn.changes.requests.append(replace(request, state=state, answer=answer))


def _kill_job(request: Request, turn: Turn) -> Answer:
    return _about_job(request, turn, facts.KillAsked(job=JobId(request.subject), by=request.by, at=turn.now))


def _retry_job(request: Request, turn: Turn) -> Answer:
    return _about_job(request, turn, facts.RetryAsked(job=JobId(request.subject), by=request.by, at=turn.now))


def _about_job(request: Request, turn: Turn, fact: facts.JobFact) -> Answer:
    before = turn.job(JobId(request.subject))
    if before is None:
        return RequestState.REFUSED, f"there is no job {request.subject}"
    if before.state.final:
        return RequestState.REFUSED, f"job {request.subject} is {before.state} already"
    after = turn.tell(fact)
    if after is before:
        return RequestState.DONE, f"job {request.subject} needs nothing: it is {before.state} and does not wait"
    return RequestState.DONE, f"job {request.subject} is told"


def _cancel_allocation(request: Request, turn: Turn) -> Answer:
    number = AllocationId(request.subject)
    allocation = turn.allocation(number)
    if allocation is None:
        return RequestState.REFUSED, f"there is no allocation {number}"
    if allocation.state.final:
        return RequestState.REFUSED, f"allocation {number} has ended already"
    turn.tell_allocation(facts.CancelAsked(allocation=number, by=request.by, at=turn.now))
    return RequestState.DONE, f"allocation {number} is being withdrawn"


_VERBS: dict[Verb, Callable[[Request, Turn], Answer]] = {
    Verb.KILL_JOB: _kill_job,
    Verb.RETRY_JOB: _retry_job,
    Verb.CANCEL_ALLOCATION: _cancel_allocation,
}
