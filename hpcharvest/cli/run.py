"""`hpcharvest run`: the controller."""

from __future__ import annotations

import gc
import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from hpcharvest.cli import log, options
from hpcharvest.config.loader import load


def _moment(_ctx: click.Context, _param: click.Parameter, text: str | None) -> tuple[int, str] | None:
    """Read a moment beside a commit, written `N:before` or `N:after`; N counts from 1."""
    if text is None:
        return None
    found = re.fullmatch(r"([1-9]\d{0,17}):(before|after)", text)
    if found is None:
        raise click.BadParameter(f"{text!r} is no moment such as 3:before or 12:after")
    return int(found[1]), found[2]


def killer(moment: tuple[int, str] | None) -> Callable[[str], None]:
    """Give a function to be called around commits, which kills this process at that moment; None: never."""
    commits = 0

    def around(now: str) -> None:
        nonlocal commits
        commits += now == "before"
        if (commits, now) == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    return around


@contextmanager
def for_good() -> Iterator[None]:
    """Keep what is imported meanwhile, and all that is there already, out of the garbage collector's sight.

    Modules, classes and functions are half of what a controller ever holds, and none of it becomes garbage; looking
    through it again and again took a tenth of the CPU.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@click.command(
    epilog="Exit codes: 0 stopped in good order; 1 it cannot go on; 2 the configuration is wrong; 3 another controller "
    "of the same harvester id is alive, or took over."
)
@options.config
@click.option("--once", is_flag=True, help="Stop when nothing is left to do but to wait; for cron.")
@click.option("--wait", is_flag=True, help="While another controller is alive, wait until it is not, and take over.")
@click.option("--die-at-commit", metavar="N:before|after", hidden=True, callback=_moment)
def run(config: Path, once: bool, wait: bool, die_at_commit: tuple[int, str] | None) -> None:
    """Run the controller until SIGTERM or Ctrl-C.

    Allocations go on without it, and whatever moment it dies at, it goes on from there when it is started again.
    """
    configuration = load(config)
    log.set_up(configuration.controller.log_file, configuration.controller.log_level)
    with for_good():
        from hpcharvest.engine import service

    service.run(configuration, once=once, wait_for_lease=wait, around_commit=killer(die_at_commit))
