"""Site files as commands name them: by a path, by a shipped file's name, or by a queue of the controller file."""

from __future__ import annotations

from pathlib import Path

import click

from hpcharvest.cli import options
from hpcharvest.config.loader import load, load_site, shipped_sites
from hpcharvest.config.schema import Configuration, Queue, Site
from hpcharvest.errors import ConfigurationError

argument = click.argument("file", type=options.FILE, required=False)
config = click.option(
    "--config", envvar="HPCHARVEST_CONFIG", show_envvar=True, type=options.FILE, help="The controller file."
)
queue = click.option("--queue", metavar="NAME", help="The queue of the controller file whose site it is.")


def found(file: Path) -> Path:
    """Find a site file by its path, else among those that are shipped."""
    shipped = shipped_sites() / file
    return shipped if shipped.is_file() and not file.exists() else file


def of_queue(path: Path | None, name: str) -> tuple[Configuration, Queue]:
    """Give the configuration and the queue of that name. Raises ConfigurationError."""
    if path is None:
        raise click.UsageError("--queue needs the controller file: --config FILE")
    configuration = load(path)
    if name not in configuration.queues:
        raise ConfigurationError(f"{path}: there is no queue {name}; there are {', '.join(configuration.queues)}")
    return configuration, configuration.queues[name]


def chosen(path: Path | None, name: str | None, file: Path | None) -> Site:
    """Give the site of a FILE or of a queue, whichever is named. Raises UsageError unless it is one of them."""
    if file is not None and name is None:
        return load_site(found(file))
    if file is None and name is not None:
        return of_queue(path, name)[1].site
    raise click.UsageError("name either a site FILE or a --queue of the controller file")
