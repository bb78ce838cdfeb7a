"""What a slot gets from its node, and what a range's payload is told: names that are filled in."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hpcharvest.errors import UnsafeName
from hpcharvest.jumbo.folder import check_names
from hpcharvest.jumbo.slots.slot import Leased
from hpcharvest.messenger.ranges import PLACEHOLDERS, EventTask
from hpcharvest.model.event_range import EventRange

SEEDS: Final = 900_000_000
"""Random number generators of the field take seeds below this."""
_PLACEHOLDER: Final = re.compile(r"\{(" + "|".join(PLACEHOLDERS) + r")\}")
_VARIABLE: Final = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A slot's place on its node, and what its node does for it. Nothing here blocks for long."""

    folder: str
    """Absolute, on the node, for this slot alone; the slot makes it."""
    environment: Mapping[str, str]
    """Of its payloads, but for the mark."""
    next_mark: Callable[[], str]
    """Gives each process a mark of its own, as in `kin`."""
    bury: Callable[[str], None]
    """Learns that a process ended; whoever still bears its mark will be killed."""
    discard: Callable[[str], None]
    """Removes a folder, later."""
    keep_log: Callable[[Leased, str], None]
    """Copies the end of a failed range's log, at this path, to where people look; `discard` comes after it."""
    oom_kills: Callable[[], int]
    """Tells how many processes the kernel killed here for want of memory."""
    grace_s: float = 10.0
    """From SIGTERM to SIGKILL."""
    nodes: Sequence[str] = ()
    """Of a slot of MPI: all that it is on, the node itself first."""
    launcher: Sequence[str] = ()
    """What starts programs of MPI, as in `protocol.Manifest`; empty: nothing does."""


def values(task: EventTask, event_range: EventRange, output: str) -> dict[str, str]:
    """Give what is filled in for each placeholder. `output`: where the payload is to leave its output."""
    return {
        "eventRangeID": event_range.id,
        "startEvent": str(event_range.start),
        "lastEvent": str(event_range.last),
        "LFN": event_range.lfn,
        "GUID": event_range.guid,
        "scope": event_range.scope,
        "PFN": task.inputs.get(event_range.lfn, ""),
        "output": output,
        "seed": str(seed(event_range)),
        "PandaID": str(task.job),
        "taskID": str(task.task_id),
    }


def seed(event_range: EventRange) -> int:
    """Give a number that is the same for the same range always, and below 900,000,000."""
    return zlib.crc32(event_range.id.encode(errors="replace")) % SEEDS


def filled(word: str, known: Mapping[str, str]) -> str:
    """Fill in placeholders, in one go: what was filled in is not looked at again."""
    return _PLACEHOLDER.sub(lambda found: known[found[1]], word)


def output_name(task: EventTask, event_range: EventRange) -> str:
    """Give the plain name of a range's output. UnsafeName: it would lead out of its folder."""
    name = filled(task.output, values(task, event_range, ""))
    check_names([name])
    return name


def scratch(text: str, surroundings: Mapping[str, str]) -> Path:
    """Give the node's own folder that a text like `${TMPDIR:-/tmp}` means. UnsafeName: it is not absolute."""
    path = _VARIABLE.sub(lambda found: surroundings.get(found[1], "") or found[2] or "", text)
    if not path.startswith("/"):
        raise UnsafeName(f"{text!r} means {path!r} on this node, but an absolute path is wanted")
    return Path(os.path.normpath(path))
