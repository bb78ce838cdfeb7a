"""Asking the controller for something: rows in the inbox, which are carried out when a controller runs."""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Callable, Sequence

import click

from hpcharvest.cli.harvest import Harvest
from hpcharvest.cli.output import Output, complain
from hpcharvest.cli.page import Listing, Page
from hpcharvest.errors import HarvestError
from hpcharvest.model.ids import AllocationId, JobId
from hpcharvest.model.request import Request, Verb
from hpcharvest.model.states import RequestState

LOOK_S = 0.1
"""Seconds between two looks for an answer."""

wait = click.option(
    "--wait",
    type=click.FloatRange(min=0),
    default=0.0,
    metavar="SECONDS",
    help="Wait so long for the answers; exit with 1 unless all is done by then.",
)


def ask(harvest: Harvest, verb: Verb, subjects: Sequence[int], wait_s: float, output: Output) -> None:
    """Put a request for each subject into the inbox, and show their numbers; with `wait_s`, also the answers.

    Exits with 1 if an answer was waited for and did not come, or is a refusal. Raises HarvestError, and asks for
    nothing, if a subject is not known.
    """
    inbox, by = harvest.database.inbox, login_name()
    _check_known(harvest, verb, subjects)
    numbers = [inbox.add(verb, subject, by, harvest.clock.wall()) for subject in subjects]
    if not harvest.controller().runs:
        complain("no controller runs: what is asked for waits until one does")
    requests = _answered(lambda: [found for one in numbers if (found := inbox.get(one))], harvest, wait_s)
    output.show(_page(requests))
    if wait_s and any(one.state is not RequestState.DONE for one in requests):
        click.get_current_context().exit(1)


def _check_known(harvest: Harvest, verb: Verb, subjects: Sequence[int]) -> None:
    """Raise HarvestError if there is no such job, or allocation."""
    database = harvest.database
    for subject in subjects:
        if verb is Verb.CANCEL_ALLOCATION and database.allocations.get(AllocationId(subject)) is None:
            raise HarvestError(f"there is no allocation {subject}")
        if verb is not Verb.CANCEL_ALLOCATION and not database.jobs.known([JobId(subject)]):
            raise HarvestError(f"there is no job {subject}")


def login_name() -> str:
    """Tell who we are to other people; there may be no terminal, nor an entry among the users."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


def _answered(read: Callable[[], list[Request]], harvest: Harvest, wait_s: float) -> list[Request]:
    """Read the requests, once or until all are answered or the time is over."""
    deadline = harvest.clock.steady() + wait_s
    requests = read()
    while any(one.state is RequestState.NEW for one in requests) and harvest.clock.steady() < deadline:
        time.sleep(LOOK_S)
        requests = read()
    return requests


def _page(requests: Sequence[Request]) -> Page:
    rows = [
        {
            "request": one.id,
            "verb": one.verb,
            "subject": one.subject,
            "by": one.by,
            "state": one.state,
            "answer": one.answer,
        }
        for one in requests
    ]
    columns = ("request", "verb", "subject", "state", "answer")
    return Page(
        parts=(Listing(name="requests", columns=columns, records=rows),),
        ids=[one.id for one in requests],
    )
