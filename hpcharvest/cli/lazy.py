"""A group of commands that are imported when they are called, and errors that become exit codes."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import click

from hpcharvest.cli.output import complain, trace
from hpcharvest.errors import ConfigurationError, HarvestError, LeaseHeld

EXIT_CODES: tuple[tuple[type[HarvestError], int], ...] = ((ConfigurationError, 2), (LeaseHeld, 3), (HarvestError, 1))
"""The first that fits."""


@dataclass(frozen=True, slots=True)
class Later:
    """A command that is not imported yet. `where`: "module:attribute". `help`: the line that the group shows of it."""

    where: str
    help: str

    def load(self) -> click.Command:
        """Import it."""
        module, _, attribute = self.where.partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command


class LazyGroup(click.Group):
    """Commands by name; only the one that is called is imported. `--traceback` must be among the group's options."""

    def __init__(self, *args: Any, later: Mapping[str, Later], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.later = later

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Name the commands, in the order of the table."""
        return list(self.later)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's
        """Import a command; None if there is none of that name."""
        return self.later[cmd_name].load() if cmd_name in self.later else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        """Write what each command does, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.help) for name, command in self.later.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Call the command; an error of ours becomes a line on stderr and an exit code."""
        try:
            return super().invoke(ctx)
        except HarvestError as error:
            if ctx.params["traceback"]:
                trace(traceback.format_exc())
            _tell(error)
            ctx.exit(next(code for kind, code in EXIT_CODES if isinstance(error, kind)))


def _tell(error: HarvestError) -> None:
    """Write the error in one line; several problems of a configuration, one line each."""
    problems = str(error).splitlines() if isinstance(error, ConfigurationError) else [str(error)]
    for problem in problems:
        complain(problem)
