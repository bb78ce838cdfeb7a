"""`hpcharvest status`: how things are, on one page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from hpcharvest.cli import options, ranges
from hpcharvest.cli.allocations import COLUMNS as ALLOCATION_COLUMNS
from hpcharvest.cli.allocations import row as allocation_row
from hpcharvest.cli.harvest import Harvest, opened
from hpcharvest.cli.journal import listing as journal
from hpcharvest.cli.output import Output
from hpcharvest.cli.page import Card, Listing, Page, Span
from hpcharvest.model.report import Report
from hpcharvest.model.states import JobState

ROWS = 15
"""Rows of each table, so that all of it stays one page."""


@click.command()
@options.config
@options.output
def status(config: Path, output: Output) -> None:
    """Show on one page how things are.

    Whether a controller runs, the jobs by queue and state, the live allocations, what is owed to PanDA, and what
    happened last. `--output quiet` tells of the controller alone: alive, silent (its lease is overdue), dead or none.
    """
    with opened(config) as harvest:
        output.show(page(harvest))


def page(harvest: Harvest) -> Page:
    """Gather it."""
    controller, database = harvest.controller(), harvest.database
    reports = database.outbox.all()
    live = [allocation_row(one) for one in database.allocations.live()]
    about = {"harvester_id": harvest.configuration.controller.harvester_id, **controller.record()}
    problems = [
        {"job": one.job, "status": one.status, "tries": one.tries, "problem": one.problem}
        for one in reports
        if one.problem
    ]
    return Page(
        parts=(
            Card(name="harvester", fields=about),
            _jobs(database.jobs.counts()),
            *ranges.of_all(harvest, ROWS),
            Listing(name="live_allocations", columns=ALLOCATION_COLUMNS, records=live, rows=ROWS),
            Card(name="reports", fields=_owed(reports, harvest.clock.wall())),
            Listing(name="report_problems", columns=("job", "status", "tries", "problem"), records=problems, rows=ROWS),
            journal("journal", database.journal.tail(ROWS)),
        ),
        ids=(controller.life,),
        note=controller.sentence,
    )


def _jobs(counts: Mapping[str, Mapping[JobState, int]]) -> Listing:
    """List the queues, with the number of their jobs in each state."""
    rows = [
        {"queue": queue, **{state.value: numbers.get(state, 0) for state in JobState}}
        for queue, numbers in sorted(counts.items())
    ]
    return Listing(name="jobs", columns=("queue", *(state.value for state in JobState)), records=rows)


def _owed(reports: Sequence[Report], now: float) -> Mapping[str, object]:
    return {
        "owed": len(reports),
        "final": sum(one.final for one in reports),
        "with_problem": sum(bool(one.problem) for one in reports),
        "oldest_age_s": Span(now - reports[0].since) if reports else None,
    }
