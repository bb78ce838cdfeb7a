"""What LSF says is free: bhosts, bslots and bqueues.

Unverified: held to IBM's command reference of LSF 10.1, no LSF was ever asked. LSF counts slots; a node's are its cores
here, and limits that it has in slots are left out, since they are none of nodes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from hpcharvest.errors import BatchUnreachable
from hpcharvest.model.capacity import Hole, Limit, LimitKind, NodeGroup, OwnJob, Statement, Topic
from hpcharvest.model.shape import NodeShape
from hpcharvest.model.states import BatchState
from hpcharvest.providers.capacity import text
from hpcharvest.providers.capacity.question import Asker, Question, refuse, said
from hpcharvest.providers.dialect import Spoken, Vocabulary

VOCABULARY = Vocabulary(
    words=dict.fromkeys(("PEND", "PSUSP", "WAIT", "PROV"), BatchState.PENDING)
    | dict.fromkeys(("RUN", "USUSP", "SSUSP"), BatchState.RUNNING)
)
_NO_WINDOW = "No backfill window exists"
_NO_JOB = "No unfinished job found"
_UNIT_S = {"day": 86_400, "hour": 3600, "minute": 60, "second": 1}
_JOBS = ("jobid", "job_name", "stat", "queue", "nexec_host")


def questions(asker: Asker) -> Sequence[Question]:
    """Give all questions. `bhosts -X` names every host, also those that are shown as a group."""
    del asker
    jobs = ("bjobs", "-noheader", "-o", f"{' '.join(_JOBS)} delimiter='\x1f'")
    return (
        Question(topics=(Topic.NODES,), argv=("bhosts", "-w", "-X"), read=nodes),
        Question(topics=(Topic.HOLES,), argv=("bslots", "-l"), read=holes),
        Question(topics=(Topic.OWN,), argv=jobs, read=own),
        Question(topics=(Topic.LIMITS,), argv=("bqueues", "-l"), read=queues),
    )


def nodes(spoken: Spoken) -> Sequence[Statement]:
    """Read bhosts: a host is free if it is `ok` and has no job. Hosts that have no slots run none."""
    refuse(spoken)
    groups: dict[int, list[str]] = {}
    totals: dict[int, int] = {}
    for line in spoken.out.splitlines():
        fields = line.split()
        slots = text.count(fields[3]) if len(fields) >= 9 else None
        if not slots:
            continue
        totals[slots] = totals.get(slots, 0) + 1
        free = groups.setdefault(slots, [])
        if fields[1] == "ok" and fields[4] == "0" and fields[8] == "0":
            free.append(fields[0])
    if not groups:
        raise BatchUnreachable(f"bhosts lists no host with slots: {said(spoken)}")
    return [
        NodeGroup(partition="", shape=NodeShape(cores=slots), total=totals[slots], free=tuple(free))
        for slots, free in groups.items()
    ]


def holes(spoken: Spoken) -> Sequence[Statement]:
    """Read `bslots -l`: windows, each with its hosts. Several of a host's slots are one node."""
    if _NO_WINDOW in spoken.out + spoken.err:
        return []
    refuse(spoken)
    found = []
    for chunk in re.split(r"^(?=SLOTS:)", spoken.out, flags=re.MULTILINE):
        runtime, hosts = (re.search(rf"^[ \t]*{key}:(.*)$", chunk, re.MULTILINE) for key in ("RUNTIME", "HOSTS"))
        if runtime is None or hosts is None:
            continue
        seconds = None if runtime[1].strip() == "UNLIMITED" else _span(runtime[1])
        if seconds or seconds is None:
            names = {one.rpartition("*")[2] for one in hosts[1].split()}
            found.append(Hole(partition="", nodes=len(names), seconds=seconds))
    if not found:
        raise BatchUnreachable(f"bslots gives no window: {said(spoken)}")
    return found


def own(spoken: Spoken) -> Sequence[Statement]:
    """Read our user's batch jobs; how many nodes one will have is known when it runs."""
    if _NO_JOB in spoken.out + spoken.err:
        return []
    refuse(spoken)
    return [
        OwnJob(
            id=fields[0],
            tag=fields[1],
            state=VOCABULARY.translate(fields[2]),
            partition=fields[3],
            nodes=text.count(fields[4]),
            walltime_s=None,
            start=None,
        )
        for line in spoken.out.splitlines()
        if len(fields := [one.strip() for one in line.split("\x1f")]) == len(_JOBS)
    ]


def queues(spoken: Spoken) -> Sequence[Statement]:
    """Read `bqueues -l`: the run limit, in minutes, and whether the queue is open."""
    refuse(spoken)
    found = list(_queues(spoken.out))
    if not found:
        raise BatchUnreachable(f"bqueues tells of no queue: {said(spoken)}")
    return found


def _queues(out: str) -> Iterator[Limit]:
    for chunk in re.split(r"^(?=QUEUE:)", out, flags=re.MULTILINE):
        name = re.match(r"QUEUE:\s*(\S+)", chunk)
        if name is None:
            continue
        # Where there are default limits too, the two kinds have headers of their own.
        _, maximum, most = chunk.partition("MAXIMUM LIMITS:")
        told = most.partition("DEFAULT LIMITS:")[0] if maximum else chunk.partition("DEFAULT LIMITS:")[0]
        run = re.search(r"RUNLIMIT[ \t]*\n[ \t]*([0-9]{1,9})(?:\.[0-9]+)?\s*min", told)
        yield Limit(
            kind=LimitKind.QUEUE,
            name=name[1],
            max_walltime_s=int(run[1]) * 60 if run else None,
            default="This is the default queue" in chunk,
            open="Open:Active" in chunk,
        )


def _span(words: str) -> int:
    """Read `1 hour 30 minutes 5 seconds`."""
    return sum(
        int(number) * _UNIT_S[unit] for number, unit in re.findall(r"([0-9]{1,9}) (day|hour|minute|second)", words)
    )
