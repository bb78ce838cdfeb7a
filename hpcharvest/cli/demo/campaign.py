"""Harvests until everything is over: keeps a controller running, kills it if that is wanted, and watches."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO, Protocol, Self

from hpcharvest.cli.demo.ledger import Ledger
from hpcharvest.cli.demo.mishap import NodeLoss
from hpcharvest.errors import HarvestError
from hpcharvest.model.states import JobState
from hpcharvest.sandbox.states import ARCHIVED
from hpcharvest.sandbox.states import JobState as ServerState
from hpcharvest.sandbox.world import World

LOOK_S = 0.3
"""Seconds between two looks at the books."""
STOP_S = 120.0
"""Seconds in which a controller that is asked to stop must have gone."""
KILL_S = (0.5, 5.0)
"""Seconds of a controller's life before it is killed: at random between these."""
STILL_S = 180.0
STILL_S_PER_EVENT = 1.0
"""After how many seconds, more for larger jobs, in which nothing moved we say that something is stuck."""
AFTERWARDS_S = 120.0
"""Seconds after the last job's end at the server in which the controller must have put its own house in order."""


class DemoFailed(HarvestError):
    """The demonstration could not be brought to its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """How far things are: numbers of jobs and allocations by state. `kills`: of the controller, so far."""

    jobs: int
    server: Mapping[str, int]
    ledger: Mapping[str, int] = field(default_factory=dict)
    allocations: Mapping[str, int] = field(default_factory=dict)
    live: int = 0
    owed: int = 0
    kills: int = 0
    ranges: Mapping[str, int] = field(default_factory=dict)
    """At the server."""

    @property
    def done(self) -> int:
        """How many jobs are final at the server."""
        return sum(self.server.get(state, 0) for state in ARCHIVED)

    @property
    def over(self) -> bool:
        """Whether the server, and the controller too, have nothing left to do."""
        kept = sum(count for state, count in self.ledger.items() if JobState(state).final)
        return self.done == kept == self.jobs and not self.owed and not self.live


class Screen(Protocol):
    """Where one can see how far things are."""

    def show(self, sight: Sight) -> None:
        """Show how far things are."""

    def say(self, text: str) -> None:
        """Add a line that stays."""


class Harvester:
    """The controller's process. Use it as a context: at its end the process is gone."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._log: IO[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._log = (self._world.folder / "controller.out").open("ab")
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        if self._log is not None:
            self._log.close()

    def start(self) -> None:
        """Start a controller."""
        self._process = self._world.controller(stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log)

    def kill(self) -> None:
        """End it as a crash does."""
        process = self._alive()
        process.kill()
        process.wait()

    def stop(self) -> None:
        """Ask it to stop, and wait for it."""
        process = self._alive()
        process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(STOP_S)
        except subprocess.TimeoutExpired as error:
            raise DemoFailed(f"the controller did not stop within {STOP_S:g} s of SIGTERM") from error
        if code != 0:
            raise DemoFailed(f"the controller ended with status {code} when it was asked to stop; {self._advice()}")

    def check(self) -> None:
        """Raise DemoFailed if it ended by itself."""
        self._alive()

    def _alive(self) -> subprocess.Popen[bytes]:
        process = self._process
        code = None if process is None else process.poll()
        if process is None or code is not None:
            raise DemoFailed(f"the controller ended by itself, with status {code}; {self._advice()}")
        return process

    def _advice(self) -> str:
        folder = self._world.folder
        return f"look at {folder}/controller.log and {folder}/controller.out"


class Campaign:
    """One harvest of `jobs` jobs with `events` events each, in which the controller is killed `kills` times."""

    def __init__(
        self, world: World, screen: Screen, *, jobs: int, events: int, kills: int, mishap: NodeLoss | None = None
    ) -> None:
        self._world = world
        self._mishap = mishap
        self._screen = screen
        self._jobs = jobs
        self._still_s = STILL_S + STILL_S_PER_EVENT * events
        self._wanted_kills = kills
        self._kills = 0
        self._dice = random.SystemRandom()
        self._ledger: Ledger | None = None

    def run(self) -> Ledger:
        """Harvest until all is over, or until what is left does not move; give the ledger, which the caller closes.

        Raises DemoFailed if the controller ends by itself, or if jobs are stuck.
        """
        with Harvester(self._world) as harvester:
            self._watch(harvester)
            harvester.stop()
        if self._ledger is None:
            raise DemoFailed("the controller made no database")
        return self._ledger

    @property
    def kills(self) -> int:
        """How often the controller was killed."""
        return self._kills

    def close(self) -> None:
        """Give up the connections to the ledger, and give back what was taken from the world."""
        if self._mishap is not None:
            self._mishap.close()
        if self._ledger is not None:
            self._ledger.close()

    def _watch(self, harvester: Harvester) -> None:
        kill_at = self._next_kill()
        before, moved_at = None, time.monotonic()
        while True:
            harvester.check()
            sight = self._look()
            self._screen.show(sight)
            now = time.monotonic()
            self._let_happen(now)
            if sight.over:
                return
            if sight != before:
                before, moved_at = sight, now
            if sight.done == sight.jobs and now - moved_at > AFTERWARDS_S:
                return  # what the controller did not bring to an end, the audit will name
            if now - moved_at > self._still_s:
                raise DemoFailed(f"nothing moved for {self._still_s:g} s, with {sight.done} of {sight.jobs} jobs done")
            if self._kills < self._wanted_kills and now >= kill_at:
                self._kill(harvester)
                kill_at = self._next_kill()
            time.sleep(LOOK_S)

    def _let_happen(self, now: float) -> None:
        if self._mishap is not None and self._ledger is not None:
            happened = self._mishap.look(self._ledger.running(), now)
            if happened:
                self._screen.say(happened)

    def _kill(self, harvester: Harvester) -> None:
        harvester.kill()
        self._kills += 1
        self._screen.say(f"the controller was killed ({self._kills} of {self._wanted_kills}); it is started again")
        harvester.start()

    def _next_kill(self) -> float:
        return time.monotonic() + self._dice.uniform(*KILL_S)

    def _look(self) -> Sight:
        books = self._world.books()
        server: dict[str, int] = books["states"]
        ranges: dict[str, int] = books["events"]["states"]
        if self._ledger is None and server.get(ServerState.ACTIVATED, 0) < self._jobs:
            self._ledger = Ledger(self._world.config)  # there was a controller that fetched jobs, so it is there
        if self._ledger is None:
            return Sight(jobs=self._jobs, server=server, kills=self._kills, ranges=ranges)
        return Sight(
            jobs=self._jobs,
            server=server,
            ledger=self._ledger.jobs(),
            allocations=self._ledger.allocations(),
            live=self._ledger.live_allocations(),
            owed=self._ledger.owed(),
            kills=self._kills,
            ranges=ranges,
        )
