"""Batch jobs that carry our name and that no live allocation has: taken over, or ended.

They are there when we died between a submission and its record, when a database was lost or set back, or when a batch
system did not do as it was told. The name (the tag) says whose they are: harvester, number of the allocation, chance.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

from hpcharvest.engine.batch_jobs import BatchJobs
from hpcharvest.engine.effects import Hands, Kind
from hpcharvest.engine.events import StraysSeen
from hpcharvest.engine.turn import Turn
from hpcharvest.model import facts
from hpcharvest.model.allocation import Allocation
from hpcharvest.model.ids import AllocationId
from hpcharvest.model.states import AllocationState, BatchState
from hpcharvest.providers.dialect import BatchStatus

logger = logging.getLogger(__name__)

_REST = re.compile(r"-(?P<number>[0-9]{1,18})-[0-9a-f]{6}")


def tag_of(harvester_id: str, number: AllocationId, chance: str) -> str:
    """Name an allocation's batch job; `chance`: six hex digits that no other has under this number."""
    return f"{harvester_id}-{number}-{chance}"


def number_of(tag: str, harvester_id: str) -> AllocationId | None:
    """Give the number of the allocation that a tag of this harvester's names; None: it is not one of ours."""
    found = _REST.fullmatch(tag.removeprefix(harvester_id)) if tag.startswith(harvester_id) else None
    return AllocationId(int(found["number"])) if found else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ours:
    """The batch job of an allocation, as we know it."""

    id: str
    tag: str
    folder: Path


def told_of(one: Ours, said: Mapping[str, BatchStatus]) -> BatchStatus | None:
    """Give what an answer says of a batch job, under its id or else under its name; None: nothing.

    Some batch systems spell an id otherwise in their queue than in their answer to the submission.
    """
    return said.get(one.id) or next((status for status in said.values() if status.tag == one.tag), None)


def strays(said: Mapping[str, BatchStatus], known: Collection[str], harvester_id: str) -> tuple[BatchStatus, ...]:
    """Give the batch jobs of ours that are alive and not `known` by their ids."""
    return tuple(
        one
        for one in said.values()
        if one.id not in known
        and one.state in {BatchState.PENDING, BatchState.RUNNING}
        and number_of(one.tag, harvester_id) is not None
    )


class Fate(Enum):
    """What is to become of a stray."""

    ADOPT = auto()
    """Its allocation waits for it: the answer to the submission was lost."""
    END = auto()
    """Its allocation is over."""
    WITHDRAW = auto()
    """Its allocation has another batch job, whose runner must hear nothing of it."""
    LEAVE = auto()
    """It is none, any more or yet."""
    ASK = auto()
    """Nobody remembers its allocation: the folder may know whether it is ours."""


def fate(found: BatchStatus, allocation: Allocation | None, now: float, grace_s: float) -> Fate:
    """Decide about a stray at `now` (wall seconds). One that is over may take `grace_s` to leave the queue."""
    if allocation is None:
        return Fate.ASK
    if allocation.tag != found.tag or allocation.batch_id == found.id:
        return Fate.LEAVE
    if allocation.state is AllocationState.ENDED:
        return Fate.END if now >= allocation.since + grace_s else Fate.LEAVE
    if allocation.batch_id:
        # Of two that run, one has won the journal, and the other leaves by itself. Which one, the journal tells; until
        # then it may be this one, whatever id the allocation has.
        return Fate.WITHDRAW if found.state is BatchState.PENDING else Fate.LEAVE
    return Fate.ADOPT if allocation.submissions else Fate.LEAVE


class Strays:
    """Looks after strays; the loop's side."""

    def __init__(self, *, harvester_id: str, effects: BatchJobs, hands: Hands) -> None:
        self._harvester_id = harvester_id
        self._effects = effects
        self._hands = hands
        self._left_alone: set[str] = set()

    def seen(self, event: StraysSeen, turn: Turn) -> None:
        """Decide about the strays of an answer. Ending one rests on what was committed long before this turn."""
        for found in event.found:
            number = number_of(found.tag, self._harvester_id)
            if number is None:
                continue
            allocation = turn.allocation(number)
            what = fate(found, allocation, turn.now, turn.patience.batch_grace_s)
            if what is Fate.ADOPT:
                logger.warning("batch job %s is that of allocation %s: it is taken over", found.id, number)
                turn.tell_allocation(facts.Submitted(allocation=number, batch_id=found.id, at=event.at))
            elif what is Fate.WITHDRAW:
                self._end(event.site, found, None)
            elif what is Fate.END or (what is Fate.ASK and self._is_ours(number, found)):
                self._end(event.site, found, number)

    def _is_ours(self, number: AllocationId, found: BatchStatus) -> bool:
        """Whether our own folder knows the tag of an allocation that the database does not know."""
        if self._effects.tag_in_folder(number) == found.tag:
            return True
        if found.id not in self._left_alone:
            self._left_alone.add(found.id)
            logger.error(
                "batch job %s (%s) carries our name, but neither database nor work folder know it: it is left alone; "
                "is there another controller with the same harvester_id?",
                found.id,
                found.tag,
            )
        return False

    def _end(self, site: str, found: BatchStatus, number: AllocationId | None) -> None:
        logger.warning("batch job %s (%s) is wanted by nobody any more: it is ended", found.id, found.tag)
        self._hands.carry_out(
            Kind.BATCH, ("stray", site, found.id), lambda: self._effects.end_stray(site, found.id, number)
        )
