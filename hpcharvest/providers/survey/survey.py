"""The survey: from what is around to the lines of a site file."""

from __future__ import annotations

from collections.abc import Iterator

from hpcharvest.errors import BatchUnreachable, ConfigurationError
from hpcharvest.model.capacity import Capacity
from hpcharvest.providers.capacity.look import QUESTIONS, around
from hpcharvest.providers.capacity.question import Asker
from hpcharvest.providers.survey import machine, partition, schedulers
from hpcharvest.providers.survey.findings import Findings, Seen
from hpcharvest.providers.survey.schedulers import Scheduler
from hpcharvest.providers.survey.surroundings import Surroundings


def survey(place: Surroundings, *, name: str = "", wanted: str = "", dialect: str = "") -> Findings:
    """Look around. `wanted`: a partition or queue; `dialect`: of several batch systems, which.

    Raises ConfigurationError if there is no batch system or no such partition, BatchUnreachable if it does not answer.
    """
    scheduler, others = _chosen(schedulers.find(place), dialect)
    questions = QUESTIONS[scheduler.dialect](Asker(user=place.user, partition=wanted))
    found = around(questions, place.ask, (), place.clock)
    if not found.heard:
        said = next((f": {one.command}: {one.reason}" for one in found.skipped), "")
        raise BatchUnreachable(f"{scheduler.where}, but it answers nothing{said}")
    return Findings(
        name=name or machine.name(place),
        host=place.host,
        at=place.clock.wall(),
        seen=tuple(_seen(place, scheduler, found, wanted)),
        notes=tuple(_notes(place, found, others)),
        unsure=_UNSURE,
    )


_UNSURE = (
    "software.python: that the nodes see it under the same path",
    "launcher: that it is on the nodes too",
    "batch.qos: that the user's default is the right one, and permits what the partition does",
)


def _chosen(found: tuple[Scheduler, ...], dialect: str) -> tuple[Scheduler, tuple[Scheduler, ...]]:
    """Give the batch system, and those that were not chosen."""
    for one in found:
        if dialect in {"", one.dialect}:
            return one, tuple(other for other in found if other is not one)
    there = ", ".join(f"{one.dialect} ({one.where})" for one in found)
    raise ConfigurationError(f"no batch system of the dialect {dialect!r} is found on this machine, but: {there}")


def _seen(place: Surroundings, scheduler: Scheduler, found: Capacity, wanted: str) -> Iterator[Seen]:
    chosen = partition.choose(found, wanted)
    account = partition.account(found, place.groups)
    name, payer = str(chosen.value), str(account.value)
    shape = list(partition.shape(found, name, place.cores))
    limits = list(partition.limits(found, name, payer))
    yield from shape
    yield from limits
    yield Seen(key="batch.dialect", value=scheduler.dialect, where=scheduler.where)
    yield chosen
    yield account
    yield from _options(scheduler.dialect, next((int(str(one.value)) for one in shape if one.key == "nodes.gpus"), 0))
    margin = next(int(str(one.value)) for one in limits if one.key == "allocation.margin_s")
    yield Seen(key="batch.signal_before_end_s", value=margin // 2, where="a choice: half of margin_s")
    yield from machine.variables(place, scheduler.dialect)
    yield machine.launcher(place, scheduler.dialect)
    yield Seen(key="software.python", value=str(place.python), where="the Python of this hpcharvest")


def _options(dialect: str, gpus: int) -> Iterator[Seen]:
    """Ask Slurm for whole nodes, which it gives only to those who say so, and for the GPUs on them."""
    if dialect == "slurm":
        options = ("--exclusive", "--mem=0", *((f"--gres=gpu:{gpus}",) if gpus else ()))
        where = "whole nodes, and all that is on them: else Slurm gives one core of each, or so much memory for a core"
        yield Seen(key="batch.options", value=options, where=where)


def _notes(place: Surroundings, found: Capacity, others: tuple[Scheduler, ...]) -> Iterator[str]:
    for other in others:
        yield f"batch: there is also {other.dialect}, which was not chosen: {other.where}"
    yield from partition.places(found)
    for one in found.skipped:
        yield f"not known: {one.topic.value}: {partition.program_words(one.command)}: {one.reason}"
    yield from machine.scratch(place)
    yield from machine.network(place)
