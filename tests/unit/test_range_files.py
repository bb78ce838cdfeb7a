"""Slots for payloads that speak panda-harvester's files, as a node makes them: one payload after another."""

from __future__ import annotations

import itertools
import json
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hpcharvest.jumbo.access.point import Pace
from hpcharvest.jumbo.access.worker import Setting
from hpcharvest.jumbo.links.messages import Slots
from hpcharvest.jumbo.node.crew import Crew
from hpcharvest.jumbo.slots import registry
from hpcharvest.jumbo.slots.files import FilesSlot, start
from hpcharvest.jumbo.slots.slot import Done, Outcome
from hpcharvest.messenger.ranges import EventTask, PayloadKind
from tests.services.range_slots import (
    JOB,
    PATIENCE_S,
    Bench,
    bench,
    drive,
    event_task,
    failed,
    leased,
    until_over,
    until_told,
)

YODA = Path(__file__).parent.parent / "services" / "yoda.py"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path, grace_s=0.5) as made:
        yield made


def a_task(place: Bench, *argv: str, **habits: Any) -> EventTask:
    words = argv or (sys.executable, str(YODA), json.dumps({"batch": 3} | habits))
    return event_task(place.folder, *words, kind=PayloadKind.FILES)


def a_slot(place: Bench, *argv: str, **habits: Any) -> FilesSlot:
    return place.keep(FilesSlot(a_task(place, *argv, **habits), place.place, Pace(per_s=1000.0)))


def accesses(place: Bench) -> list[str]:
    return sorted(path.name for path in place.folder.glob("access.*"))


def test_the_registry_serves_them(place: Bench) -> None:
    slot = place.keep(registry.make(a_task(place), place.place))
    assert isinstance(slot, FilesSlot)


def test_ranges_are_done_in_an_access_point_that_no_other_slot_of_any_node_has(place: Bench) -> None:
    slot = a_slot(place)
    outcomes = until_told(slot, *map(leased, range(7)))
    assert sorted(one.leased.index for one in outcomes if isinstance(one, Done)) == list(range(7))
    assert until_over(slot) == []
    assert accesses(place) == ["access.n1.0.1"]
    assert slot.next_event() == math.inf


def test_a_payload_that_died_is_followed_by_another_one(place: Bench) -> None:
    slot = a_slot(place, crash=[1])  # by the last number of a range, which is 1 for all of them
    outcomes = until_told(slot, leased(0), leased(1), leased(2), leased(3))
    assert {one.leased.index for one in outcomes} == {0, 1, 2, 3}
    assert {failed(one) for one in outcomes if not getattr(one, "ours", False)} == {
        "the payload died of signal 11 (SIGSEGV)"
    }
    until_over(slot)
    assert len(accesses(place)) >= 2


def test_a_payload_that_dies_at_once_is_started_less_and_less_often(place: Bench) -> None:
    slot = a_slot(place, "false")
    queue = itertools.count()
    end = time.monotonic() + 2.0
    outcomes = drive(slot, lambda _: time.monotonic() > end, *(leased(next(queue)) for _ in range(100)))
    assert 2 <= len(outcomes) <= 6
    assert {failed(one) for one in outcomes} == {"the payload ended with exit code 1 and never asked for ranges"}
    assert len(accesses(place)) <= 6


def test_a_slot_goes_on_after_its_ranges_were_stopped(place: Bench) -> None:
    slot = a_slot(place, hang=[1])
    drive(slot, lambda _: len(slot.held) == 3 and _has_given(place, 3), *map(leased, range(3)))
    slot.stop(slot.held[:1], "it hangs", time.monotonic())
    outcomes = drive(slot, lambda told: len(told) == 3)
    assert {failed(one, ours=True) for one in outcomes} == {"it hangs"}
    drive(slot, lambda _: slot.room > 0)
    assert len(accesses(place)) == 2


def test_a_slot_that_is_finished_before_it_began_starts_nothing(place: Bench) -> None:
    slot = a_slot(place)
    slot.finish(0.0)
    assert (slot.over, slot.serve(0.0), slot.room, slot.held) == (True, (), 0, ())
    assert accesses(place) == []


def test_a_payload_that_waits_for_ranges_ends_with_its_slot(place: Bench) -> None:
    slot = a_slot(place)
    drive(slot, lambda _: slot.room == 3)
    assert until_over(slot) == []
    assert place.processes == {}


def test_outputs_may_lie_in_the_jobs_scratch_folder_and_nowhere_else_outside(place: Bench) -> None:
    scratch = place.folder / "scratch" / "deep"
    scratch.mkdir(parents=True)
    until_told(slot := a_slot(place, to=str(scratch)), leased(0))
    until_over(slot)
    elsewhere = place.folder / "elsewhere"
    elsewhere.mkdir()
    (told,) = until_told(a_slot(place, to=str(elsewhere)), leased(1))
    assert failed(told) == "the payload says that it is finished, but its output is no file in its folders"


def test_a_node_feeds_such_a_payload_and_ends_it(place: Bench) -> None:
    crew = Crew(a_task(place, fail=[1]), lambda task, _gpus, _nodes: FilesSlot(task, place.place, Pace(per_s=1000.0)))
    crew.add(map(leased, range(8)))
    crew.order(Slots(job=JOB, count=1, limit_s=PATIENCE_S), time.monotonic())
    outcomes: list[Outcome] = []
    end = time.monotonic() + PATIENCE_S
    while not (crew.empty and outcomes):
        now = time.monotonic()
        assert now < end
        outcomes += crew.serve(now)
        crew.fill(now)
        if len(outcomes) == 8:
            crew.finish(now)
        time.sleep(0.005)
    assert sorted(one.leased.index for one in outcomes) == list(range(8))
    assert {failed(one) for one in outcomes} == {"the payload says that it failed"}
    diaries = "".join(path.read_text() for path in place.folder.glob("access.*/diary"))
    assert diaries.count("given ") == 8 * 2, "each is tried twice, in the same payload"


def test_an_access_point_that_is_gone_is_waited_for_and_given_up_in_the_end(place: Bench) -> None:
    task = a_task(place, "sh", "-c", 'rm -r "$HARVESTER_WORKDIR"')
    setting = Setting(
        folder=str(place.folder / "access"), environment=place.place.environment, mark="m/0/1", pace=Pace(per_s=1000.0)
    )
    share = start([task], setting, 0.0)[JOB]
    end = time.monotonic() + PATIENCE_S
    while (place.folder / "access").exists() or share._worker.life.code is None:
        assert time.monotonic() < end
        share.serve(1.0)
        time.sleep(0.01)
    share.serve(60.0)
    assert share.room == 0, "the storage may come back"
    share.serve(61.0)
    assert share.room == 1
    share.give(leased(0), 61.0)
    assert [failed(one) for one in share.serve(61.0)] == [
        "the payload ended with exit code 0 and never asked for ranges"
    ]
    assert share.over


def _has_given(place: Bench, count: int) -> bool:
    diaries = [path.read_text() for path in place.folder.glob("access.*/diary")]
    return sum(text.count("given ") for text in diaries) == count
