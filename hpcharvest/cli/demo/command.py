"""The command: makes the world, harvests, audits, and tells the outcome."""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sized
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import FrameType

import click

from hpcharvest.cli import options
from hpcharvest.cli.demo.audit import audit
from hpcharvest.cli.demo.campaign import Campaign, DemoFailed
from hpcharvest.cli.demo.evidence import gather
from hpcharvest.cli.demo.mishap import NodeLoss
from hpcharvest.cli.demo.orders import FEWEST_RANGES, MAX_EVENTS, MAX_JOBS, RANGES, submit, submit_jumbo
from hpcharvest.cli.demo.range_audit import EventOrder
from hpcharvest.cli.demo.range_evidence import gather_ranges
from hpcharvest.cli.demo.result import Outcome, page
from hpcharvest.cli.demo.screen import screen
from hpcharvest.cli.demo.venue import VENUES
from hpcharvest.cli.output import Output, complain
from hpcharvest.model.words import counted
from hpcharvest.sandbox.world import World

MODULES = ("mpi4py", "pyhepmc", "pythia8mc", "starlette", "uvicorn")


@click.command
@click.option("--jobs", type=click.IntRange(1, MAX_JOBS), default=6, show_default=True, help="How many PanDA jobs.")
@click.option(
    "--events", type=click.IntRange(1, MAX_EVENTS), default=40, show_default=True, help="Collisions of each job."
)
@click.option(
    "--ranges",
    type=click.IntRange(0, MAX_EVENTS),
    default=RANGES,
    show_default=True,
    help="Event ranges of one more job, a jumbo job, of whose allocations one is killed; 0: no such job.",
)
@click.option("--folder", type=options.FILE, metavar="DIR", help="Work in this new or empty folder, and keep it.")
@click.option("--keep", is_flag=True, help="Keep the temporary folder; after a failure it is kept anyway.")
@click.option(
    "--kill", type=click.IntRange(0, 100), default=0, metavar="N", help="Kill the controller N times on the way."
)
@click.option(
    "--batch",
    type=click.Choice(sorted(VENUES)),
    default="local",
    show_default=True,
    help="The batch system: the embedded one, or a real Slurm that is started for it (as root).",
)
@options.output
def demo(
    *, jobs: int, events: int, ranges: int, folder: Path | None, keep: bool, kill: int, batch: str, output: Output
) -> None:
    """Harvest real collisions on this machine, and audit every result.

    Starts a PanDA server and a batch system with virtual nodes, submits jobs that generate collisions with Pythia 8
    over MPI, and runs the controller until all are done. Then server, storage, local ledger and physics must tell the
    same story. Progress goes to stderr, the result to stdout; exit code 1 if anything disagrees.

    With event ranges, a jumbo job is among them, and a node is lost in the middle of its ranges: each must be finished
    exactly once in the server's books, and lie in one archive.
    """
    if 0 < ranges < FEWEST_RANGES:
        raise click.UsageError(f"--ranges must be 0, or {FEWEST_RANGES} at least")
    _require_parts()
    with _workplace(folder, keep=keep) as place:
        outcome = perform(place, jobs=jobs, events=events, ranges=ranges, kills=kill, batch=batch)
        output.show(page(outcome))
        if outcome.disagreements:
            raise DemoFailed(f"{len(outcome.disagreements)} disagreements; see above")


def perform(folder: Path, *, jobs: int, events: int, ranges: int, kills: int, batch: str = "local") -> Outcome:
    """Do it all in an empty folder, and leave no process behind. Raises DemoFailed if the end is not reached."""
    began = time.monotonic()
    with screen() as shown, VENUES[batch](folder) as recipe, World(folder, recipe) as world:
        orders = submit(world, jobs=jobs, events=events)
        jumbo = submit_jumbo(world, ranges) if ranges else None
        shown.say(f"{_ordered(orders, events, jumbo)} at the PanDA server {world.url}; folder {folder}")
        mishap = NodeLoss(world) if jumbo and not recipe.batch else None  # only our own batch system loses nodes
        number = len(orders) + (jumbo is not None)
        campaign = Campaign(world, shown, jobs=number, events=events, kills=kills, mishap=mishap)
        with closing(campaign):
            ledger = campaign.run()
            shown.say("the controller has stopped; now the audit")
            found = (gather_ranges(world, jumbo, ledger.allocation_numbers(), mishap),) if jumbo else ()
            evidence = gather(world, orders, ledger, found)
    return Outcome(
        evidence=evidence,
        disagreements=audit(evidence),
        kills=campaign.kills,
        seconds=time.monotonic() - began,
    )


def _ordered(orders: Sized, events: int, jumbo: EventOrder | None) -> str:
    told = f"{counted(len(orders), 'job')} of {counted(events, 'event')}"
    if jumbo is None:
        return told
    return f"{told}, and one of {counted(jumbo.ranges, 'event range')} of {counted(jumbo.events_per_range, 'event')},"


def _require_parts() -> None:
    """Raise DemoFailed, which says what to install, if a part of the demonstration is missing."""
    missing = [name for name in MODULES if find_spec(name) is None]
    if not Path(sys.executable).with_name("mpiexec").exists():
        missing.append("mpiexec (mpich)")
    if missing:
        raise DemoFailed(f"missing: {', '.join(missing)}; install them with: pip install 'hpcharvest[demo]'")


REMOVE_S = 30.0
"""Seconds in which the last process of a demo that was stopped must have let go of its folder."""


@contextmanager
def _workplace(folder: Path | None, *, keep: bool) -> Iterator[Path]:
    """Give an empty folder. A temporary one is removed at the end, unless something failed or `keep`."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise click.UsageError(f"--folder {folder} is not empty")
    place = (folder or Path(tempfile.mkdtemp(prefix="hpcharvest-demo-"))).resolve()
    kept = keep or folder is not None
    try:
        with _signals_end_it():
            yield place
    except Exception as error:
        kept = kept or not _follows_a_stop(error)
        raise
    finally:
        if kept:
            complain(f"everything is kept in {place}")
        else:
            _remove(place)


def _remove(place: Path) -> None:
    """Remove the folder, also from under processes that need a moment to see that they are to end."""
    until = time.monotonic() + REMOVE_S
    while place.exists():
        try:
            shutil.rmtree(place)
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(REMOVE_S / 60)


def _follows_a_stop(error: BaseException | None) -> bool:
    """Whether an error came up while we were leaving on request: Ctrl-C reaches our children at the same moment."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt | SystemExit):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextmanager
def _signals_end_it() -> Iterator[None]:
    """Let SIGTERM and SIGHUP, as Ctrl-C does, end us through all the doors, so that no process stays behind."""

    def leave(number: int, _frame: FrameType | None) -> None:
        sys.exit(128 + number)

    previous = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
