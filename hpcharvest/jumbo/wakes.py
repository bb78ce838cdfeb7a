"""What lost nodes left behind: it is looked through aside, while the head's loop goes on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Final

from hpcharvest.errors import StorageUnavailable
from hpcharvest.messenger.protocol import Record
from hpcharvest.model.ids import JobId

log = logging.getLogger(__name__)

Salvage = Callable[[str, int], Sequence[Record]]
"""Makes archives of what a node of this name and life has left, and gives the records about them. May be repeated."""

PAUSE_S: Final = 5.0
TRIES: Final = 24
"""So often it is tried while the storage does not play. Then the ranges are done again: theirs would be found in the
end, when everybody is gone."""


@dataclass(slots=True, eq=False)
class Wake:
    """A life that ended, and the ranges that it had, by job."""

    node: str
    life: int
    limbo: Mapping[JobId, Sequence[int]]
    records: Sequence[Record] = ()
    future: Future[Sequence[Record]] | None = None
    tries: int = 0
    not_before: float = 0.0


class Wakes:
    """Salvages what was lost, one node after another. `aside`: runs it elsewhere; None: here and now."""

    def __init__(self, salvage: Salvage, aside: Executor | None) -> None:
        self._salvage = salvage
        self._aside = aside
        self._waiting: list[Wake] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, wake: Wake) -> None:
        """Let what a node left be looked through."""
        self._waiting.append(wake)

    def over(self, now: float) -> list[Wake]:
        """Give those that are done since, with their records."""
        over = [wake for wake in self._waiting if self._is_over(wake, now)]
        if over:
            self._waiting = [wake for wake in self._waiting if wake not in over]
        return over

    def _is_over(self, wake: Wake, now: float) -> bool:
        if now < wake.not_before:
            return False
        try:
            if self._aside is None:
                wake.records = self._salvage(wake.node, wake.life)
                return True
            wake.future = wake.future or self._aside.submit(self._salvage, wake.node, wake.life)
            if not wake.future.done():
                return False
            wake.records = wake.future.result()
        except StorageUnavailable as error:
            log.warning("what %s left cannot be looked through: %s", wake.node, error)
            wake.future, wake.tries, wake.not_before = None, wake.tries + 1, now + PAUSE_S
            return wake.tries >= TRIES
        except Exception:
            log.exception("what %s left is not understood: its ranges are done again", wake.node)
        return True
