"""Options that several commands have in common."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

import click

from hpcharvest.cli.output import OUTPUTS, Output

Command = TypeVar("Command", bound=Callable[..., Any])

FILE = click.Path(path_type=Path)
IDS = click.IntRange(min=1, max=2**63 - 1)

config = click.option(
    "--config",
    envvar="HPCHARVEST_CONFIG",
    show_envvar=True,
    required=True,
    type=FILE,
    metavar="FILE",
    help="The controller file.",
)


def _chosen(_ctx: click.Context, _param: click.Parameter, name: str) -> Output:
    return OUTPUTS[name]()


output = click.option(
    "--output",
    type=click.Choice(list(OUTPUTS)),
    default="table",
    show_default=True,
    callback=_chosen,
    help="Tables for people, JSON for programs (times in seconds since the epoch), or ids only.",
)
limit = click.option(
    "--limit", type=click.IntRange(min=1), default=100, show_default=True, help="How many at the most."
)
after = click.option("--after", type=click.IntRange(min=0), default=0, metavar="ID", help="Begin behind this one.")
queue = click.option("--queue", metavar="NAME", help="Only those of this PanDA queue.")


def states(life: type[Enum]) -> Callable[[Command], Command]:
    """Give the option that chooses some states of a life."""
    kind = click.Choice([one.value for one in life])
    words = "Only those in this state; may be repeated."
    return click.option("--state", "states", multiple=True, type=kind, help=words)
