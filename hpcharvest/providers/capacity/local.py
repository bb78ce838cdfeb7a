"""What the embedded batch system says is free. It plans nothing ahead: what is free is free without limit."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hpcharvest.errors import BatchUnreachable
from hpcharvest.model.capacity import Limit, LimitKind, OwnJob, Statement, Topic
from hpcharvest.model.shape import NodeShape
from hpcharvest.providers.capacity import text
from hpcharvest.providers.capacity.nodes import grouped
from hpcharvest.providers.capacity.question import Asker, Question, refuse
from hpcharvest.providers.dialect import Spoken
from hpcharvest.providers.local import VOCABULARY


def questions(asker: Asker) -> Sequence[Question]:
    """Give all questions. Every batch job is ours."""
    return (
        Question(topics=(Topic.NODES, Topic.LIMITS), argv=(*asker.command, "info"), read=info),
        Question(topics=(Topic.OWN,), argv=(*asker.command, "status", "--json"), read=own),
    )


def info(spoken: Spoken) -> Sequence[Statement]:
    """Read nodes and queues. A node is free if all of its cores are; the first queue is the default."""
    refuse(spoken)
    answer = _json(spoken.out)
    if not isinstance(answer, dict):
        raise BatchUnreachable("the batch system's answer makes no sense")
    return [*grouped(_nodes(answer)), *_queues(answer)]


def _nodes(answer: Mapping[str, Any]) -> Iterator[tuple[str, NodeShape, str, bool]]:
    for one in _records(answer, "nodes"):
        cores = max(1, text.count(one.get("cores")) or 1)
        free = one.get("state") == "up" and text.count(one.get("free")) == cores
        yield "", NodeShape(cores=cores), str(one.get("name")), free


def _queues(answer: Mapping[str, Any]) -> Iterator[Limit]:
    limits = answer.get("limits")
    for number, one in enumerate(_records(answer, "queues")):
        yield Limit(
            kind=LimitKind.QUEUE,
            name=str(one.get("name")),
            max_nodes=len(_records(answer, "nodes")),
            max_walltime_s=_seconds(one.get("max_walltime_s")),
            max_submitted=text.count(limits.get("max_jobs_per_user")) if isinstance(limits, dict) else None,
            default=number == 0,
        )


def own(spoken: Spoken) -> Sequence[Statement]:
    """Read the batch jobs that are not over."""
    refuse(spoken)
    found = [
        OwnJob(
            id=str(one.get("id")),
            tag=str(one.get("name") or ""),
            state=VOCABULARY.translate(str(one.get("state"))),
            partition=str(one.get("queue") or ""),
            nodes=_node_count(one.get("nodes")),
            walltime_s=_seconds(one.get("walltime_s")),
            start=text.moment(one.get("start_time")),
        )
        for one in _records({"jobs": _json(spoken.out)}, "jobs")
    ]
    return [one for one in found if not one.state.ended]


def _json(out: str) -> Any:
    try:
        return json.loads(out)
    except (ValueError, RecursionError) as error:
        raise BatchUnreachable(f"the batch system's answer makes no sense: {error}") from error


def _records(answer: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    found = answer.get(key)
    if not isinstance(found, list):
        raise BatchUnreachable(f"the batch system's answer has no {key}")
    return [one for one in found if isinstance(one, dict)]


def _node_count(value: object) -> int | None:
    """Count the nodes that a batch job has; one that waits has none yet, and how many it wants is not told."""
    return len(value) or None if isinstance(value, list) else None


def _seconds(value: object) -> int | None:
    return int(value) if isinstance(value, int | float) and 0 <= value < 1e12 else None
