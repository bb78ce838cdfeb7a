"""`hpcharvest allocations`: look at allocations, and withdraw them."""

from __future__ import annotations

from pathlib import Path

import click

from hpcharvest.cli import options, ranges, requests
from hpcharvest.cli.harvest import Harvest, opened
from hpcharvest.cli.journal import listing as journal
from hpcharvest.cli.output import Output
from hpcharvest.cli.page import Card, Listing, Page, Record, moment
from hpcharvest.errors import HarvestError
from hpcharvest.messenger.mailbox import Mailbox
from hpcharvest.model.allocation import Allocation
from hpcharvest.model.ids import AllocationId
from hpcharvest.model.request import Verb
from hpcharvest.model.states import AllocationState

COLUMNS = ("id", "queue", "state", "since", "batch_id", "batch_words", "jobs", "event_jobs", "nodes", "outcome")
ENTRIES = 50


@click.group()
def allocations() -> None:
    """Look at allocations, the batch jobs that we ask for; withdraw them."""


@allocations.command("list")
@options.config
@options.output
@options.states(AllocationState)
@options.queue
@options.limit
@options.after
def list_(*, config: Path, output: Output, states: tuple[str, ...], queue: str | None, limit: int, after: int) -> None:
    """List allocations by their numbers."""
    wanted = [AllocationState(one) for one in states] or None
    with opened(config) as harvest:
        found = harvest.database.allocations.page(states=wanted, queue=queue, limit=limit, after=after)
    full = f"these are {limit}; go on with --after {found[-1].id}" if len(found) == limit else ""
    listing = Listing(name="allocations", columns=COLUMNS, records=[row(one) for one in found])
    output.show(Page(parts=(listing,), ids=[one.id for one in found], note=full))


@allocations.command()
@options.config
@options.output
@click.argument("number", metavar="ID", type=options.IDS)
def show(config: Path, output: Output, number: int) -> None:
    """Show all that is known about an allocation."""
    with opened(config) as harvest:
        allocation = harvest.database.allocations.get(AllocationId(number))
        if allocation is None:
            raise HarvestError(f"there is no allocation {number}, or it was over so long ago that it was purged")
        output.show(_page(allocation, harvest))


@allocations.command(short_help="Ask for allocations to be withdrawn.")
@options.config
@options.output
@requests.wait
@click.argument("numbers", metavar="ID...", type=options.IDS, nargs=-1, required=True)
def cancel(config: Path, output: Output, wait: float, numbers: tuple[int, ...]) -> None:
    """Ask for allocations to be withdrawn; their jobs go back to the queue."""
    with opened(config) as harvest:
        requests.ask(harvest, Verb.CANCEL_ALLOCATION, numbers, wait, output)


def row(one: Allocation) -> Record:
    """Give the fields of an allocation for a page."""
    return {
        "id": one.id,
        "queue": one.queue,
        "state": one.state,
        "since": moment(one.since),
        "created_at": moment(one.created_at),
        "tag": one.tag,
        "batch_id": one.batch_id,
        "batch_state": one.batch_state,
        # Of one that said goodbye the batch system is not asked again: its last word would be RUNNING for ever.
        "batch_words": "" if one.state.final and not one.batch_ended_at else one.batch_words,
        "jobs": len(one.jobs),
        "event_jobs": len(one.event_jobs),
        "nodes": one.shape.nodes,
        "walltime_s": one.shape.walltime_s,
        "outcome": one.outcome,
    }


def _in_vain(harvest: Harvest, number: AllocationId) -> int | None:
    """Give how many payloads ran on nodes that were cut off; None: the folder is gone, or cannot be read."""
    try:
        return Mailbox(harvest.folders.allocation(number)).cut_off()
    except HarvestError:
        return None


def _page(one: Allocation, harvest: Harvest) -> Page:
    more = {
        "partition": one.shape.partition,
        "node_names": one.nodes,
        "submissions": one.submissions,
        "not_before": moment(one.not_before),
        "batch_ended_at": moment(one.batch_ended_at),
        "heard_at": moment(one.heard_at),
        "segments_read": one.next_segment,
        "cancel_requested_by": one.cancel_requested,
        "ran_in_vain": _in_vain(harvest, one.id),
        "folder": harvest.folders.allocation(one.id),
    }
    jobs = [{"job": job, "attempt": attempt} for job, attempt in one.jobs]
    entries = harvest.database.journal.of("allocation", one.id, ENTRIES)
    return Page(
        parts=(
            Card(name="allocation", fields={**row(one), **more}),
            Listing(name="jobs", columns=("job", "attempt"), records=jobs, rows=ENTRIES),
            *ranges.of_allocation(one.id, [job for job, _ in one.event_jobs], harvest),
            journal("journal", entries),
        ),
        ids=[job for job, _ in one.jobs],
    )
