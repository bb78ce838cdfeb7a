"""What Moab says is free beside Torque: showbf, and Torque's queues.

Unverified: held to documentation and to what was used on Titan, no Moab was ever asked. There, one answer in ten to
`showbf --blocking` was an error; the next try is the next look.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from hpcharvest.errors import BatchUnreachable
from hpcharvest.model.capacity import Hole, Limit, LimitKind, Statement, Topic
from hpcharvest.providers.capacity import text
from hpcharvest.providers.capacity.question import Asker, Question, refuse, said
from hpcharvest.providers.dialect import Spoken

_NONE = re.compile(r"no \w+ (are )?available|resources not available", re.IGNORECASE)
_OFFSET_NOW = 0


def questions(asker: Asker) -> Sequence[Question]:
    """Give all questions."""
    where = ("-p", asker.partition) if asker.partition else ()
    return (
        Question(topics=(Topic.HOLES,), argv=("showbf", *where, "--blocking"), read=holes),
        Question(topics=(Topic.LIMITS,), argv=("qstat", "-Q", "-f"), read=queues),
    )


def holes(spoken: Spoken) -> Sequence[Statement]:
    """Read showbf: `partition tasks nodes duration offset date` a line. What begins later is no hole now."""
    refuse(spoken)
    found, header = [], False
    for line in spoken.out.splitlines():
        fields = line.split()
        header = header or fields[:3] == ["Partition", "Tasks", "Nodes"]
        if len(fields) < 5 or text.count(fields[2]) is None or text.span(fields[4]) != _OFFSET_NOW:
            continue
        seconds = None if fields[3].upper() == "INFINITY" else text.span(fields[3])
        if seconds is not None or fields[3].upper() == "INFINITY":
            found.append(Hole(partition=fields[0], nodes=int(fields[2]), seconds=seconds))
    if not header and not _NONE.search(spoken.out):
        raise BatchUnreachable(f"showbf gives no table: {said(spoken)}")
    return found


def queues(spoken: Spoken) -> Sequence[Statement]:
    """Read Torque's `qstat -Q -f`."""
    refuse(spoken)
    found = [
        Limit(
            kind=LimitKind.QUEUE,
            name=one["Queue"],
            min_nodes=max(1, text.count(one.get("resources_min.nodect", "")) or 1),
            max_nodes=text.count(one.get("resources_max.nodect", "")),
            max_walltime_s=text.span(one.get("resources_max.walltime", "")),
            max_running=text.count(one.get("max_user_run", "")),
            max_submitted=text.count(one.get("max_user_queuable", "")),
            open=one.get("enabled") == "True" and one.get("started") == "True",
            routes=tuple(name.strip() for name in one.get("route_destinations", "").split(",") if name.strip()),
        )
        for one in text.paragraphs(spoken.out, "Queue")
    ]
    if not found:
        raise BatchUnreachable(f"qstat tells of no queue: {said(spoken)}")
    return found
