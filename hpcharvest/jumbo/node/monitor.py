"""Looks after a node's payloads from the side, in a thread: what memory they have, and what they left behind.

To look at a large process takes milliseconds, and there may be hundreds: too long for the agent's loop.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from typing import Final

from hpcharvest.jumbo import kin
from hpcharvest.jumbo.node import memory
from hpcharvest.jumbo.slots.sweep import Sweep

log = logging.getLogger(__name__)

SHARE: Final = 0.02
"""Of one core, that looking may take."""


class Monitor:
    """Facts about a node, as new as its last look."""

    def __init__(self, sweep: Sweep, every_s: float) -> None:
        self._sweep, self._every_s = sweep, every_s
        self._facts: dict[str, float] = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="monitor", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def close(self) -> None:
        """Look no more."""
        self._end.set()
        self._thread.join(self._every_s)

    def facts(self, _now: float) -> Mapping[str, float]:
        """Tell what was seen last: memory in MB of the node, and of its payloads together and of the largest."""
        return self._facts

    def look(self) -> None:
        """Look once, and end what was left behind."""
        marks = kin.marks_of(self._sweep.tag)
        left = self._sweep.sweep(marks)
        if left:
            log.warning("%s processes that payloads had left behind were ended", left)
        families: dict[str, list[int]] = {}
        for pid, mark in self._sweep.of_this_node(marks).items():
            families.setdefault(mark, []).append(pid)
        sizes = [memory.pss_mb(pids) for pids in families.values()]
        self._facts = {
            **memory.node_mb(),
            "payloads": float(len(sizes)),
            "payloads_pss_mb": sum(sizes),
            "largest_pss_mb": max(sizes, default=0.0),
            "oom_kills": float(memory.oom_kills()),
        }

    def _run(self) -> None:
        pause_s = 0.0
        while not self._end.wait(pause_s):
            began = time.thread_time()
            try:
                self.look()
            except OSError as error:  # there may be no descriptor left for it now
                log.warning("nobody could look after the payloads: %s", error)
            pause_s = max(self._every_s, (time.thread_time() - began) / SHARE)
