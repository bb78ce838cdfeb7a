"""What becomes of event-service jobs as a whole, turn by turn: served, stopped, given up, ended."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hpcharvest.engine.turn import Turn
from hpcharvest.messenger.mailbox import Mailbox
from hpcharvest.model import facts
from hpcharvest.model.states import AllocationState
from tests.services.range_desk import HERE, NOW, NUMBER, THERE, Desk, allocation


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.hands.close()
    made.database.close()


def decided(desk: Desk) -> Turn:
    """Have a turn of the loop, as far as ranges are concerned; PanDA is not asked for any."""
    turn = desk.turn()
    desk.care.decide(turn)
    desk.commit(turn)
    return turn


def killed(desk: Desk) -> None:
    turn = desk.turn()
    turn.tell(facts.KillAsked(job=NUMBER, by="ann", at=NOW))
    desk.commit(turn)


def test_an_allocation_that_starts_as_its_job_is_stopped_is_told_so_all_the_same(desk: Desk) -> None:
    desk.begin(0, allocation(), allocation(THERE, AllocationState.SUBMITTED))
    mailboxes = [Mailbox(desk.folders.allocation(one)) for one in (HERE, THERE)]
    for one in mailboxes:
        (one.folder / "kill").mkdir(parents=True)
    killed(desk)
    decided(desk)
    assert NUMBER not in desk.mirror.served
    turn = desk.turn()
    turn.changes.allocations[THERE] = replace(allocation(THERE))
    desk.commit(turn)
    desk.care.act(desk.turn())
    for _ in mailboxes:
        desk.events.get(timeout=60)
    assert [len(one.kill_notes()) for one in mailboxes] == [1, 1]
