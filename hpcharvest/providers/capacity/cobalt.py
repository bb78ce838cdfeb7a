"""What Cobalt says is free: nodelist with its Backfill column, showres, and qstat.

Held to recordings of Cobalt 1.0.33. Its tables are aligned columns; a hole that it counts lasts 300 seconds at least.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from hpcharvest.errors import BatchUnreachable
from hpcharvest.model.capacity import Hole, Limit, LimitKind, NodeGroup, OwnJob, Reservation, Statement, Topic
from hpcharvest.providers.capacity import text
from hpcharvest.providers.capacity.question import Asker, Question, refuse, said
from hpcharvest.providers.cobalt import VOCABULARY
from hpcharvest.providers.dialect import Spoken

FREE = "idle"
_JOBS = ("JobID", "JobName", "User", "Nodes", "State", "Queue", "WallTime", "StartTime", "Est_Start_Time")


def questions(asker: Asker) -> Sequence[Question]:
    """Give all questions. Columns can be chosen by users' variables, so they are named where they can be."""
    jobs = ("qstat", "--header", ":".join(_JOBS))
    return (
        Question(topics=(Topic.NODES, Topic.HOLES), argv=("nodelist",), read=partial(nodes, asker)),
        Question(topics=(Topic.RESERVATIONS,), argv=("showres", "-l"), read=partial(reservations, asker)),
        Question(topics=(Topic.OWN,), argv=jobs, read=partial(own, asker)),
        Question(topics=(Topic.LIMITS,), argv=("qstat", "-Q"), read=queues),
    )


def nodes(asker: Asker, spoken: Spoken) -> Sequence[Statement]:
    """Read nodelist: the nodes of each queue, of the configured shape as Cobalt tells none, and the holes in them."""
    totals: dict[str, int] = {}
    free: dict[str, dict[str, int | None]] = {}
    for one in table(spoken, "Host", "Queue", "State", "Backfill"):
        for queue in filter(None, one["Queue"].split(":")):
            totals[queue] = totals.get(queue, 0) + 1
            idle = free.setdefault(queue, {})
            if one["State"] == FREE:
                idle[one["Host"]] = text.span(one["Backfill"])
    groups = [
        NodeGroup(partition=queue, shape=asker.shape, total=total, free=tuple(free[queue]))
        for queue, total in totals.items()
    ]
    if not groups:
        raise BatchUnreachable(f"nodelist lists no node at all: {said(spoken)}")
    return [*groups, *(hole for queue, idle in free.items() for hole in _holes(queue, list(idle.values())))]


def _holes(queue: str, lengths: Sequence[int | None]) -> Iterator[Hole]:
    """Count for each length the nodes that are free at least as long."""
    for length in sorted({one for one in lengths if one is not None}):
        number = sum(one is None or one >= length for one in lengths)
        yield Hole(partition=queue, nodes=number, seconds=length)
    yield Hole(partition=queue, nodes=list(lengths).count(None), seconds=None)


def reservations(asker: Asker, spoken: Spoken) -> Sequence[Statement]:
    """Read `showres -l`. Its nodes are used through its own queue, by the users that it names."""
    found = []
    for one in table(spoken, "Reservation", "Queue", "User", "Start", "End Time", "Partitions"):
        begins, names = text.moment(one["Start"]), text.nodes(one["Partitions"])
        if begins is not None:
            found.append(
                Reservation(
                    name=one["Reservation"],
                    start=begins,
                    end=text.moment(one["End Time"]),
                    nodes=len(names),
                    names=names,
                    usable=asker.user in one["User"].split(":"),
                    chosen=asker.partition != "" and asker.partition == one["Queue"],
                    words=f"queue={one['Queue']} users={one['User']}",
                )
            )
    return found


def own(asker: Asker, spoken: Spoken) -> Sequence[Statement]:
    """Read our user's batch jobs. With nothing in the queue, qstat prints nothing at all."""
    if spoken.exit_code == 0 and not spoken.out.strip() and not spoken.err.strip():
        return []
    return [
        OwnJob(
            id=one["JobID"],
            tag=one.get("JobName", ""),
            state=VOCABULARY.translate(one["State"]),
            partition=one.get("Queue", ""),
            nodes=text.count(one["Nodes"]),
            walltime_s=text.span(one.get("WallTime", "")),
            start=text.moment(one.get("StartTime", "")) or text.moment(one.get("Est_Start_Time", "")),
        )
        for one in table(spoken, "JobID", "User", "Nodes", "State")
        if one["User"] == asker.user
    ]


def queues(spoken: Spoken) -> Sequence[Statement]:
    """Read `qstat -Q`."""
    found = [
        Limit(
            kind=LimitKind.QUEUE,
            name=one["Name"],
            max_nodes=text.count(one["MaxUserNodes"]),
            max_walltime_s=text.span(one["MaxTime"]),
            max_running=text.count(one["MaxRunning"]),
            max_submitted=text.count(one["MaxQueued"]),
            default=one["Name"] == "default",  # qsub's, unless -q names another
            open=one["State"] == "running",
        )
        for one in table(spoken, "Name", "MaxTime", "MaxRunning", "MaxQueued", "MaxUserNodes", "State")
    ]
    if not found:
        raise BatchUnreachable(f"qstat tells of no queue: {said(spoken)}")
    return found


def table(spoken: Spoken, *wanted: str) -> Iterator[Mapping[str, str]]:
    """Give the rows under a header that has the columns `wanted`; a line of = stands between. A value may have blanks.

    Raises BatchUnreachable if there is no such table.
    """
    refuse(spoken)
    lines = spoken.out.splitlines()
    rule = next((number for number, line in enumerate(lines) if re.fullmatch(r"={5,}\s*", line)), 0)
    header = [(match[0], match.start()) for match in re.finditer(r"\S+(?: \S+)*", lines[rule - 1] if rule else "")]
    if not {name for name, _ in header} >= set(wanted):
        raise BatchUnreachable(f"the answer has no columns {', '.join(wanted)}: {said(spoken)}")
    ends = [start for _, start in header[1:]]
    for line in lines[rule + 1 :]:
        row = {name: line[start:end].strip() for (name, start), end in zip(header, [*ends, None], strict=True)}
        if row[header[0][0]]:
            yield row
