"""The journal's entries on a page."""

from __future__ import annotations

from collections.abc import Sequence

from hpcharvest.cli.page import Listing, moment
from hpcharvest.store.changes import Entry


def listing(name: str, entries: Sequence[Entry]) -> Listing:
    """List entries, the oldest first."""
    rows = [
        {"at": moment(one.at), "subject": one.subject, "id": one.id, "action": one.action, "detail": one.detail}
        for one in entries
    ]
    return Listing(name=name, columns=("at", "subject", "id", "action", "detail"), records=rows)
