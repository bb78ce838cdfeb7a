"""Hands: a few threads that do what the loop decided, and tell it when they are done."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

from hpcharvest.engine.events import EffectEnded, Event

logger = logging.getLogger(__name__)

Effect = Callable[[], None]


class Hands:
    """Carries effects out, at most one at a time under each key. Used from the loop's thread alone."""

    def __init__(self, events: SimpleQueue[Event], threads: int, name: str) -> None:
        self._events = events
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix=name)
        self._keys: set[object] = set()

    @property
    def busy(self) -> bool:
        """Whether anything is under way."""
        return bool(self._keys)

    def holds(self, key: object) -> bool:
        """Whether something is under way under `key`."""
        return key in self._keys

    def carry_out(self, key: object, effect: Effect) -> None:
        """Start `effect`, unless one is under way under the same key. Its end comes back as an event."""
        if key in self._keys:
            return
        self._keys.add(key)
        self._pool.submit(self._do, key, effect)

    def ended(self, key: object) -> None:
        """Note the end of what was under way under `key`."""
        self._keys.discard(key)

    def close(self) -> None:
        """Wait for what is under way, drop what has not begun."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _do(self, key: object, effect: Effect) -> None:
        try:
            effect()
        except Exception:
            # The border of a thread: what an effect did not foresee must neither end it nor stay unseen.
            logger.exception("%s failed in a way that nobody foresaw", key)
        finally:
            self._events.put(EffectEnded(key=key))
