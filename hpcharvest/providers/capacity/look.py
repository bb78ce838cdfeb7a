"""Asking all questions once around. What is forbidden or fails is skipped and said; nothing is raised for it."""

from __future__ import annotations

import logging
import os
import pwd
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from hpcharvest.clock import Clock, SystemClock
from hpcharvest.config.schema import Site
from hpcharvest.errors import HarvestError
from hpcharvest.model.capacity import (
    Capacity,
    Heard,
    Hole,
    Limit,
    NodeGroup,
    OwnJob,
    Planned,
    Reservation,
    Skipped,
    Start,
    Statement,
    Topic,
)
from hpcharvest.model.shape import NodeShape, Shape
from hpcharvest.providers.capacity import cobalt, local, lsf, moab, pbs, slurm
from hpcharvest.providers.capacity.question import Asker, Question
from hpcharvest.providers.dialect import Spoken

logger = logging.getLogger(__name__)

Ask = Callable[[Sequence[str]], Spoken]
"""Runs a command line and gives its answer, as `BatchSystem.ask` does. May raise BatchUnreachable."""

QUESTIONS: Mapping[str, Callable[[Asker], Sequence[Question]]] = {
    "cobalt": cobalt.questions,
    "local": local.questions,
    "lsf": lsf.questions,
    "moab": moab.questions,
    "pbs": pbs.questions,
    "slurm": slurm.questions,
    "torque": moab.questions,
}
"""The questions for each dialect."""

AWAY_S = 2.0
"""A failure that took so many seconds is that of a daemon that is away; each command would wait for it anew."""

Noun = TypeVar("Noun")


def look(site: Site, ask: Ask, *, shapes: Sequence[Shape] = (), user: str = "", clock: Clock | None = None) -> Capacity:
    """Ask all that the batch system of `site` can be asked; of `shapes`, when they would start.

    `user`: whose batch jobs and rights are ours; by default the one that this process runs as.
    """
    clock = clock or SystemClock()
    batch = site.batch
    asker = Asker(
        user=user or user_name(),
        account=batch.account,
        qos=batch.qos,
        partition=batch.partition,
        options=batch.options,
        command=batch.command,
        shape=NodeShape(cores=site.nodes.cores, memory_mb=site.nodes.memory_mb, gpus=site.nodes.gpus),
        shapes=tuple(shapes),
    )
    if batch.dialect not in QUESTIONS:
        reason = f"nobody has written down what the dialect {batch.dialect!r} can be asked"
        return Capacity(skipped=tuple(_skipped(tuple(Topic), "", reason)))
    return around(QUESTIONS[batch.dialect](asker), ask, batch.forbidden, clock)


def around(questions: Sequence[Question], ask: Ask, forbidden: Sequence[str], clock: Clock) -> Capacity:
    """Ask these questions, one after the other."""
    found: list[Statement] = []
    heard: list[Heard] = []
    skipped: list[Skipped] = []
    away: dict[str, str] = {}
    for question in questions:
        command = " ".join(question.command).replace("\x1e", "").replace("\x1f", "|")
        reason = _reason_not_to_ask(question, forbidden, away)
        asked_at, began = clock.wall(), clock.steady()
        try:
            found += [] if reason else question.read(ask(question.argv))
        except HarvestError as error:
            reason = str(error)
            if clock.steady() - began >= AWAY_S:
                away[question.daemon] = question.command[0]
        if reason:
            logger.info("nothing is known about %s from %s: %s", ", ".join(question.topics), command, reason)
            skipped += _skipped(question.topics, command, reason)
        else:
            heard += [Heard(topic=topic, command=command, at=asked_at) for topic in question.topics]
    return _sorted(found, heard, skipped)


def _reason_not_to_ask(question: Question, forbidden: Sequence[str], away: Mapping[str, str]) -> str:
    """Tell why a question is better left; empty if it is to be asked."""
    if question.is_forbidden(forbidden):
        return "forbidden by batch.forbidden"
    if question.daemon in away:
        return f"not asked, since {away[question.daemon]} was left without an answer by the same daemon just before"
    return ""


def _sorted(found: Sequence[Statement], heard: Sequence[Heard], skipped: Sequence[Skipped]) -> Capacity:
    return Capacity(
        nodes=_only(NodeGroup, found),
        reservations=_only(Reservation, found),
        planned=_only(Planned, found),
        holes=_only(Hole, found),
        own=_only(OwnJob, found),
        limits=_only(Limit, found),
        starts=_only(Start, found),
        heard=tuple(heard),
        skipped=tuple(skipped),
    )


def user_name() -> str:
    """Give the name of the user that this process runs as; its number, if it has none."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _skipped(topics: Sequence[Topic], command: str, reason: str) -> list[Skipped]:
    return [Skipped(topic=topic, command=command, reason=reason) for topic in topics]


def _only(kind: type[Noun], found: Sequence[object]) -> tuple[Noun, ...]:
    return tuple(one for one in found if isinstance(one, kind))
