"""Puts together who looks after event ranges."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from hpcharvest.apps.archive import ArchiveTicket
from hpcharvest.apps.folders import Folders
from hpcharvest.clock import Clock
from hpcharvest.config.schema import Configuration
from hpcharvest.engine.acquiring import Acquiring
from hpcharvest.engine.batch_jobs import BatchJobs
from hpcharvest.engine.bundles import Bundles, Salvage
from hpcharvest.engine.effects import Hands
from hpcharvest.engine.event_ranges import EventRanges, Staff
from hpcharvest.engine.events import Event
from hpcharvest.engine.feeding import Feeding
from hpcharvest.engine.merging import Merging
from hpcharvest.engine.range_book import RangeBook
from hpcharvest.engine.range_reports import RangeReports
from hpcharvest.engine.sweeper import Sweeper
from hpcharvest.jumbo.salvage import salvage
from hpcharvest.messenger.protocol import Record
from hpcharvest.model.event_range import Bundle
from hpcharvest.panda.client import PandaClient
from hpcharvest.store.database import Database


def salvage_all(folder: Path, archives: Collection[str], ranges: Collection[str]) -> Sequence[Record]:
    """Salvage what all nodes of an allocation left, as its own head would if one died."""
    return salvage(folder, None, archives, told_ranges=ranges)


def event_ranges(
    *,
    configuration: Configuration,
    client: PandaClient,
    database: Database,
    folders: Folders,
    start: Callable[[ArchiveTicket], None],
    sweeper: Sweeper,
    effects: BatchJobs,
    hands: Hands,
    events: SimpleQueue[Event],
    clock: Clock,
    salvaging: Salvage = salvage_all,
) -> EventRanges:
    """Make the crew member. `start` gives an archive's DAG to Parsl."""
    book = RangeBook(database)
    always: dict[str, Any] = {"configuration": configuration, "hands": hands, "events": events, "clock": clock}
    merging = Merging(**always, database=database)
    bundles = Bundles(**always, database=database, folders=folders, book=book, start=start, salvage=salvaging)
    staff = Staff(
        book=book,
        acquiring=Acquiring(**always, client=client),
        feeding=Feeding(**always, database=database, folders=folders, book=book),
        bundles=bundles,
        merging=merging,
        reports=RangeReports(
            **always,
            client=client,
            database=database,
            book=book,
            bundles=bundles,
            settled=partial(_swept, sweeper, bundles),
        ),
    )
    return EventRanges(staff, configuration=configuration, effects=effects, hands=hands, clock=clock)


def _swept(sweeper: Sweeper, bundles: Bundles, bundle: Bundle) -> None:
    """Let the source of an archive go, of which PanDA has said that it knows."""
    if bundle.archive:
        sweeper.take(bundles.archive(bundle.allocation) / bundle.archive)
