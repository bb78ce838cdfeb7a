"""A runner of event ranges for tests of the controller: it plays the journal, and does nothing but to note ranges.

It stands in the place of the site's Python, so that the batch script starts it. How it is to behave stands in
`behaviour.json` beside its notes, and is read at its start:

    each      ranges in an archive          appetite  ranges it wants beyond what it has done
    fails     every so manieth range fails  fatal     of these, the one of this number is fatal
    dies      it dies without a word after so many ranges
    spoils    the first archive is damaged when it is closed
    pause_s   seconds for an archive        life_s    seconds after which it leaves in good order
"""

from __future__ import annotations

import json
import os
import sys
import time
import zlib
from pathlib import Path
from typing import Any

from hpcharvest.messenger.mailbox import Mailbox
from hpcharvest.messenger.protocol import (
    PayloadEnded,
    Record,
    RunnerLeft,
    RunnerStarted,
    Task,
    Writer,
    kill_name,
)
from hpcharvest.messenger.ranges import (
    ARCHIVES,
    ArchiveClosed,
    EventTask,
    RangeDone,
    RangeFailed,
    RangesFailed,
    RangesWanted,
)
from hpcharvest.model.event_range import EventRange
from hpcharvest.model.job import PayloadOutcome
from hpcharvest.model.states import PayloadResult

BEHAVIOUR: dict[str, Any] = {
    "each": 4,
    "appetite": 8,
    "fails": 0,
    "fatal": 0,
    "dies": 0,
    "spoils": False,
    "pause_s": 0.05,
    "life_s": 300.0,
}


class Died(Exception):
    """It is to die here."""


class Runner:
    """One allocation's."""

    def __init__(self, folder: Path, notes: Path) -> None:
        self._mailbox = Mailbox(folder)
        self._notes = notes
        self._behaviour = BEHAVIOUR | json.loads((notes / "behaviour.json").read_text())
        self._segment = 0
        self._done = 0
        self._archives = 0
        self._began = time.monotonic()

    def run(self) -> None:
        """Do all that is fed, and leave."""
        manifest = self._mailbox.read_manifest()
        self._say(RunnerStarted(at=time.time(), batch_id="", nodes=("vn001",), restart=0))
        for whole in manifest.tasks:
            self._say(self._payload(whole))
        try:
            for task in manifest.event_tasks:
                self._serve(task)
        except Died:
            os._exit(9)
        self._say(RunnerLeft(at=time.time(), reason="done"))

    def _serve(self, task: EventTask) -> None:
        self._say(RangesWanted(at=time.time(), job=task.job, total=self._behaviour["appetite"]))
        number, fed, last, ready = 0, 0, False, list[EventRange]()
        while not (last and not ready):
            self._mailbox.beat()
            if self._stopped(task):
                return
            feed = self._mailbox.read_feed(task.job, number)
            if feed is not None:
                assert feed.first == fed, (feed.first, fed)
                number, fed, last = number + 1, fed + len(feed.ranges), feed.last
                ready += feed.ranges
                continue
            if not ready:
                time.sleep(0.05)
                continue
            now, ready = ready[: self._behaviour["each"]], ready[self._behaviour["each"] :]
            self._do(task, now)
            wanted = fed - len(ready) + self._behaviour["appetite"]
            self._say(RangesWanted(at=time.time(), job=task.job, total=wanted))

    def _payload(self, task: Task) -> PayloadEnded:
        """Do as if a whole job's payload had run."""
        Path(task.folder).mkdir(parents=True)
        for name in (*task.outputs, *filter(None, [task.log])):
            (Path(task.folder) / name).write_text(f"output of {task.job}\n")
        outcome = PayloadOutcome(result=PayloadResult.DONE, exit_code=0)
        return PayloadEnded(at=time.time(), job=task.job, attempt=task.attempt, outcome=outcome)

    def _stopped(self, task: EventTask) -> bool:
        notes = self._mailbox.kill_notes()
        over = time.monotonic() - self._began > self._behaviour["life_s"]
        return over or bool(notes & {"all", kill_name(task.job, task.attempt)})

    def _do(self, task: EventTask, ranges: list[EventRange]) -> None:
        """Do some ranges: a note for each, an archive of those that end well, and failures."""
        with (self._notes / "tally").open("a") as tally:
            tally.write("".join(f"{one.id}\n" for one in ranges))
        time.sleep(self._behaviour["pause_s"])
        self._done += len(ranges)
        if 0 < self._behaviour["dies"] <= self._done:
            raise Died
        every = self._behaviour["fails"]
        bad = [one for one in ranges if every and int(one.id.split("-")[3]) % every == 0]
        good = [one for one in ranges if one not in bad]
        if good:
            self._say(self._archive(task, good))
        if bad:
            failed = tuple(self._failure(one) for one in bad)
            self._say(RangesFailed(at=time.time(), job=task.job, ranges=failed))

    def _failure(self, one: EventRange) -> RangeFailed:
        fatal = self._behaviour["fatal"]
        is_fatal = bool(fatal) and int(one.id.split("-")[3]) == fatal
        return RangeFailed(id=one.id, error="it broke", node="vn001", fatal=is_fatal)

    def _archive(self, task: EventTask, ranges: list[EventRange]) -> ArchiveClosed:
        folder = self._mailbox.folder / ARCHIVES
        name = f"EventService_premerge_{ranges[0].id}.{os.getpid()}.{self._archives}.tar"
        content = "".join(f"{one.id} {one.lfn} {one.start} {one.last}\n" for one in ranges).encode()
        (folder / name).write_bytes(content)
        if self._behaviour["spoils"] and not self._archives and not (self._notes / "spoilt").exists():
            (self._notes / "spoilt").touch()
            (folder / name).write_bytes(b"spoilt")
        self._archives += 1
        done = tuple(RangeDone(id=one.id, cpu_s=2.0, wall_s=1.0, cores=1) for one in ranges)
        size, checksum = len(content), f"{zlib.adler32(content):08x}"
        return ArchiveClosed(at=time.time(), job=task.job, name=name, size=size, adler32=checksum, ranges=done)

    def _say(self, record: Record) -> None:
        if not self._mailbox.journal.publish(self._segment, [record], Writer.RUNNER):
            os._exit(98)  # the journal is closed: nothing of this counts
        self._segment += 1


if __name__ == "__main__":
    Runner(Path(sys.argv[-1]), Path(sys.argv[1])).run()
