"""Ranges that wait in a payload which takes many at once are not hung for that."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from hpcharvest.jumbo.links.messages import Slots
from hpcharvest.jumbo.node.crew import HUNG, Crew
from hpcharvest.jumbo.slots.slot import Done, Failed, Leased, Outcome
from hpcharvest.messenger.ranges import PayloadKind
from tests.services.range_slots import JOB, event_task, leased


class Batch:
    """Takes four ranges at once, and ends one every ten seconds, if it is not told to hang."""

    over = False

    def __init__(self) -> None:
        self.held: list[Leased] = []
        self.told: list[Outcome] = []
        self.next_at = 10.0
        self.hangs = False

    @property
    def room(self) -> int:
        return 4 - len(self.held)

    def give(self, leased: Leased, now: float) -> None:
        del now
        self.held.append(leased)

    def filenos(self) -> Sequence[int]:
        return ()

    def next_event(self) -> float:
        return self.next_at

    def serve(self, now: float) -> Sequence[Outcome]:
        if now >= self.next_at and self.held and not self.hangs:
            self.next_at += 10.0
            self.told.append(Done(leased=self.held.pop(0), output="", cpu_s=1.0, wall_s=10.0))
        told, self.told = self.told, []
        return told

    def finish(self, now: float) -> None:
        del now
        self.over = True

    def stop(self, ranges: Sequence[Leased], reason: str, now: float) -> None:
        del ranges
        self.told += [Failed(leased=one, error=reason, wall_s=now, ours=True) for one in self.held]
        self.held = []


def served(crew: Crew) -> list[Outcome]:
    outcomes = []
    for second in range(1, 100):
        outcomes += crew.serve(float(second))
    return outcomes


def a_crew(tmp_path: Path, batch: Batch) -> Crew:
    crew = Crew(event_task(tmp_path, kind=PayloadKind.FILES, range_walltime_s=15.0), lambda _task, _gpus, _nodes: batch)
    crew.order(Slots(job=JOB, count=1), 0.0)
    crew.add(leased(index) for index in range(4))
    crew.fill(0.0)
    return crew


def test_a_range_has_its_limit_for_each_that_is_before_it(tmp_path: Path) -> None:
    outcomes = served(a_crew(tmp_path, Batch()))
    assert [type(one) for one in outcomes] == [Done] * 4


def test_a_range_that_hangs_is_stopped_all_the_same(tmp_path: Path) -> None:
    batch = Batch()
    crew = a_crew(tmp_path, batch)
    batch.hangs = True
    assert crew.next_event() == 10.0
    outcomes = served(crew)
    told = {one.leased.index: one.error for one in outcomes if isinstance(one, Failed)}
    assert told == dict.fromkeys(range(4), HUNG)
    assert [one.leased.index for one in outcomes if isinstance(one, Failed) and not one.ours] == [0]
    assert math.isfinite(crew.next_event())
