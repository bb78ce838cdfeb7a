"""Shows on stderr how far the demonstration is: a live panel on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from hpcharvest.cli.demo.campaign import Screen, Sight
from hpcharvest.cli.plain import plain
from hpcharvest.model.states import AllocationState, JobState
from hpcharvest.model.words import counted
from hpcharvest.sandbox.states import EventState
from hpcharvest.sandbox.states import JobState as ServerState

EVERY_S = 3.0
"""Seconds between two plain lines."""


@contextmanager
def screen() -> Iterator[Screen]:
    """Give a screen that fits to where stderr goes; the console is rich's, as `output` prints pages only."""
    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        yield _Lines(console)
        return
    with Live(console=console, transient=True, refresh_per_second=8) as live:
        yield _Panel(live)


class _Screen:
    """What both have in common."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()

    def say(self, text: str) -> None:
        """Add a line that stays."""
        self._console.print(f"{self._elapsed():5.1f} s  {plain(text)}", soft_wrap=True)

    def _elapsed(self) -> float:
        return time.monotonic() - self._began


class _Lines(_Screen):
    """For files and pipes."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._next = 0.0

    def show(self, sight: Sight) -> None:
        """Say how far things are, if that was not said just now."""
        if self._elapsed() >= self._next:
            self._next = self._elapsed() + EVERY_S
            self.say(" | ".join(f"{name}: {told}" for name, told in _rows(sight) if told))


class _Panel(_Screen):
    """For people."""

    def __init__(self, live: Live) -> None:
        super().__init__(live.console)
        self._live = live

    def show(self, sight: Sight) -> None:
        """Draw how far things are."""
        table = Table.grid(padding=(0, 2))
        bar = ProgressBar(total=sight.jobs, completed=sight.done, width=40)
        table.add_row(f"{self._elapsed():.0f} s", bar)
        for name, told in _rows(sight):
            if told:
                table.add_row(name, told)
        self._live.update(table)


def _rows(sight: Sight) -> Iterator[tuple[str, str]]:
    yield "PanDA server", _counted(sight.server, ServerState)
    yield "event ranges", _counted(sight.ranges, (state.name.lower() for state in EventState))
    yield "local ledger", _counted(sight.ledger, JobState)
    yield "allocations", _counted(sight.allocations, AllocationState)
    yield "controller", f"killed {counted(sight.kills, 'time')}" if sight.kills else ""


def _counted(counts: Mapping[str, int], life: Iterable[str]) -> str:
    """Tell how many are in each state, in the order of their life."""
    return ", ".join(f"{counts[state]} {state}" for state in life if counts.get(state))
