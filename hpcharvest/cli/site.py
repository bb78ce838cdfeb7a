"""`hpcharvest site`: check site files, and see what follows from them."""

from __future__ import annotations

from pathlib import Path

import click

from hpcharvest.cli import options, site_files
from hpcharvest.cli.capacity import capacity
from hpcharvest.cli.output import Output
from hpcharvest.cli.page import Card, Page, Words
from hpcharvest.cli.site_init import init
from hpcharvest.config.loader import load_site
from hpcharvest.config.schema import Queue, Site
from hpcharvest.engine import launch
from hpcharvest.engine.parts import folders_of
from hpcharvest.engine.runner_zip import RunnerFile
from hpcharvest.errors import ConfigurationError
from hpcharvest.model.ids import JobId
from hpcharvest.model.job import JobSpec
from hpcharvest.model.shape import Shape
from hpcharvest.providers.registry import dialect

file_argument = click.argument("file", type=options.FILE)
_PLACE = Path("/path/to/work_dir/harvester_id")
"""Stands for the work folder and the harvester's id, of which a site file alone says nothing."""


@click.group()
def site() -> None:
    """Make, check and show site files. FILE is a path, or the name of one that comes with hpcharvest."""


site.add_command(capacity)
site.add_command(init)


@site.command(short_help="Check a site file.")
@options.output
@file_argument
def validate(output: Output, file: Path) -> None:
    """Check a site file: its keys, its values, and that its batch system's dialect is known."""
    place = site_files.found(file)
    checked = load_site(place)
    dialect(checked)
    fields = {"file": place, "name": checked.name, "valid": True, "assumed": checked.site.assumed}
    note = f"{place} is a valid site file"
    output.show(Page(parts=(Card(name="site", fields=fields),), ids=(checked.name,), note=note))


@site.command()
@options.output
@file_argument
def show(output: Output, file: Path) -> None:
    """Show a site file with its defaults, as it is understood."""
    checked = load_site(site_files.found(file))
    whole = checked.model_dump(mode="json")
    parts = [Card(name=name, fields=fields) for name, fields in whole.items()]
    output.show(Page(parts=parts, ids=(checked.name,)))


@site.command(short_help="Show the batch script that would be submitted.")
@site_files.config
@site_files.queue
@options.output
@site_files.argument
def preview(config: Path | None, queue: str | None, output: Output, file: Path | None) -> None:
    """Show the batch script that would be submitted, of a site FILE or for a queue of the controller file.

    With a queue it asks for what one job takes of which PanDA said nothing; else for the least number of nodes and the
    longest walltime. Nothing is submitted.
    """
    if (file is None) == (queue is None):
        raise click.UsageError("name either a site FILE or a --queue of the controller file")
    if file is not None:
        script = _script(load_site(site_files.found(file)), None, _PLACE)
    else:
        configuration, chosen = site_files.of_queue(config, str(queue))
        script = _script(chosen.site, chosen, folders_of(configuration).root)
    output.show(Page(parts=(Words(name="script", text=script),), ids=(script.rstrip("\n"),)))


def _script(here: Site, queue: Queue | None, root: Path) -> str:
    """Render the script of an allocation, numbered 1."""
    folder = root / "allocations" / "1"
    gpus = queue is not None and queue.payload.gpus > 0
    request = launch.batch_request(f"{root.name}-1-0a1b2c", _shape(here, queue), folder, here, gpus=gpus)
    return launch.script(request, here, dialect(here), _prologue(here), RunnerFile(root).path)


def _shape(here: Site, queue: Queue | None) -> Shape:
    limits = here.allocation
    if queue is None:
        nodes, seconds = limits.min_nodes, limits.max_walltime_s
    else:
        room = launch.size(JobSpec(panda_id=JobId(1), attempt_nr=0, transformation="", job_pars=""), queue)
        nodes, seconds = max(limits.min_nodes, room.nodes), room.walltime_s + int(limits.margin_s)
    return Shape(nodes=nodes, walltime_s=seconds, partition=here.batch.partition)


def _prologue(here: Site) -> str:
    if here.software.prologue is None:
        return ""
    try:
        return here.software.prologue.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the prologue {here.software.prologue} cannot be read: {error}") from error
