"""What PBS says is free: pbsnodes, qstat and pbs_rstat.

Held to recordings of OpenPBS 23.06. There is no what-if command; who waits gets an estimated start only from a
scheduler with `strict_ordering`, and only the first few do. pbs_rstat has no JSON.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial

from hpcharvest.errors import BatchUnreachable
from hpcharvest.model.capacity import (
    Limit,
    LimitKind,
    OwnJob,
    Planned,
    Reservation,
    Statement,
    Topic,
)
from hpcharvest.model.shape import NodeShape
from hpcharvest.model.states import BatchState
from hpcharvest.providers import pbs_json
from hpcharvest.providers.capacity import text
from hpcharvest.providers.capacity.nodes import grouped
from hpcharvest.providers.capacity.question import Asker, Question, refuse, said
from hpcharvest.providers.dialect import Spoken
from hpcharvest.providers.pbs import VOCABULARY
from hpcharvest.providers.pbs_json import Record

_PER_USER = re.compile(r"\[u:PBS_GENERIC=([0-9]{1,9})\]")
_OVER = re.compile(r"RESV_(UNCONFIRMED|FINISHED|DELETED|BEING_DELETED|DELETING_JOBS|DENIED)|[016-9]")


def questions(asker: Asker) -> Sequence[Question]:
    """Give all questions. All batch jobs are asked for at once: OpenPBS answers a list of ids with the first only."""
    jobs = ("qstat", "-f", "-F", "json")
    return (
        Question(topics=(Topic.NODES,), argv=("pbsnodes", "-a", "-F", "json"), read=nodes),
        Question(topics=(Topic.RESERVATIONS,), argv=("pbs_rstat", "-f"), read=partial(reservations, asker)),
        Question(topics=(Topic.OWN, Topic.PLANNED), argv=jobs, read=partial(batch_jobs, asker)),
        Question(topics=(Topic.LIMITS,), argv=("qstat", "-Q", "-f", "-F", "json"), read=queues),
        Question(topics=(Topic.LIMITS,), argv=("qstat", "-B", "-f", "-F", "json"), read=server),
    )


def nodes(spoken: Spoken) -> Sequence[Statement]:
    """Read pbsnodes, of `-a` and of `-aSj`. Several virtual nodes of one host are one node, free if all of them are."""
    hosts: dict[str, list[Record]] = {}
    for name, one in _table(spoken, "nodes").items():
        hosts.setdefault(str(pbs_json.within(one, "resources_available").get("host", name)), []).append(one)
    if not hosts:
        raise BatchUnreachable(f"pbsnodes lists no node at all: {said(spoken)}")
    return grouped(
        (str(vnodes[0].get("queue", "")), _shape(vnodes), host, all(map(_is_free, vnodes)))
        for host, vnodes in hosts.items()
    )


def _is_free(vnode: Record) -> bool:
    """Tell whether nothing is on it. `free` alone means that something more would fit."""
    state, jobs = vnode.get("state", vnode.get("State")), vnode.get("jobs", [])
    assigned = pbs_json.within(vnode, "resources_assigned")
    return state == "free" and not jobs and not text.count(assigned.get("ncpus", 0))


def _shape(vnodes: Sequence[Record]) -> NodeShape:
    cores, memory, gpus = 0, 0, 0
    for one in vnodes:
        there = pbs_json.within(one, "resources_available")
        cores += text.count(there.get("ncpus", _total(one, "ncpus f/t"))) or 0
        memory += text.memory_mb(there.get("mem", _total(one, "mem f/t")))
        gpus += text.count(there.get("ngpus", _total(one, "ngpus f/t"))) or 0
    return NodeShape(cores=max(1, cores), memory_mb=memory, gpus=gpus)


def _total(vnode: Record, key: str) -> str:
    """Give the second of `free/total`."""
    return str(vnode.get(key, "")).rpartition("/")[2]


def batch_jobs(asker: Asker, spoken: Spoken) -> Sequence[Statement]:
    """Read `qstat -f`: our user's batch jobs, and whoever waits with nodes planned for him."""
    found: list[Statement] = []
    for number, one in _table(spoken, "Jobs").items():
        state = VOCABULARY.translate(str(one.get("job_state")))
        estimated = pbs_json.within(one, "estimated")
        begins = text.moment(estimated.get("start_time", ""))
        planned = _hosts(str(estimated.get("exec_vnode", "")))
        if state is BatchState.PENDING and begins is not None and planned:
            found.append(Planned(id=number, start=begins, nodes=planned))
        if state is not BatchState.UNKNOWN and _is_ours(asker, one):
            found.append(_own(number, one, state, begins))
    return found


def _is_ours(asker: Asker, record: Record) -> bool:
    return str(record.get("Job_Owner", "")).partition("@")[0] == asker.user


def _own(number: str, record: Record, state: BatchState, begins: float | None) -> OwnJob:
    wishes = pbs_json.within(record, "Resource_List")
    return OwnJob(
        id=number,
        tag=str(record.get("Job_Name", "")),
        state=state,
        partition=str(record.get("queue", "")),
        nodes=text.count(wishes.get("nodect", "")),
        walltime_s=text.span(wishes.get("walltime", "")),
        start=text.moment(record.get("stime", "")) if state is BatchState.RUNNING else begins,
    )


def queues(spoken: Spoken) -> Sequence[Statement]:
    """Read `qstat -Q -f`. A queue that routes has no limits of its own but says where it leads."""
    found = [_limit(LimitKind.QUEUE, name, one) for name, one in _table(spoken, "Queue").items()]
    if not found:
        raise BatchUnreachable(f"qstat tells of no queue: {said(spoken)}")
    return found


def server(spoken: Spoken) -> Sequence[Statement]:
    """Read `qstat -B -f`: limits of the whole server, which leads to its default queue."""
    found = [_limit(LimitKind.SERVER, name, one) for name, one in _table(spoken, "Server").items()]
    if not found:
        raise BatchUnreachable(f"qstat tells of no server: {said(spoken)}")
    return found


def _limit(kind: LimitKind, name: str, record: Record) -> Limit:
    most, least = (pbs_json.within(record, f"resources_{which}") for which in ("max", "min"))
    routes = str(record.get("route_destinations", record.get("default_queue", "")))
    return Limit(
        kind=kind,
        name=name,
        min_nodes=max(1, text.count(least.get("nodect", "")) or 1),
        max_nodes=text.count(most.get("nodect", "")),
        max_walltime_s=text.span(most.get("walltime", "")),
        max_running=_per_user(record, "max_run", "max_user_run"),
        max_submitted=_per_user(record, "max_queued", ""),
        open=kind is LimitKind.SERVER or (record.get("enabled") == "True" and record.get("started") == "True"),
        routes=tuple(one.partition("@")[0].strip() for one in routes.split(",") if one.strip()),
    )


def _per_user(record: Record, key: str, old_key: str) -> int | None:
    """Read a limit for each user, in the way of today, `[u:PBS_GENERIC=5]`, or of old, `5`."""
    match = _PER_USER.search(str(record.get(key, "")))
    return int(match[1]) if match else text.count(record.get(old_key, ""))


def reservations(asker: Asker, spoken: Spoken) -> Sequence[Statement]:
    """Read `pbs_rstat -f`. What is not confirmed keeps no nodes yet. One is used through the queue of its own."""
    refuse(spoken)
    found = []
    for one in text.paragraphs(spoken.out, "Resv ID"):
        begins = text.moment(one.get("reserve_start", ""))
        if begins is None or _OVER.fullmatch(one.get("reserve_state", "")):
            continue
        names = _hosts(one.get("resv_nodes", ""))
        maintenance = one["Resv ID"].startswith("M")  # as those of `pbs_rsub --hosts` are named
        users = one.get("Authorized_Users", "")
        found.append(
            Reservation(
                name=one.get("Reserve_Name", "") or one["Resv ID"],
                start=begins,
                end=text.moment(one.get("reserve_end", "")),
                nodes=text.count(one.get("Resource_List.nodect", "")) or len(names),
                names=names,
                usable=not maintenance and asker.user in {one.partition("@")[0].strip() for one in users.split(",")},
                chosen=asker.partition != "" and asker.partition == one.get("queue"),
                maintenance=maintenance,
                words=f"queue={one.get('queue', '')} users={users}",
            )
        )
    return found


def _hosts(vnodes: str) -> tuple[str, ...]:
    """Give the nodes in `(n1:ncpus=16)+(n2:ncpus=16+n3:ncpus=8)`; a virtual node's host stands before its bracket."""
    parts = (part.strip("()") for part in vnodes.split("+"))
    names = (part.partition(":")[0].partition("[")[0] for part in parts)
    return tuple(dict.fromkeys(name for name in names if name))


def _table(spoken: Spoken, key: str) -> Mapping[str, Record]:
    """Give the records under a key of the answer; none, if it is left out."""
    refuse(spoken)
    try:
        return pbs_json.read(spoken.out, key)
    except ValueError as error:
        raise BatchUnreachable(f"the answer makes no sense: {error}") from error
