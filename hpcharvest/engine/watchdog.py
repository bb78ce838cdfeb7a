"""The watchdog: what must happen from time to time, whether anything else does or not."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import hpcharvest
from hpcharvest.apps.folders import Folders
from hpcharvest.clock import Clock
from hpcharvest.config.schema import Configuration
from hpcharvest.engine.effects import Hands, Kind
from hpcharvest.engine.lease import Lease
from hpcharvest.engine.sweeper import remove
from hpcharvest.engine.turn import Turn
from hpcharvest.errors import HarvestError
from hpcharvest.model.ids import AllocationId, JobId
from hpcharvest.model.states import JobState
from hpcharvest.panda.client import PandaClient
from hpcharvest.store.changes import Entry
from hpcharvest.store.database import Database

logger = logging.getLogger(__name__)

PURGE_S = 3600.0
DAY_S = 86400.0
REMINDED, PURGED = "PandaReminded", "Purged"
"""The journal's words for what the watchdog does from time to time."""
LATEST = 20
"""Entries of the service's journal among which the last of each kind is."""


class Watchdog:
    """Renews the lease, gives signs of life to PanDA, and throws away what is old."""

    def __init__(
        self,
        *,
        configuration: Configuration,
        lease: Lease,
        client: PandaClient,
        hands: Hands,
        database: Database,
        folders: Folders,
        clock: Clock,
    ) -> None:
        self._interval_s = configuration.panda.heartbeat_interval_s
        self._retention_s = configuration.controller.retention_days * DAY_S
        self._lease = lease
        self._client = client
        self._hands = hands
        self._database = database
        self._folders = folders
        self._clock = clock
        self._started = clock.wall()
        self._next_beat = 0.0
        self._next_reminder = self._due(REMINDED, self._interval_s)
        self._next_purge = self._due(PURGED, PURGE_S)
        self._swept = False
        self._sleep = threading.Event()

    def check_lease(self) -> None:
        """Raise LeaseHeld if the lease is ours no more: then nothing may be done."""
        self._lease.check()

    def pause(self, seconds: float) -> None:
        """Let time pass."""
        self._sleep.wait(seconds)
        self._lease.check()

    def look(self, turn: Turn) -> None:
        """Do what is due."""
        now = self._clock.steady()
        if now >= self._next_beat:
            self._next_beat = now + self._interval_s
            self._hands.carry_out(Kind.FETCH, "heartbeat", self._beat)
        if now >= self._next_reminder:
            self._remind(turn)
            self._next_reminder = now + self._interval_s
        if not self._swept:
            self._swept = True
            self._hands.carry_out(Kind.SWEEP, "leftovers", self._sweep_leftovers)
        if now >= self._next_purge:
            self._next_purge = now + PURGE_S
            turn.changes.journal.append(Entry(at=turn.now, subject="service", id=0, action=PURGED))
            self._hands.carry_out(Kind.SWEEP, "purge", self._purge)

    def _due(self, action: str, interval_s: float) -> float:
        """Steady seconds when something is due again; the journal knows when it was done last, also by a cron tick."""
        done = [entry.at for entry in self._database.journal.of("service", 0, LATEST) if entry.action == action]
        ago = self._clock.wall() - max(done, default=0.0)
        return self._clock.steady() + (interval_s - ago if 0 <= ago < interval_s else 0.0)

    def _remind(self, turn: Turn) -> None:
        """Let PanDA hear of jobs whose status did not change, or it would take them for lost."""
        at_hand = turn.mirror.jobs
        waiting = self._database.jobs.waiting(limit=10_000, exclude=at_hand.keys())
        for job in (*at_hand.values(), *waiting):
            if not job.state.final and turn.report(job.id) is None:
                turn.remind(job)
        turn.changes.journal.append(Entry(at=turn.now, subject="service", id=0, action=REMINDED))

    def _beat(self) -> None:
        try:
            self._client.heartbeat(self._started, hpcharvest.__version__)
        except HarvestError as error:
            logger.warning("PanDA did not take the harvester's heartbeat: %s", error)

    def _purge(self) -> None:
        before = self._clock.wall() - self._retention_s
        try:
            gone = self._database.purge(before)
        except HarvestError as error:
            logger.warning("old records could not be purged: %s", error)
            return
        remove([*self._old_jobs(before), *self._old_allocations(before)])
        if gone:
            logger.info("purged %d records older than %d days", gone, self._retention_s / DAY_S)

    def _sweep_leftovers(self) -> None:
        """Remove the folders of jobs that ended well just before an earlier process died."""
        found = {folder: _job_of(folder) for folder in _older(self._folders.jobs, float("inf"))}
        try:
            known = self._database.jobs.known(found.values())
        except HarvestError as error:
            logger.warning("left-over folders are not looked for: %s", error)
            return
        remove([folder for folder, job in found.items() if job in known and known[job][1] in _SWEPT])

    def _old_jobs(self, before: float) -> list[Path]:
        """Give folders of jobs that are over, or that nobody knows any more."""
        found = {folder: _job_of(folder) for folder in _older(self._folders.jobs, before)}
        known = self._database.jobs.known(found.values())
        return [folder for folder, job in found.items() if job not in known or known[job][1].final]

    def _old_allocations(self, before: float) -> list[Path]:
        """Give folders of allocations that are over, and in which no archive is needed."""
        live = {one.id for one in self._database.allocations.live()} | self._database.bundles.needed_allocations()
        return [
            folder for folder in _older(self._folders.allocations, before) if AllocationId(int(folder.name)) not in live
        ]


_SWEPT = frozenset({JobState.FINISHED, JobState.CANCELLED})
"""What failed is kept, for people to look at."""


def _job_of(folder: Path) -> JobId:
    return JobId(int(folder.name.partition(".")[0]))


def _older(parent: Path, before: float) -> list[Path]:
    """Give the numbered folders in which nothing was made or removed since `before`."""
    if not parent.is_dir():
        return []
    return [one for one in parent.iterdir() if one.name[0].isdigit() and _changed_at(one) < before]


def _changed_at(folder: Path) -> float:
    """Say when something was made or removed in a folder; one that is gone is as good as new."""
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:
        return float("inf")
