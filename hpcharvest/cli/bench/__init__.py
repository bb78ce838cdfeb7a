"""`hpcharvest bench`: how fast, how light and how safe, measured on the real service in a small world of its own.

Figures of two machines, or of two loads of one, are not comparable; figures within one run are.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import click

OUTPUTS = click.Choice(["table", "json"])


@click.group()
def bench() -> None:
    """Measure the service in a small world of its own."""


@bench.command()
@click.option("--jobs", default=2000, show_default=True, help="Number of no-op jobs.")
@click.option("--output", type=OUTPUTS, default="table", show_default=True)
@click.option("--limit", default=600.0, show_default=True, help="Give up after so many seconds.")
def engine(jobs: int, output: str, limit: float) -> None:
    """Take no-op jobs through their whole life: fetched, staged in, run, staged out, reported.

    Each starts a process and stages one small checksummed file in and one out, with the controller's default settings.
    The CPU of the PanDA server, and of the runner with its payloads, is shown apart from the controller's.
    """
    from hpcharvest.cli.bench.engine import measure

    with tempfile.TemporaryDirectory(prefix="hpcharvest-bench-") as folder:
        _show(measure(Path(folder), jobs, limit), output)


@bench.command()
@click.option("--kills", default=50, show_default=True, help="Number of times the controller is killed with SIGKILL.")
@click.option("--in-flight", default=400, show_default=True, help="Number of jobs in its hands at any time.")
@click.option("--seed", default=0, show_default=True, help="Decides when it is killed.")
@click.option("--output", type=OUTPUTS, default="table", show_default=True)
def crash(kills: int, in_flight: int, seed: int, output: str) -> None:
    """Kill the controller at random instants and at commit points, and count what was lost or done twice."""
    from hpcharvest.cli.bench.crash import measure

    with tempfile.TemporaryDirectory(prefix="hpcharvest-bench-") as folder:
        _show(measure(Path(folder), kills, in_flight, seed), output)


@bench.command()
@click.option("--allocations", default=200, show_default=True, help="Number of allocations that are kept alive.")
@click.option("--seconds", default=120.0, show_default=True, help="For how long commands are counted.")
@click.option("--ends", default=3, show_default=True, help="Number of batch jobs that are ended from outside.")
@click.option("--kills", default=200, show_default=True, help="Number of kills of the controller around submissions.")
@click.option("--output", type=OUTPUTS, default="table", show_default=True)
def batch(allocations: int, seconds: float, ends: int, kills: int, output: str) -> None:
    """Count what a real Slurm is asked, how soon ends are known, and what kills around submissions cost.

    Starts a Slurm of its own, which wants root and Debian's packages of it.
    """
    from hpcharvest.cli.bench.batch import measure

    with tempfile.TemporaryDirectory(prefix="hpcharvest-bench-") as folder:
        _show(measure(Path(folder), allocations=allocations, seconds=seconds, ends=ends, kills=kills), output)


@bench.command()
@click.option("--ranges", default=1_000_000, show_default=True, help="Event ranges that go through one head.")
@click.option("--batch", default=512, show_default=True, help="Ranges that a node leases and tells of together.")
@click.option("--nodes", default=64, show_default=True, help="Nodes of the allocation of two hours.")
@click.option("--start-nodes", default=10_000, show_default=True, help="Nodes of the allocation that only starts.")
@click.option("--cores", default=64, show_default=True, help="Cores of each node on virtual time.")
@click.option("--seed", default=0, show_default=True, help="Decides how long ranges and starts take.")
@click.option("--output", type=OUTPUTS, default="table", show_default=True)
def jumbo(output: str, **sizes: int) -> None:
    """Measure event ranges: through one real head, and on virtual time in large allocations.

    Figures that need the whole service are null: they are not measured yet.
    """
    from hpcharvest.cli.bench.jumbo import measure

    with tempfile.TemporaryDirectory(prefix="hpcharvest-bench-") as folder:
        _show(measure(Path(folder), **sizes), output)


def _show(figures: dict[str, Any], output: str) -> None:
    if output == "json":
        click.echo(json.dumps(figures))
        return
    width = max(len(name) for name in figures)
    for name, value in figures.items():
        click.echo(f"{name:<{width}}  {value}")
