"""What an operator asked for: a row in the inbox, which the loop carries out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from hpcharvest.model.states import RequestState


class Verb(StrEnum):
    """What can be asked for."""

    KILL_JOB = "kill_job"
    RETRY_JOB = "retry_job"
    CANCEL_ALLOCATION = "cancel_allocation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One wish, with what became of it."""

    id: int
    verb: Verb
    subject: int
    """A PandaID or an allocation's number."""
    by: str
    asked_at: float
    state: RequestState = RequestState.NEW
    answer: str = ""
