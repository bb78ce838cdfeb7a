"""When to stop: pure rules about the time that is left."""

from __future__ import annotations

import math


def leave_at(now: float, left_s: float | None, margin_s: float) -> float:
    """Give the moment, on the clock of `now`, when the runner has to begin to leave; infinity: never."""
    return math.inf if left_s is None else now + left_s - margin_s


def fits(walltime_s: float, left_s: float) -> bool:
    """Tell whether a payload with this limit (0: none) may start with `left_s` to go before the runner leaves.

    One without a limit may start while there is any time: nobody knows better.
    """
    return left_s > 0 and walltime_s <= left_s


def spent(walltime_s: float, ran_s: float, start_s: float) -> bool:
    """Tell whether a payload with this limit (0: none) has had its time, but for the seconds that a start takes.

    Of one so near its limit it is not the allocation's fault that it has to go: it would only go round for ever.
    """
    return 0 < walltime_s <= ran_s + min(start_s, walltime_s / 2)
