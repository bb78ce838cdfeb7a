"""Those in the engine who care for event ranges, with what is around them: for tests of their turns."""

from __future__ import annotations

from pathlib import Path
from queue import SimpleQueue
from typing import Any

from hpcharvest.apps.archive import ArchiveTicket
from hpcharvest.apps.folders import Folders
from hpcharvest.apps.images import Images
from hpcharvest.clock import ManualClock
from hpcharvest.config.schema import EventRanges as Section
from hpcharvest.config.schema import Payload
from hpcharvest.engine.acquiring import Acquiring
from hpcharvest.engine.batch_jobs import BatchJobs
from hpcharvest.engine.bundles import Bundles
from hpcharvest.engine.effects import Hands
from hpcharvest.engine.event_ranges import EventRanges, Staff
from hpcharvest.engine.events import (
    Event,
)
from hpcharvest.engine.feeding import Feeding
from hpcharvest.engine.merging import Merging
from hpcharvest.engine.mirror import Mirror
from hpcharvest.engine.parts import client_of, open_database
from hpcharvest.engine.range_book import RangeBook
from hpcharvest.engine.range_reports import RangeReports
from hpcharvest.engine.runner_zip import RunnerFile
from hpcharvest.engine.turn import Turn
from hpcharvest.messenger.protocol import Record
from hpcharvest.messenger.ranges import ArchiveClosed, RangeDone, RangeFailed, RangesFailed
from hpcharvest.model.allocation import Allocation
from hpcharvest.model.event_range import Bundle, EventRange
from hpcharvest.model.ids import AllocationId, Attempt, JobId
from hpcharvest.model.job import Job, JobSpec
from hpcharvest.model.shape import Shape
from hpcharvest.model.states import AllocationState, JobState, RangeState
from hpcharvest.sandbox.world import QUEUE
from hpcharvest.store.changes import Changes, NewRanges
from tests import worlds

NUMBER, HERE, THERE = JobId(7), AllocationId(1), AllocationId(2)
NOW = 1000.0
SPEC = JobSpec(panda_id=NUMBER, attempt_nr=1, transformation="x", job_pars="", event_service=True, task_id=1)


class Desk:
    """Those who care for ranges, with what is around them."""

    def __init__(self, folder: Path) -> None:
        payload = Payload(transformation_dir=folder, event_ranges=Section(cores=4))
        self.settings = settings = worlds.configuration(folder, queue={"payload": payload})
        self.clock = ManualClock(NOW)
        self.mirror = Mirror()
        self.events: SimpleQueue[Event] = SimpleQueue()
        self.hands = Hands(self.events)
        self.database = open_database(settings)
        self.patience = settings.controller.patience
        self.folders = Folders(folder / "work")
        self.started: list[ArchiveTicket] = []
        self.salvage: tuple[Record, ...] = ()
        self.settled: list[Bundle] = []
        self.book = RangeBook(self.database)
        common: dict[str, Any] = {
            "configuration": settings,
            "hands": self.hands,
            "events": self.events,
            "clock": self.clock,
        }
        client = client_of(settings)
        kept: dict[str, Any] = {"database": self.database, "book": self.book}
        self.acquiring = Acquiring(client=client, **common)
        self.feeding = Feeding(folders=self.folders, **kept, **common)
        self.bundles = Bundles(
            folders=self.folders,
            start=self.started.append,
            salvage=lambda _folder, _archives, _ranges: self.salvage,
            **kept,
            **common,
        )
        self.reports = RangeReports(client=client, bundles=self.bundles, settled=self.settled.append, **kept, **common)
        self.merging = Merging(database=self.database, **common)
        self.care = self._care()

    def _care(self) -> EventRanges:
        """Give those who decide about jobs, with all the others as their staff."""
        effects = BatchJobs(
            configuration=self.settings,
            folders=self.folders,
            systems={},
            images=Images(),
            runner=RunnerFile(self.folders.root),
            events=self.events,
            clock=self.clock,
        )
        staff = Staff(
            book=self.book,
            acquiring=self.acquiring,
            feeding=self.feeding,
            bundles=self.bundles,
            merging=self.merging,
            reports=self.reports,
        )
        return EventRanges(staff, configuration=self.settings, effects=effects, hands=self.hands, clock=self.clock)

    def turn(self) -> Turn:
        return Turn(self.mirror, self.database, self.patience, self.clock.wall())

    def commit(self, turn: Turn) -> None:
        self.database.commit(turn.changes)
        self.mirror.follow(turn.changes)
        self.book.follow(turn.changes)

    def begin(self, ranges: int = 10, *allocations: Allocation) -> Job:
        """Have a job that is served, with so many ranges, and these allocations."""
        turn = self.turn()
        job = Job(spec=SPEC, queue=QUEUE, state=JobState.SERVED, attempt=Attempt(1))
        turn.changes.new_jobs[NUMBER] = job
        turn.changes.allocations |= {one.id: one for one in allocations}
        self.commit(turn)
        turn = self.turn()
        turn.changes.new_ranges.append(NewRanges(job=NUMBER, ranges=tuple(a_range(one) for one in range(ranges))))
        self.commit(turn)
        return job

    def feed(self, *, more: bool = True) -> Changes:
        turn = self.turn()
        self.feeding.feed(self.mirror.served[NUMBER], turn, more=more)
        self.commit(turn)
        return turn.changes

    def states(self) -> dict[RangeState, int]:
        return {state: found for state in RangeState if (found := self.book.number(NUMBER, state))}


def a_range(number: int) -> EventRange:
    return EventRange(id=name(number), start=number, last=number, lfn="in")


def name(number: int) -> str:
    return f"1-7-2-{number}-3"


def allocation(
    number: AllocationId = HERE, state: AllocationState = AllocationState.RUNNING, *, wanted: int = 0, nodes: int = 1
) -> Allocation:
    return Allocation(
        id=number,
        queue=QUEUE,
        shape=Shape(nodes=nodes, walltime_s=600),
        tag=f"t{number}",
        state=state,
        event_jobs=((NUMBER, Attempt(1)),),
        wanted=((NUMBER, wanted),),
    )


def closed(*numbers: int, archive: str = "a.tar") -> ArchiveClosed:
    ranges = tuple(RangeDone(id=name(one), wall_s=2.0) for one in numbers)
    return ArchiveClosed(at=NOW, job=NUMBER, name=archive, size=9, adler32="00000009", ranges=ranges)


def failed(*numbers: int) -> RangesFailed:
    ranges = tuple(RangeFailed(id=name(one), error="it broke", node="n1", fatal=one > 5) for one in numbers)
    return RangesFailed(at=NOW, job=NUMBER, ranges=ranges)
