"""`hpcharvest site init`: look at this machine, and write a site file."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import NamedTemporaryFile

import click

from hpcharvest.cli import options
from hpcharvest.cli.output import Output
from hpcharvest.cli.page import Card, Page, Words
from hpcharvest.config.loader import load_site
from hpcharvest.errors import ConfigurationError
from hpcharvest.providers.survey.surroundings import here
from hpcharvest.providers.survey.survey import survey
from hpcharvest.providers.survey.write import render


@click.command(short_help="Look at this machine and write a site file.")
@click.option("--output-file", type=options.FILE, metavar="FILE", help="Write it there, and not on the screen.")
@click.option("--name", default="", help="The machine's name; by default what the centre calls it, else this host's.")
@click.option("--partition", default="", help="The partition or queue; by default the batch system's own default.")
@click.option("--dialect", default="", help="Which batch system, if this machine has several.")
@click.option("--force", is_flag=True, help="Overwrite the file if it is there.")
@options.output
def init(*, output_file: Path | None, name: str, partition: str, dialect: str, force: bool, output: Output) -> None:
    """Look at this machine and write a site file: its batch system, partitions, limits, nodes and launchers.

    Run it where batch jobs are submitted. Questions are asked, and nothing is submitted. Each line says where it was
    seen; site.assumed lists what could not be seen.
    """
    if output_file is not None and output_file.exists() and not force:
        raise ConfigurationError(f"{output_file} is there already; name another file, or say --force")
    findings = survey(here(), name=name, wanted=partition, dialect=dialect)
    text = render(findings)
    if output_file is None:
        output.show(Page(parts=(Words(name="site", text=text),), ids=(text.rstrip("\n"),)))
        return
    _write(output_file, text, force=force)
    seen = {one.key: one.value for one in findings.seen}
    note = f"check it with `hpcharvest site validate {output_file}`, and site.assumed with those who know"
    card = Card(name="site", fields={"file": output_file, "name": findings.name, **seen})
    output.show(Page(parts=(card,), ids=(output_file,), note=note))


def _write(path: Path, text: str, *, force: bool) -> None:
    """Put the file into place when it has been read back as a site file."""
    folder = path.absolute().parent
    try:
        with NamedTemporaryFile("w", dir=folder, prefix=".site-", suffix=".toml", encoding="utf-8") as fresh:
            fresh.write(text)
            fresh.flush()
            load_site(Path(fresh.name))
            if force:
                path.unlink(missing_ok=True)
            os.link(fresh.name, path)
        path.chmod(0o644)
    except FileExistsError as error:
        raise ConfigurationError(f"{path} is there already; name another file, or say --force") from error
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror or error}") from error
