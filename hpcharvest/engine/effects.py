"""Hands: a few threads that do what the loop decided, and tell it when they are done."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from queue import SimpleQueue

from hpcharvest.engine.events import EffectEnded, Event

logger = logging.getLogger(__name__)

Effect = Callable[[], None]


class Kind(StrEnum):
    """What an effect has to do with. Each kind has threads of its own, so that none waits for another's partner."""

    REPORT = "report"
    """Telling PanDA, and asking it what it was told."""
    FETCH = "fetch"
    """Asking PanDA for jobs."""
    BATCH = "batch"
    """Commands of the batch systems."""
    NOTE = "note"
    """Notes to runners."""
    SWEEP = "sweep"
    """Removing what is old, which may take long on a parallel file system."""


THREADS = {Kind.REPORT: 1, Kind.FETCH: 1, Kind.BATCH: 2, Kind.NOTE: 1, Kind.SWEEP: 1}


class Hands:
    """Carries effects out, at most one at a time under each key. Used from the loop's thread alone."""

    def __init__(self, events: SimpleQueue[Event]) -> None:
        self._events = events
        self._pools = {
            kind: ThreadPoolExecutor(max_workers=threads, thread_name_prefix=kind) for kind, threads in THREADS.items()
        }
        self._keys: set[object] = set()

    @property
    def busy(self) -> bool:
        """Whether anything is under way."""
        return bool(self._keys)

    def holds(self, key: object) -> bool:
        """Whether something is under way under `key`."""
        return key in self._keys

    def carry_out(self, kind: Kind, key: object, effect: Effect) -> None:
        """Start `effect`, unless one is under way under the same key. Its end comes back as an event."""
        if key in self._keys:
            return
        self._keys.add(key)
        self._pools[kind].submit(self._do, key, effect)

    def ended(self, key: object) -> None:
        """Note the end of what was under way under `key`."""
        self._keys.discard(key)

    def close(self) -> None:
        """Wait for what is under way, drop what has not begun."""
        for pool in self._pools.values():
            pool.shutdown(wait=True, cancel_futures=True)

    def _do(self, key: object, effect: Effect) -> None:
        try:
            effect()
        except Exception:
            # The border of a thread: what an effect did not foresee must neither end it nor stay unseen.
            logger.exception("%s failed in a way that nobody foresaw", key)
        finally:
            self._events.put(EffectEnded(key=key))
