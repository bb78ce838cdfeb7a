"""The processes that do event ranges, one on each node: started side by side, and started again if they end too early.

The process on the head's own host is its child; the others are started by the site's launcher.
"""

from __future__ import annotations

import logging
import math
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hpcharvest.jumbo import command, kin
from hpcharvest.jumbo.rank import roll
from hpcharvest.jumbo.surroundings import Surroundings
from hpcharvest.messenger.protocol import Manifest
from hpcharvest.messenger.ranges import NODES

log = logging.getLogger(__name__)

MOST_LIVES: Final = 6
"""How often the process of one node is started at the most."""
PAUSE_S: Final = 2.0
"""Before a process is started again: so long the first time, then twice as long each time."""
PATIENCE_S: Final = 20.0
"""How long a head that takes over waits for the nodes that its predecessor had, before it starts them itself."""
OUTPUT: Final = "nodes.txt"
"""Where the processes' own words go, in the allocation's folder."""


@dataclass(slots=True)
class _Process:
    process: subprocess.Popen[bytes]
    nodes: tuple[str, ...]


class Agents:
    """Starts the nodes' processes. Times are steady seconds.

    `wanted` tells whether a node's process should be there, and `there` whether one is, as far as the head has heard.
    """

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        surroundings: Surroundings,
        environment: Mapping[str, str],
        *,
        wanted: Callable[[str], bool],
        there: Callable[[str], bool],
        nodes: Sequence[str],
    ) -> None:
        """`nodes`: those whose processes are to be started; all others are there without us."""
        self._folder = folder
        self._nodes = tuple(nodes)
        self._manifest = manifest
        self._surroundings = surroundings
        self._mark = kin.node_mark(manifest.tag, surroundings.restart)
        self._environment = {
            **environment,
            kin.MARK_VARIABLE: self._mark,
            roll.SETTINGS_VARIABLE: roll.settings(environment),
        }
        self._wanted, self._there = wanted, there
        self._awaited: set[str] = set()
        self._takes_over = False
        self._running: dict[int, _Process] = {}
        self._lives = _lives(folder / NODES)
        self._due: dict[str, float] = {}

    def begin(self, now: float, *, takes_over: bool) -> None:
        """Start them all; a head that takes over first waits whether they come by themselves."""
        if takes_over:
            self._takes_over, self._awaited = True, set(self._nodes)
            self._due = dict.fromkeys(self._nodes, now + PATIENCE_S)
            # A process that is still on its way to its node may have the next number: a spool is one process's own.
            self._lives = {node: self._lives.get(node, 0) + 1 for node in self._nodes}
            return
        here = [node for node in self._nodes if self._surroundings.is_here(node)]
        others = [node for node in self._nodes if not self._surroundings.is_here(node)]
        for node in here:
            self._start((node,), now)
        for nodes in [tuple(others)] if self._manifest.nodes_together and others else [(one,) for one in others]:
            self._start(nodes, now)

    def next_event(self) -> float:
        """Say when `tick` has something to do; infinity: never."""
        return min(self._due.values(), default=math.inf)

    def tick(self, now: float) -> None:
        """Start again what is due."""
        for node in [node for node, at in self._due.items() if at <= now]:
            del self._due[node]
            came = node in self._awaited and self._there(node)
            self._awaited.discard(node)
            if self._wanted(node) and not came:
                self._start((node,), now)

    def bury(self, pid: int, now: float) -> bool:
        """Take note of a child that ended and is not reaped yet; False: it is none of these."""
        if pid not in self._running:
            return False
        one = self._running.pop(pid)
        code = one.process.wait()
        missing = [node for node in one.nodes if self._wanted(node)]
        if missing:
            log.warning("the processes on %s ended with %s", ",".join(missing), code)
        for node in missing:
            self._again(node, now)
        return True

    def lost(self, nodes: Iterable[str], now: float) -> None:
        """Start again what was given up for its silence, unless that is on its way."""
        for node in nodes:
            if node in self._nodes and node not in self._due:
                self._again(node, now)

    def _again(self, node: str, now: float) -> None:
        lives = self._lives.get(node, 0) - self._takes_over  # the number that `begin` has passed over is none
        if lives >= MOST_LIVES:
            log.error("the process on %s was started %s times, and is given up", node, lives)
            return
        self._due[node] = now + PAUSE_S * 2 ** max(lives - 1, 0)

    def _start(self, nodes: tuple[str, ...], now: float) -> None:
        life = max(self._lives.get(node, 0) for node in nodes)
        self._lives |= dict.fromkeys(nodes, life + 1)
        here = self._surroundings.is_here(nodes[0])
        argv = [*_program(), str(self._folder), nodes[0] if len(nodes) == 1 else ",".join(nodes), str(life)]
        if not here:
            if not self._manifest.node_launcher:
                log.error("there is no launcher to start a process on %s with", ",".join(nodes))
                return
            manifest = self._manifest
            cores, gpus = manifest.cores_per_node, manifest.gpus_per_node
            argv = command.launched(manifest.node_launcher, nodes, per_node=1, cores=cores, gpus=gpus) + argv
        try:
            with (self._folder / OUTPUT).open("ab") as output:
                process = subprocess.Popen(
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=self._environment,
                    close_fds=False,
                    start_new_session=True,
                )
        except OSError as error:
            log.warning("the processes on %s could not be started: %s", ",".join(nodes), error)
            for node in nodes:
                self._again(node, now)
            return
        self._running[process.pid] = _Process(process, nodes)

    @property
    def ended(self) -> bool:
        """Whether none of them is still there, as far as can be seen from here: they tidy up after they said Bye.

        Those that an earlier head started are no children of this one, but they, or their launchers, bear the mark.
        """
        if self._running:
            return False
        return not self._takes_over or self._mark not in kin.marks_of(self._manifest.tag).values()


def _lives(folder: Path) -> dict[str, int]:
    """Count the lives that nodes had, by their files `<node>.<life>.…`; nothing, if the folder cannot be read."""
    found: dict[str, int] = {}
    try:
        names = [one.name for one in folder.iterdir()]
    except OSError as error:
        log.warning("nobody knows which nodes were there before: %s", error)
        return found
    for name in names:
        node, _, life = name.removesuffix(".jsonl").rpartition(".")
        if node and life.isdecimal():
            found[node] = max(found.get(node, 0), int(life) + 1)
    return found


def _program() -> list[str]:
    """Give the words that start a node's process: from the same folder, or the same zip, as this one."""
    home = Path(__file__).parents[2]
    if home.is_file():
        return [sys.executable, "-I", str(home), "node"]
    return [sys.executable, "-m", "hpcharvest.jumbo.node"]
