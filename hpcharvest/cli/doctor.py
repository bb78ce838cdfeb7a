"""`hpcharvest doctor`: everything that a controller needs, looked at before it is missed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import click

from hpcharvest.cli import options
from hpcharvest.cli.checks import container, folders, partners, software, state
from hpcharvest.cli.checks.finding import Check, Finding, Level, failure, ok
from hpcharvest.cli.output import Output
from hpcharvest.cli.page import Listing, Page
from hpcharvest.config.loader import load
from hpcharvest.config.schema import Configuration
from hpcharvest.errors import ConfigurationError, HarvestError
from hpcharvest.model.words import counted

CHECKS: Mapping[str, Check] = MappingProxyType(
    {
        "work folder": folders.work_dir,
        "free space": folders.free_space,
        "clock": folders.clock_skew,
        "state folder": state.state_dir,
        "database": state.database,
        "lease": state.lease,
        "credentials": partners.credentials,
        "PanDA server": partners.panda,
        "batch system": partners.batch,
        "runner": partners.runner,
        "prologue": software.prologue,
        "software": software.paths,
        "CVMFS": software.cvmfs,
        "containers": container.engine,
        "transformations": folders.transformations,
        "storage": folders.storage,
    }
)


@click.command(epilog="Exit codes: 0 no failure, perhaps warnings; 1 a failure.")
@options.config
@options.output
def doctor(config: Path, output: Output) -> None:
    """Check everything that a controller needs, and say what to do about what is wrong. Changes nothing.

    `--output quiet` names the checks that failed.
    """
    found = list(examine(config))
    rows = [
        {"level": one.level, "check": check, "finding": one.words, "what_to_do": one.advice} for check, one in found
    ]
    failed = [check for check, one in found if one.level is Level.FAILURE]
    listing = Listing(name="checks", columns=("level", "check", "finding", "what_to_do"), records=rows)
    output.show(Page(parts=(listing,), ids=list(dict.fromkeys(failed)), note=_summary(found)))
    if failed:
        click.get_current_context().exit(1)


def examine(config: Path) -> Iterator[tuple[str, Finding]]:
    """Give what each check finds, with its name; without a configuration that can be used, nothing else is checked."""
    try:
        configuration = load(config)
    except ConfigurationError as error:
        for problem in str(error).splitlines():
            yield "configuration", failure(problem, "put it right; docs/configuration.md says what every key means")
        return
    yield "configuration", ok(f"{config} can be used")
    for name, check in CHECKS.items():
        for finding in run_check(check, configuration):
            yield name, finding


def run_check(check: Check, configuration: Configuration) -> Iterator[Finding]:
    """Give what a check finds; what it trips over is a failure too."""
    try:
        yield from check(configuration)
    except HarvestError as error:
        yield failure(str(error), "the message says what is wrong")
    except OSError as error:
        yield failure(str(error), "look at the file system, and at owner and mode")


def _summary(found: list[tuple[str, Finding]]) -> str:
    numbers = {level: sum(one.level is level for _, one in found) for level in Level}
    warnings, failures = counted(numbers[Level.WARNING], "warning"), counted(numbers[Level.FAILURE], "failure")
    return f"{numbers[Level.OK]} ok, {warnings}, {failures}"
