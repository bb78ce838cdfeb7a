"""Which mover serves which URL: the one table of ours, and entry points for those of others."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.metadata import entry_points
from urllib.parse import urlsplit

from hpcharvest.apps.transfer.copy import CopyMover
from hpcharvest.apps.transfer.mover import Mover
from hpcharvest.errors import TransferError

ENTRY_POINTS = "hpcharvest.movers"
"""The group in which others publish a mover under the scheme that it serves."""

OURS: dict[str, Callable[[], Mover]] = {"file": CopyMover}


def mover(url: str) -> Mover:
    """Give the mover for `url`. Raises TransferError if nobody serves its scheme."""
    return _by_scheme(urlsplit(url).scheme)


@cache
def _by_scheme(scheme: str) -> Mover:
    if scheme in OURS:
        return OURS[scheme]()
    others = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    if scheme not in others:
        raise TransferError(f"no mover serves {scheme}://; there are: {', '.join(sorted({*OURS, *others}))}")
    made: Mover = others[scheme].load()()
    return made
