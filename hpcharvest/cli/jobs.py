"""`hpcharvest jobs`: look at jobs, and have them stopped or tried again."""

from __future__ import annotations

from pathlib import Path

import click

from hpcharvest.cli import job_page, options, requests
from hpcharvest.cli.circumstances import gather
from hpcharvest.cli.harvest import Harvest, opened
from hpcharvest.cli.output import Output
from hpcharvest.cli.page import Listing, Page, Words
from hpcharvest.engine.why import why as because
from hpcharvest.errors import HarvestError
from hpcharvest.model.ids import JobId
from hpcharvest.model.job import Job
from hpcharvest.model.request import Verb
from hpcharvest.model.states import JobState

one_job = click.argument("number", metavar="ID", type=options.IDS)
some_jobs = click.argument("numbers", metavar="ID...", type=options.IDS, nargs=-1, required=True)


@click.group()
def jobs() -> None:
    """Look at jobs; stop or retry them. Their ids are PanDA's."""


@jobs.command("list")
@options.config
@options.output
@options.states(JobState)
@options.queue
@options.limit
@options.after
def list_(*, config: Path, output: Output, states: tuple[str, ...], queue: str | None, limit: int, after: int) -> None:
    """List jobs by their ids."""
    wanted = [JobState(one) for one in states] or None
    with opened(config) as harvest:
        found = harvest.database.jobs.page(states=wanted, queue=queue, limit=limit, after=after)
    full = f"these are {limit}; go on with --after {found[-1].id}" if len(found) == limit else ""
    listing = Listing(name="jobs", columns=job_page.COLUMNS, records=[job_page.row(one) for one in found])
    output.show(Page(parts=(listing,), ids=[one.id for one in found], note=full))


@jobs.command(short_help="Show all that is known about a job.")
@options.config
@options.output
@one_job
def show(config: Path, output: Output, number: int) -> None:
    """Show all that is known about a job: record, files, attempts, journal."""
    with opened(config) as harvest:
        output.show(job_page.page(_job(harvest, number), harvest))


@jobs.command()
@options.config
@options.output
@one_job
def why(config: Path, output: Output, number: int) -> None:
    """Say in a sentence what a job waits for, and since when."""
    with opened(config) as harvest:
        job = _job(harvest, number)
        sentence = because(job, gather(job, harvest))
    output.show(Page(parts=(Words(name="why", text=sentence),), ids=(job.id,)))


@jobs.command()
@options.config
@options.output
@requests.wait
@some_jobs
def kill(config: Path, output: Output, wait: float, numbers: tuple[int, ...]) -> None:
    """Ask for jobs to be stopped, wherever they are."""
    with opened(config) as harvest:
        requests.ask(harvest, Verb.KILL_JOB, numbers, wait, output)


@jobs.command()
@options.config
@options.output
@requests.wait
@some_jobs
def retry(config: Path, output: Output, wait: float, numbers: tuple[int, ...]) -> None:
    """Ask for jobs that wait for their next try to be tried now."""
    with opened(config) as harvest:
        requests.ask(harvest, Verb.RETRY_JOB, numbers, wait, output)


def _job(harvest: Harvest, number: int) -> Job:
    job = harvest.database.jobs.get(JobId(number))
    if job is None:
        raise HarvestError(f"there is no job {number}, or it was over so long ago that it was purged")
    return job
