"""What the command line does, by SAGA and the records: submit once, tell of all, end some."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from hpcharvest.providers.saga_command.judge import ENDS, Said, judge, needs_saga
from hpcharvest.providers.saga_command.reach import Reach, Refused, Unreachable
from hpcharvest.providers.saga_command.records import Record, Records, Wish

SHOWN_S: Final = 3600.0
"""So long is told, unasked, of what is over."""

LOST_S: Final = 3600.0
"""So long is looked for a batch job whose submission was not answered; then it is kept from starting."""


def submit(saga: Reach, records: Records, wish: Wish, now: float) -> str:
    """Submit a batch job; give its id. Raises Refused.

    One of the same tag that goes on is the one. Where nothing is known of an earlier submission, as its answer was
    lost, it is kept from starting; if that comes too late, it is the one.
    """
    for earlier in records.of(wish.tag):
        said = earlier.over or _ask(saga, earlier, now)
        if (said is None and not earlier.revoke()) or (said is not None and said.state not in ENDS):
            return earlier.id
    records.prune(now)
    record = records.begin(wish)
    try:
        record.saga_id = saga.submit(wish, record)
    except (Refused, Unreachable):
        # The batch system may have it all the same, but what cannot start any more never was.
        if not record.revoke():
            return record.id
        record.remove()
        raise
    return record.id


def status(saga: Reach, records: Records, now: float, ids: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """Tell of each batch job that goes on or ended lately; with `ids`, of these, however long they are over.

    One of which SAGA cannot say anything is UNKNOWN. Raises Unreachable if that is so of all that it was asked about.
    """
    _find_lost(saga, records)
    asking = _Asking(saga)
    for record in records:
        if ids and record.id not in ids:
            continue
        over = record.over
        if over is not None and not ids and now - (record.folder / "over.json").stat().st_mtime > SHOWN_S:
            continue
        said = over or _ask(asking, record, now)
        if said is not None:
            words = f"{said.words} {record.saga_id}".strip()
            yield {"id": record.id, "state": said.state, "words": words, "tag": record.tag}
    if asking.error is not None and not asking.answers:
        raise asking.error


def cancel(saga: Reach, records: Records, ids: Sequence[str]) -> Iterator[str]:
    """End these batch jobs, and give those that there are. One that has not begun can then not begin any more.

    Raises Unreachable when all were tried, if one of them could not be ended.
    """
    error = None
    for record in records:
        if record.id not in ids or record.over:
            continue
        record.note_cancelled()
        record.revoke()
        try:
            if record.saga_id:
                saga.cancel(record.saga_id)
        except Unreachable as unreachable:
            error = unreachable
        else:
            yield record.id
    if error is not None:
        raise error


class _Asking:
    """Asks SAGA about one after the other, and does not let one that it stumbles over hide the others."""

    def __init__(self, saga: Reach) -> None:
        self._saga = saga
        self.error: Unreachable | None = None
        self.answers = 0

    def state(self, saga_id: str) -> str | None:
        try:
            told = self._saga.state(saga_id)
        except Unreachable as error:
            self.error = error
            return "Unknown"
        self.answers += 1
        return told


def _ask(saga: Reach | _Asking, record: Record, now: float) -> Said | None:
    saga_id = record.saga_id
    told = saga.state(saga_id) if saga_id and needs_saga(record.marks()) else None
    if not saga_id and now - record.submitted_at > LOST_S:
        record.revoke()
    # Read after SAGA was asked: what ended meanwhile has left its mark.
    said = judge(record.marks(), told, now)
    if said is not None and said.state in ENDS:
        record.over = said
    return said


def _find_lost(saga: Reach, records: Records) -> None:
    """Look by their names, where SAGA tells them, for batch jobs whose submission was not answered."""
    all_of_them = list(records)
    lost = {one.tag: one for one in all_of_them if not one.saga_id and not one.over and not one.revoked}
    if not lost:
        return
    known = {one.saga_id for one in all_of_them}
    for saga_id in saga.ids():
        if saga_id not in known and (found := lost.pop(saga.name(saga_id), None)):
            found.saga_id = saga_id
