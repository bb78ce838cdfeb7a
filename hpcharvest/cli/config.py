"""`hpcharvest config`: the configuration as it was understood."""

from __future__ import annotations

from pathlib import Path

import click

from hpcharvest.cli import options
from hpcharvest.cli.output import Output
from hpcharvest.cli.page import Card, Page
from hpcharvest.config.loader import load


@click.group()
def config() -> None:
    """Show the configuration."""


@config.command(short_help="Show the configuration as it is understood.")
@options.config
@options.output
def show(config: Path, output: Output) -> None:
    """Show the configuration with its defaults and sites, as it is understood. It has no secrets, only their files."""
    configuration = load(config)
    whole = configuration.model_dump(mode="json")
    output.show(
        Page(
            parts=[Card(name=name, fields=fields) for name, fields in whole.items()],
            ids=list(configuration.queues),
        )
    )
