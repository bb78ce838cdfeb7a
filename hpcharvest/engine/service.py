"""The composition root: builds everything from the configuration, runs the loop, and takes it down again.

Starting is recovering: what the database holds is brought to hand, unread answers are parsed, live allocations are
followed, and every record is asked for its next command. There is no other recovery.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from queue import Empty, SimpleQueue

from hpcharvest.apps.bind import Dags
from hpcharvest.apps.images import Images
from hpcharvest.clock import Clock, SystemClock
from hpcharvest.config.schema import Configuration
from hpcharvest.engine import images, launch
from hpcharvest.engine.allocations import Allocations
from hpcharvest.engine.batch_jobs import BatchJobs
from hpcharvest.engine.dag import DagWindow, Reporter
from hpcharvest.engine.effects import Hands
from hpcharvest.engine.event_ranges import EventRanges
from hpcharvest.engine.events import AnswerKept, DagEnded, Event, StopAsked
from hpcharvest.engine.intake import Intake
from hpcharvest.engine.lease import Lease
from hpcharvest.engine.loop import Crew, Loop
from hpcharvest.engine.mirror import Mirror
from hpcharvest.engine.parts import client_of, folders_of, open_database
from hpcharvest.engine.range_parts import event_ranges
from hpcharvest.engine.reports import Reports
from hpcharvest.engine.requests import Requests
from hpcharvest.engine.runner_zip import RunnerFile
from hpcharvest.engine.strays import Strays
from hpcharvest.engine.sweeper import Sweeper
from hpcharvest.engine.watch import Watch
from hpcharvest.engine.watchdog import Watchdog
from hpcharvest.messenger.mailbox import probe
from hpcharvest.model.ids import AllocationId
from hpcharvest.model.words import counted
from hpcharvest.panda.client import PandaClient
from hpcharvest.providers.dialect import SCRIPT
from hpcharvest.providers.registry import batch_system
from hpcharvest.store.database import Database

logger = logging.getLogger(__name__)


def run(
    configuration: Configuration,
    *,
    once: bool = False,
    wait_for_lease: bool = False,
    around_commit: Callable[[str], None] = lambda _: None,
    clock: Clock | None = None,
) -> None:
    """Run the controller until SIGTERM or SIGINT; with `once`, until all that is due is done.

    Raises LeaseHeld if another controller of the same harvester id is alive. `around_commit` is called with "before"
    and "after" at every commit: benchmarks of crashes kill the process there.
    """
    with ExitStack() as stack:
        service = Service(configuration, stack, clock or SystemClock(), around_commit)
        service.start(wait_for_lease=wait_for_lease)
        service.loop.run(service.idle if once else lambda: False)


class Service:
    """A controller, put together. `stack` takes it down again, in the reverse order."""

    def __init__(
        self,
        configuration: Configuration,
        stack: ExitStack,
        clock: Clock,
        around_commit: Callable[[str], None],
    ) -> None:
        self._configuration = configuration
        self._stack = stack
        self._clock = clock
        self._around_commit = around_commit
        self._folders = folders_of(configuration)
        self._events: SimpleQueue[Event] = SimpleQueue()
        self._stop_asked = threading.Event()
        self._mirror = Mirror()
        self._images = Images()
        self._runner = RunnerFile(self._folders.root)
        self._lease = Lease(self._folders.lease, configuration.controller.lease_s, clock)
        self._systems = {queue.site.name: batch_system(queue.site) for queue in configuration.queues.values()}
        self._batch_jobs = BatchJobs(
            configuration=configuration,
            folders=self._folders,
            systems=self._systems,
            images=self._images,
            runner=self._runner,
            events=self._events,
            clock=clock,
        )

    def start(self, *, wait_for_lease: bool) -> None:
        """Take the lease, open the database, build the rest, and bring to hand what was under way."""
        self._take_lease(patient=wait_for_lease)
        probe(self._folders.root)
        database = open_database(self._configuration)
        self._stack.callback(database.close)
        self._build(database)
        self._recover(database)

    def idle(self) -> bool:
        """Whether all that is due is done: everything was looked at, and nothing is left but to wait."""
        return self._watch.looks > 1 and self._watch.questions > 1 and self.loop.quiet()

    def _take_lease(self, *, patient: bool) -> None:
        stop = self._listen()
        self._lease.acquire(stop, patient=patient)
        self._stack.callback(self._lease.release)
        self._lease.keep()

    def _listen(self) -> Callable[[float], object]:
        """Let SIGTERM and SIGINT ask the loop to stop; give a way to wait that they interrupt."""

        def ask(number: int, _frame: object) -> None:
            self._stop_asked.set()
            self._events.put(StopAsked(why=signal.Signals(number).name))

        for number in (signal.SIGTERM, signal.SIGINT):
            previous = signal.signal(number, ask)
            self._stack.callback(signal.signal, number, previous)
        return lambda seconds: _wait_or_stop(self._events, seconds)

    def _build(self, database: Database) -> None:
        configuration, events, clock = self._configuration, self._events, self._clock
        settings = configuration.controller
        client = client_of(configuration)
        hands = Hands(events)
        sweeper = Sweeper(hands, clock)
        dags = Dags(
            Reporter(events, clock),
            self._mirror.jobs.get,
            run_dir=settings.state_dir / "parsl",
            stage_threads=settings.stage_threads,
        )
        self._watch = Watch(systems=self._systems, events=events, settings=settings, clock=clock)
        self._ranges = self._event_ranges(client, database, dags, sweeper, hands)
        self._allocations = Allocations(
            configuration=configuration,
            effects=self._batch_jobs,
            ranges=self._ranges,
            watch=self._watch,
            hands=hands,
            clock=clock,
            first=AllocationId(max(database.allocations.last_id(), _last_folder(self._folders.allocations)) + 1),
        )
        crew = self._crew(database, client, hands, dags, sweeper)
        self.loop = Loop(
            crew,
            settings=settings,
            events=events,
            clock=clock,
            around_commit=self._around_commit,
            stop_asked=self._stop_asked,
        )
        self._stack.callback(self.loop.last_turn)  # the stack is taken down from its end: this comes after the others
        for close in (self._watch.close, dags.close, hands.close, self._images.give_up):
            self._stack.callback(close)

    def _event_ranges(
        self, client: PandaClient, database: Database, dags: Dags, sweeper: Sweeper, hands: Hands
    ) -> EventRanges:
        return event_ranges(
            configuration=self._configuration,
            client=client,
            database=database,
            folders=self._folders,
            start=dags.start_bundle,
            sweeper=sweeper,
            effects=self._batch_jobs,
            hands=hands,
            events=self._events,
            clock=self._clock,
        )

    def _crew(self, database: Database, client: PandaClient, hands: Hands, dags: Dags, sweeper: Sweeper) -> Crew:
        configuration, events, clock = self._configuration, self._events, self._clock
        window = DagWindow(
            dags,
            folders=self._folders,
            storages={name: launch.storage(queue) for name, queue in configuration.queues.items()},
            image=lambda job: images.wanted(job.spec, configuration.queues[job.queue], self._folders, self._images),
            size=configuration.controller.dag_window,
            sweeper=sweeper,
        )
        return Crew(
            database=database,
            mirror=self._mirror,
            hands=hands,
            sweeper=sweeper,
            dags=window,
            intake=Intake(
                configuration=configuration, client=client, database=database, hands=hands, events=events, clock=clock
            ),
            allocations=self._allocations,
            ranges=self._ranges,
            strays=Strays(harvester_id=configuration.controller.harvester_id, effects=self._batch_jobs, hands=hands),
            reports=Reports(configuration=configuration, client=client, hands=hands, events=events, clock=clock),
            requests=Requests(database, clock),
            watchdog=Watchdog(
                configuration=configuration,
                lease=self._lease,
                client=client,
                hands=hands,
                database=database,
                folders=self._folders,
                clock=clock,
            ),
        )

    def _recover(self, database: Database) -> None:
        """Bring to hand what was under way; the commands that follow from it come by themselves."""
        for report in database.outbox.all():
            self._mirror.owe(report)
        jobs = database.jobs.unfinished(waiting_limit=0)  # those that wait come into the window as there is room
        for job in jobs:
            self._mirror.add(job)
            self._events.put(DagEnded(job=job.id))  # nothing of its DAG is left: let its next command be found
        for allocation in database.allocations.live():
            self._mirror.allocations[allocation.id] = allocation
            self._allocations.follow(allocation)
        self._runner.tidy(self._folders.allocation(number) / SCRIPT for number in self._mirror.allocations)
        self._ranges.recover(database, jobs, self._mirror.allocations)
        for answer in database.answers.unread():
            self._events.put(AnswerKept(answer=answer))
        self._watch.start()
        if jobs or self._mirror.reports:
            logger.info(
                "carrying on with %s, %s and %s owed (process %d)",
                counted(len(jobs), "job"),
                counted(len(self._mirror.allocations), "allocation"),
                counted(len(self._mirror.reports), "report"),
                os.getpid(),
            )


def _wait_or_stop(events: SimpleQueue[Event], seconds: float) -> None:
    """Let `seconds` pass; somebody who asks us to stop meanwhile is obeyed at once."""
    try:
        events.get(timeout=seconds)
    except Empty:
        return
    raise SystemExit(0)


def _last_folder(parent: Path) -> int:
    """Give the highest number that any folder of an allocation has: a number is never used again."""
    if not parent.is_dir():
        return 0
    return max((int(folder.name) for folder in parent.iterdir() if folder.name.isdigit()), default=0)
