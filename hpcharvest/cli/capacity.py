"""`hpcharvest site capacity`: what is free at a site, what is planned there, and what is permitted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import click

from hpcharvest.cli import options, site_files
from hpcharvest.cli.output import Output
from hpcharvest.cli.page import Listing, Moment, Page, Record, Span, moment
from hpcharvest.clock import SystemClock
from hpcharvest.config.site import Batch
from hpcharvest.errors import BatchUnreachable
from hpcharvest.model.capacity import Capacity, Hole, NodeGroup, Planned, Skipped, Start, Statement, Topic, bins, holes
from hpcharvest.model.shape import Shape
from hpcharvest.providers.capacity.look import look
from hpcharvest.providers.registry import batch_system

_LONG = 30
"""Rows of a table that people read; JSON has all."""


def _shapes(ctx: click.Context, param: click.Parameter, words: Sequence[str]) -> tuple[Shape, ...]:
    """Read batch jobs' sizes and lengths, NODESxSECONDS each."""
    found = [(word, re.fullmatch(r"([1-9][0-9]{0,6})x([1-9][0-9]{0,8})", word)) for word in words]
    for word, match in found:
        if match is None:
            raise click.BadParameter(f"{word!r} is no NODESxSECONDS, such as 4x3600", ctx=ctx, param=param)
    return tuple(Shape(nodes=int(match[1]), walltime_s=int(match[2])) for _, match in found if match)


@click.command(short_help="Show what is free just now, and what is permitted.")
@site_files.config
@site_files.queue
@click.option(
    "--try",
    "shapes",
    callback=_shapes,
    multiple=True,
    metavar="NODESxSECONDS",
    help="Ask also when a batch job of this shape would start, where the batch system can say so; repeat for more.",
)
@options.output
@site_files.argument
def capacity(
    config: Path | None, queue: str | None, shapes: Sequence[Shape], output: Output, file: Path | None
) -> None:
    """Show what is free just now, of a site FILE or for a queue of the controller file.

    Asks the batch system once around; what it forbids or does not answer is skipped and said. Nothing is submitted.
    With --output quiet: the holes of each partition, as PARTITION:NODESxSECONDS.
    """
    site = site_files.chosen(config, queue, file)
    found = look(site, batch_system(site).ask, shapes=shapes)
    now = SystemClock().wall()
    output.show(page(found, site.batch, now))
    if not found.heard:
        reasons = {one.reason for one in found.skipped if not one.command}  # not even asked, for want of a question
        why = next(iter(reasons), "the batch system has answered nothing at all")
        raise BatchUnreachable(f"site {site.name}: {why}")


def page(found: Capacity, batch: Batch, now: float) -> Page:
    """Make the page. Every record has its age, in seconds; walltimes are those of the partition that is used."""
    gaps = holes(found, now)
    wanted = batch.partition or next((one.name for one in found.limits if one.default), "")
    age = partial(_aged, found, now)
    parts = [
        _listing("free", ("partition", "cores", "memory_mb", "gpus", "free", "total"), age(Topic.NODES, found.nodes)),
        _listing("holes", ("partition", "nodes", "lasts"), map(_hole, gaps)),
        _listing("reservations", _RESERVATION, age(Topic.RESERVATIONS, found.reservations)),
        _listing("own", _OWN, age(Topic.OWN, found.own)),
        _listing("limits", _LIMIT, age(Topic.LIMITS, found.limits)),
        _listing(
            "walltimes", ("partition", "min_nodes", "max_nodes", "max_walltime_s"), _walltimes(found, wanted, batch)
        ),
        _listing("starts", ("nodes", "walltime_s", "at", "words"), age(Topic.STARTS, found.starts)),
        _listing("planned", ("id", "start", "nodes"), age(Topic.PLANNED, found.planned)),
        _listing("heard", ("topic", "asked", "age_s"), _heard(found, now)),
        _listing("skipped", ("topic", "asked", "reason"), map(_skipped, found.skipped)),
    ]
    unknown = {one.topic for one in found.skipped} - {one.topic for one in found.heard}
    note = f"nothing is known about: {', '.join(sorted(unknown))}" if unknown else ""
    shown = [one for one in parts if one.records or one.name in _ALWAYS]
    return Page(parts=shown, ids=[_word(one) for one in gaps], note=note)


_ALWAYS = {"free", "holes", "own", "limits", "skipped"}
_RESERVATION = ("name", "start", "end", "nodes", "usable", "chosen", "maintenance", "words")
_WALLTIME = ("partition", "min_nodes", "max_nodes", "max_walltime_s")
_OWN = ("id", "tag", "state", "partition", "nodes", "walltime_s", "start")
_LIMIT = (
    "kind",
    "name",
    "min_nodes",
    "max_nodes",
    "max_walltime_s",
    "max_running",
    "max_submitted",
    "max_eligible",
    "default",
    "open",
)


def _listing(name: str, columns: Sequence[str], records: Iterable[Record]) -> Listing:
    return Listing(name=name, columns=columns, records=list(records), rows=_LONG)


def _word(hole: Hole) -> str:
    return f"{hole.partition}:{hole.nodes}x{'inf' if hole.seconds is None else int(hole.seconds)}"


def _aged(found: Capacity, now: float, topic: Topic, statements: Iterable[Statement]) -> Iterator[Record]:
    """Give statements as records, each with its age."""
    for one in statements:
        yield {**_record(one), "age_s": Span(found.age(topic, now) or 0.0)}


def _record(one: Statement) -> Record:
    match one:
        case NodeGroup():
            shape = asdict(one.shape)
            return {"partition": one.partition, **shape, "free": len(one.free), "total": one.total, "names": one.free}
        case Planned():
            return {"id": one.id, "start": Moment(one.start), "nodes": len(one.nodes), "names": one.nodes}
        case Start():
            seconds = Span(one.shape.walltime_s)
            return {"nodes": one.shape.nodes, "walltime_s": seconds, "at": moment(one.at), "words": one.words}
        case _:
            return {key: _value(key, value) for key, value in asdict(one).items()}


def _value(key: str, value: Any) -> Any:
    """Have moments and spans known as such."""
    if value is None:
        return None
    if key in {"start", "end"}:
        return Moment(value)
    return Span(value) if key in {"walltime_s", "max_walltime_s"} else value


def _hole(one: Hole) -> Record:
    return {**asdict(one), "lasts": "no limit" if one.seconds is None else Span(one.seconds)}


def _walltimes(found: Capacity, partition: str, batch: Batch) -> list[Record]:
    return [
        {"partition": partition, **{key: _value(key, value) for key, value in asdict(one).items()}}
        for one in bins(found.limits, partition, qos=batch.qos, account=batch.account)
    ]


def _heard(found: Capacity, now: float) -> list[Record]:
    return [
        {**_asked(one.topic, one.command), "at": Moment(one.at), "age_s": Span(max(0.0, now - one.at))}
        for one in found.heard
    ]


def _skipped(one: Skipped) -> Record:
    return {**_asked(one.topic, one.command), "reason": one.reason}


def _asked(topic: Topic, command: str) -> Record:
    """Name a question: by its whole command for programs, and by the words that say most for people."""
    return {"topic": topic, "command": command, "asked": _short(command)}


def _short(command: str) -> str:
    """Leave out of a command what only programs read: `sacctmgr show qos`, `qstat -Q -f -F json`."""
    return " ".join(one for one in command.split() if not one.startswith("--") and "=" not in one)
