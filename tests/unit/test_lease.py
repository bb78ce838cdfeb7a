from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from hpcharvest.clock import ManualClock
from hpcharvest.engine.lease import Lease, read
from hpcharvest.errors import LeaseHeld, StorageUnavailable

LEASE_S = 60.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "harvester" / "lease.json"


def lease(path: Path, clock: ManualClock | None = None) -> Lease:
    return Lease(path, LEASE_S, clock or ManualClock())


def never(_seconds: float) -> None:
    raise AssertionError("there is nothing to wait for")


def taken(path: Path, clock: ManualClock | None = None) -> Lease:
    one = lease(path, clock)
    one.acquire(never, patient=False)
    return one


def foreign(path: Path, **changes: object) -> None:
    """Rewrite a lease as if another process, or machine, had written it."""
    path.write_text(json.dumps({**json.loads(path.read_text()), "token": "theirs", **changes}))


def test_a_lease_is_taken_and_given_back(path: Path) -> None:
    one = taken(path)
    holder = read(path)
    assert holder is not None
    assert (holder.pid, holder.host) == (os.getpid(), socket.gethostname())
    one.release()
    assert not path.exists()
    assert list(path.parent.iterdir()) == []


def test_a_lease_that_is_held_is_refused_with_who_holds_it(path: Path) -> None:
    taken(path)
    with pytest.raises(LeaseHeld, match=f"process {os.getpid()} on"):
        taken(path)


def test_it_never_looks_the_same_after_it_was_renewed(path: Path) -> None:
    clock = ManualClock()
    one = taken(path, clock)
    before = read(path)
    one.renew()
    after = read(path)
    assert before is not None
    assert after is not None
    assert (before.renewals, after.renewals) == (0, 1)
    one.release()
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("how", ["taken over", "gone"])
def test_who_lost_it_stops(path: Path, how: str) -> None:
    clock = ManualClock()
    one = taken(path, clock)
    if how == "gone":
        path.unlink()
    else:
        foreign(path)
    one.check()  # nobody has looked yet
    clock.advance(LEASE_S)
    with pytest.raises(LeaseHeld, match=how):
        one.check()
    one.release()
    assert path.exists() is (how == "taken over")  # somebody else's is left alone


def test_of_another_boot_or_process_it_is_taken_over_at_once(path: Path) -> None:
    for change in ({"boot": "an earlier one"}, {"started": 1}, {"pid": 2**22 + 1}):
        taken(path)
        foreign(path, **change)
        taken(path).release()


def test_on_another_machine_it_must_not_move_for_its_whole_time(path: Path) -> None:
    clock, waited = ManualClock(), []
    taken(path)
    foreign(path, host="elsewhere")

    def wait(seconds: float) -> None:
        waited.append(seconds)
        clock.advance(seconds)
        if len(waited) == 10:
            foreign(path, host="elsewhere", renewals=5)

    with pytest.raises(LeaseHeld):
        lease(path, clock).acquire(wait, patient=False)
    lease(path, clock).acquire(wait, patient=True)
    assert sum(waited) >= LEASE_S + sum(waited[:10])


def test_what_is_no_lease_is_told(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_text("torn")
    with pytest.raises(StorageUnavailable, match="is not a lease"):
        taken(path)
