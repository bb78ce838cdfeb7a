"""Logs of ranges that failed, for people: the end of each, beside the job's other files, and only some of a node's."""

from __future__ import annotations

import logging
import os
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hpcharvest.errors import UnsafeName
from hpcharvest.jumbo.folder import check_names
from hpcharvest.jumbo.slots.slot import Leased
from hpcharvest.messenger.files import storage
from hpcharvest.messenger.ranges import EventTask

log = logging.getLogger(__name__)

FOLDER: Final = "failed"
MOST: Final = 20
"""On one node."""
LOG_BYTES: Final = 65_536
"""Of each, the end."""


@dataclass(frozen=True, slots=True)
class _Log:
    path: Path
    text: bytes


class FailedLogs:
    """What was read of logs on the node, and is to be written. Appended to by one thread, written by another."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._kept = 0
        self._waiting: deque[_Log] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def read(self, task: EventTask, leased: Leased, path: str) -> None:
        """Read the end of a log, which may be gone soon."""
        name = f"{leased.range.id}.{self._node}.log"
        if self._kept >= MOST:
            return
        try:
            check_names([name])
            with Path(path).open("rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - LOG_BYTES))
                text = file.read(LOG_BYTES)
        except (OSError, UnsafeName) as error:
            log.info("the log of range %s is not kept: %s", leased.range.id, error)
            return
        self._kept += 1
        self._waiting.append(_Log(Path(task.folder, FOLDER, name), text))

    def write_one(self) -> None:
        """Write one, if one waits; what cannot be written is lost. StorageUnavailable."""
        if not self._waiting:
            return
        one = self._waiting.popleft()
        with storage(f"write {one.path}"):
            try:
                one.path.write_bytes(one.text)
            except FileNotFoundError:
                one.path.parent.mkdir(parents=True, exist_ok=True)
                one.path.write_bytes(one.text)
