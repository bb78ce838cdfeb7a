"""The ranges of a lease, read."""

from __future__ import annotations

from hpcharvest.errors import MessageNotUnderstood
from hpcharvest.jumbo.links.messages import Lease
from hpcharvest.jumbo.slots.slot import Leased
from hpcharvest.model.event_range import EventRange


def ranges(lease: Lease) -> list[Leased]:
    """Read the rows of a lease. MessageNotUnderstood: one of them is none."""
    made = []
    try:
        for index, name, start, last, file in lease.ranges:
            lfn, guid, scope = lease.files[str(file)]
            one = EventRange(id=name, start=int(start), last=int(last), lfn=lfn, guid=guid, scope=scope)
            made.append(Leased(int(index), one))
    except (KeyError, TypeError, ValueError) as error:
        raise MessageNotUnderstood(f"job {lease.job}: a lease that is none: {error!r}") from error
    return made
