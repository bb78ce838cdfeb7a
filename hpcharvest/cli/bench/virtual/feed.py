"""Event ranges of no physics, and how long they take."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from hpcharvest.cli.bench.virtual.slots import Seconds
from hpcharvest.messenger.ranges import Feed
from hpcharvest.model.event_range import EventRange
from hpcharvest.model.ids import JobId


def log_normal(mean_s: float, sigma: float, seed: int) -> Seconds:
    """Let ranges take a log-normal time; the same range always the same."""
    chance = random.Random(seed)  # noqa: S311  # no secret
    shift = math.log(mean_s) - sigma * sigma / 2
    drawn = [math.exp(chance.gauss(shift, sigma)) for _ in range(65_536)]
    return lambda one: drawn[one.start % len(drawn)]


def feeds(job: JobId, total: int, a_file: int, files: int) -> Callable[[JobId, int], Feed | None]:
    """Give a feed of `total` ranges, `a_file` in each of its files, of `files` input files each."""
    count = max(1, math.ceil(total / a_file))

    def read(_job: JobId, number: int) -> Feed | None:
        if number >= count:
            return None
        first = number * a_file
        stop = min(total, first + a_file)
        ranges = tuple(
            EventRange(
                id=range_id(job, index), start=index + 1, last=index + 1, lfn=f"EVNT.{number}.{index * files // a_file}"
            )
            for index in range(first, stop)
        )
        return Feed(job=job, number=number, first=first, ranges=ranges, last=number == count - 1)

    return read


def range_id(job: JobId, index: int) -> str:
    """Name a range as the server would."""
    return f"40000001-{job}-8731829857-{index + 1}-9"
