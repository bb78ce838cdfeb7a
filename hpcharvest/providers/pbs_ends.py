"""How a batch job of PBS or Torque ended: by its exit status first, which is the server's own where it is negative.

The state letter says only that it is over. `substate` tells apart what was deleted, which may well have exit status 0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from hpcharvest.model.states import BatchState
from hpcharvest.providers.pbs_answers import Attributes

PBS_CODES: Final[Mapping[int, BatchState]] = {
    # The MoM could not start it: before its files came, after it, in a way that might pass, or for who it runs as.
    **dict.fromkeys((-1, -2, -3, -7, -10, -13, -21, -22, -23, -30), BatchState.LAUNCH_FAILED),
    # A hook of the site did not let it start.
    **dict.fromkeys((-16, -17), BatchState.LAUNCH_FAILED),
    # A MoM was restarted under it, or lost: a sister, the first, or one that came back without its jobs.
    **dict.fromkeys((-4, -5, -6, -14, -20, -32), BatchState.NODE_FAILED),
    # A hook of the site ended it.
    -19: BatchState.CANCELLED,
    # It took more than it had asked for: of memory of any kind, of time, of cores.
    **dict.fromkeys((-26, -27, -31), BatchState.OUT_OF_MEMORY),
    -29: BatchState.TIMED_OUT,
    **dict.fromkeys((-24, -25, -28), BatchState.FAILED),
}
"""PBS Professional's own exit statuses, as in its reference guide; a negative one that is not here is FAILED."""

TORQUE_CODES: Final[Mapping[int, BatchState]] = {
    **dict.fromkeys((-1, -2, -3, -7, -8, -9, -13, -14), BatchState.LAUNCH_FAILED),
    **dict.fromkeys((-4, -5, -6), BatchState.NODE_FAILED),
    -10: BatchState.OUT_OF_MEMORY,
    -11: BatchState.TIMED_OUT,
    -12: BatchState.FAILED,
}
"""Torque's own, as in its administrator's guide: some numbers mean something else than in PBS."""

KILLED = 256
"""Added to the number of a signal that ended the script."""

_TERMINATED, _FINISHED, _FAILED = "91", "92", "93"
_MEMORY = re.compile(r"exceeded resource \w*mem\b|memory limit exceeded|\bmem\w* .*exceeded limit", re.IGNORECASE)
_TIME = re.compile(r"exceeded resource walltime\b|walltime .*exceeded limit", re.IGNORECASE)
_PREEMPTED = re.compile(r"\bpreempt", re.IGNORECASE)
_CLOCK = re.compile(r"(?:(\d+):)?(\d+):(\d\d):(\d\d)", re.ASCII)


def exit_status(said: Attributes) -> int | None:
    """Give the exit status, None if there is none: Torque spells it small."""
    text = said.get("Exit_status", said.get("exit_status", ""))
    return int(text) if re.fullmatch(r"-?[0-9]{1,9}", text) else None


def how_it_ended(said: Attributes, codes: Mapping[int, BatchState]) -> BatchState:
    """Give the end of a batch job that is over; UNKNOWN if neither exit status nor substate is told (yet)."""
    code, substate, comment = exit_status(said), said.get("substate", ""), said.get("comment", "")
    if code is not None and code < 0:
        return codes.get(code, BatchState.FAILED)
    if _MEMORY.search(comment):
        return BatchState.OUT_OF_MEMORY
    if _TIME.search(comment) or (code is not None and code > KILLED and _out_of_time(said)):
        return BatchState.TIMED_OUT
    if substate == _TERMINATED or (not substate and code == KILLED + 15):
        return BatchState.PREEMPTED if _PREEMPTED.search(comment) else BatchState.CANCELLED
    if code is None:
        return _without_a_run(said)
    return BatchState.COMPLETED if code == 0 and substate != _FAILED else BatchState.FAILED


def _without_a_run(said: Attributes) -> BatchState:
    """Who has no exit status was deleted before any start: PBS says so by a substate, Torque by saying no more."""
    known = said.get("substate", _FINISHED if said.get("job_state") == "C" else "")
    return BatchState.CANCELLED if known in {_FINISHED, _FAILED} else BatchState.UNKNOWN


def _out_of_time(said: Attributes) -> bool:
    used, asked = (_seconds(said.get(f"{name}.walltime", "")) for name in ("resources_used", "Resource_List"))
    return used is not None and asked is not None and used >= asked


def _seconds(clock: str) -> int | None:
    found = _CLOCK.fullmatch(clock)
    if found is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
