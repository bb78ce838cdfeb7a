"""What Slurm says is free: sinfo, squeue, scontrol, sacctmgr and `sbatch --test-only`, all as text.

Held to recordings of, and tests on, Slurm 22.05.8. `--json` has other shapes in each version and is left alone.
SLURM_TIME_FORMAT=%s has every command write moments as seconds since the epoch, whatever the time zone.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from hpcharvest.errors import BatchUnreachable
from hpcharvest.model.capacity import (
    Limit,
    LimitKind,
    NodeGroup,
    OwnJob,
    Planned,
    Reservation,
    Start,
    Statement,
    Topic,
)
from hpcharvest.model.shape import NodeShape, Shape
from hpcharvest.providers.capacity import text
from hpcharvest.providers.capacity.question import Asker, Question, Reader, refuse, said
from hpcharvest.providers.dialect import Spoken
from hpcharvest.providers.slurm import FILTERS, VOCABULARY

_ROW, _FIELD = "\x1e", "\x1f"
_FILTERS = ("SINFO_PARTITION", *FILTERS)
"""Variables by which a user's shell may have the commands leave things out."""
_ENV = ("env", *(f"--unset={one}" for one in _FILTERS), "SLURM_TIME_FORMAT=%s")

FREE = re.compile(r"(idle|planned)[~#-]?")
"""sinfo(1): states of a node that may be used now. `planned`, or a minus, is idle until the scheduler's plan
comes true; ~ and # are powered down and starting, and are started for us. Every other mark (* no answer, $ maintenance,
@ ^ reboot, % ! power going) means no."""

_QOS = ("Name", "MaxWall", "MaxTRES", "MinTRES", "MaxJobsPU", "MaxSubmitPU", "MaxJobsAccruePU")
_ASSOCIATION = ("Account", "Partition", "MaxWall", "MaxTRES", "MaxJobs", "MaxSubmit", "MaxJobsAccrue", "DefaultQOS")
_START = re.compile(r"Job [0-9]+ to start at (\S+) using [0-9]+ processors on nodes \S* in partition \S+")
_NEVER = re.compile(r"allocation failure: (?!.*(slurm controller|timed out|Zero Bytes|[Cc]onnect|credential|down)).+")


def questions(asker: Asker) -> Sequence[Question]:
    """Give all questions; those to the accounting last, since that is often forbidden or not there."""
    return (
        _question(Topic.NODES, ["sinfo", "--all", "--exact", "--noheader", _format("%R %T %D %X %Y %m %G %N")], nodes),
        _question(Topic.RESERVATIONS, ["scontrol", "show", "reservation", "--oneliner"], partial(reservations, asker)),
        _question(
            Topic.PLANNED,
            ["squeue", "--all", "--noheader", "--states=PENDING", _format("%i %S %Y")],
            planned,
        ),
        _question(Topic.OWN, ["squeue", "--me", "--all", "--noheader", _format("%i %j %T %P %D %l %S")], own),
        _question(Topic.LIMITS, ["scontrol", "show", "partition", "--oneliner"], partitions),
        *(_question(Topic.STARTS, _what_if(asker, one), partial(start, one)) for one in asker.shapes),
        _accounting(["qos", f"format={','.join(_QOS)}"], qos),
        _accounting(["assoc", f"user={asker.user}", f"format={','.join(_ASSOCIATION)}"], associations),
    )


def nodes(spoken: Spoken) -> Sequence[Statement]:
    """Read sinfo: nodes by partition and shape, and which of them are free."""
    groups: dict[tuple[str, NodeShape], _Nodes] = {}
    for partition, state, total, sockets, cores, memory, gres, names in _rows(spoken, 8):
        per_socket = (text.count(sockets) or 0) * (text.count(cores) or 0)
        shape = NodeShape(cores=max(1, per_socket), memory_mb=text.count(memory) or 0, gpus=gpus(gres))
        group = groups.setdefault((partition, shape), _Nodes())
        group.total += text.count(total) or 0
        if FREE.fullmatch(state):
            group.free += text.nodes(names)
    if not groups:
        raise BatchUnreachable(f"sinfo lists no node at all: {said(spoken)}")
    return [
        NodeGroup(partition=partition, shape=shape, total=max(one.total, len(one.free)), free=one.free)
        for (partition, shape), one in groups.items()
    ]


@dataclass(slots=True)
class _Nodes:
    """Nodes of one shape, while they are counted."""

    total: int = 0
    free: tuple[str, ...] = ()


def gpus(gres: str) -> int:
    """Count the GPUs in a list of generic resources: `gpu:a100:4(S:0-1),nvme:1`."""
    bare = re.sub(r"\([^()]*\)", "", gres).split(",")
    return sum(text.count(one.rpartition(":")[2]) or 0 for one in bare if one.strip().startswith("gpu:"))


def reservations(asker: Asker, spoken: Spoken) -> Sequence[Statement]:
    """Read `scontrol show reservation`. One of licences or burst buffers keeps no nodes."""
    return [
        Reservation(
            name=one["ReservationName"],
            start=begins,
            end=text.moment(one.get("EndTime", "")),
            nodes=text.count(one.get("NodeCnt", "")) or 0,
            names=text.nodes(one.get("Nodes", "")),
            usable=_may_use(asker, one),
            chosen=one["ReservationName"] in _chosen(asker),
            maintenance="MAINT" in one.get("Flags", "").split(","),
            words=f"{one.get('Flags', '')} users={one.get('Users', '')} accounts={one.get('Accounts', '')}",
        )
        for one in _records(spoken, "ReservationName")
        if (begins := text.moment(one.get("StartTime", ""))) is not None
    ]


def _may_use(asker: Asker, record: Mapping[str, str]) -> bool:
    """Tell whether we are named. Groups are not looked into, and maintenance is for nobody's payloads."""
    users, accounts = (record.get(key, "").split(",") for key in ("Users", "Accounts"))
    if "MAINT" in record.get("Flags", "").split(",") or f"-{asker.user}" in users:
        return False
    return asker.user in users or (bool(asker.account) and asker.account in accounts)


def _chosen(asker: Asker) -> set[str]:
    """Give the reservations that our batch jobs ask for."""
    words = [word for one in asker.options for word in _split(one.replace("--reservation ", "--reservation="))]
    named = [one.removeprefix("--reservation=") for one in words if one.startswith("--reservation=")]
    return {name for names in named for name in names.split(",")}


def planned(spoken: Spoken) -> Sequence[Statement]:
    """Read who waits with nodes planned for him. Without nodes a moment is no plan: it may be the user's `--begin`."""
    rows = [(number, text.moment(begins), text.nodes(names)) for number, begins, names in _rows(spoken, 3)]
    return [Planned(id=number, start=begins, nodes=names) for number, begins, names in rows if begins and names]


def own(spoken: Spoken) -> Sequence[Statement]:
    """Read our user's batch jobs. An array that waits is one row, and counts as one."""
    return [
        OwnJob(
            id=number,
            tag=name,
            state=VOCABULARY.translate(state),
            partition=partition,
            nodes=text.count(total),
            walltime_s=text.slurm_span(limit),
            start=text.moment(begins),
        )
        for number, name, state, partition, total, limit, begins in _rows(spoken, 7)
    ]


def partitions(spoken: Spoken) -> Sequence[Statement]:
    """Read `scontrol show partition`."""
    found = [
        Limit(
            kind=LimitKind.PARTITION,
            name=one["PartitionName"],
            min_nodes=max(1, text.count(one.get("MinNodes", "")) or 1),
            max_nodes=_least(one.get("MaxNodes"), one.get("TotalNodes")),
            max_walltime_s=text.slurm_span(one.get("MaxTime", "")),
            default=one.get("Default") == "YES",
            open=one.get("State", "UP") == "UP" and one.get("RootOnly") != "YES",
            qos="" if one.get("QoS", "N/A") == "N/A" else one["QoS"],
        )
        for one in _records(spoken, "PartitionName")
    ]
    if not found:
        raise BatchUnreachable(f"scontrol tells of no partition: {said(spoken)}")
    return found


def qos(spoken: Spoken) -> Sequence[Statement]:
    """Read the limits of each QOS."""
    return [
        Limit(
            kind=LimitKind.QOS,
            name=one["Name"],
            min_nodes=max(1, _node_count(one["MinTRES"]) or 1),
            max_nodes=_node_count(one["MaxTRES"]),
            max_walltime_s=text.slurm_span(one["MaxWall"]),
            max_running=text.count(one["MaxJobsPU"]),
            max_submitted=text.count(one["MaxSubmitPU"]),
            max_eligible=text.count(one["MaxJobsAccruePU"]),
        )
        for one in _bars(spoken, _QOS)
    ]


def associations(spoken: Spoken) -> Sequence[Statement]:
    """Read the limits of our user in each account, and in a partition of it where those are others."""
    return [
        Limit(
            kind=LimitKind.ACCOUNT,
            name="/".join(filter(None, (one["Account"], one["Partition"]))),
            max_nodes=_node_count(one["MaxTRES"]),
            max_walltime_s=text.slurm_span(one["MaxWall"]),
            max_running=text.count(one["MaxJobs"]),
            max_submitted=text.count(one["MaxSubmit"]),
            max_eligible=text.count(one["MaxJobsAccrue"]),
            qos=one["DefaultQOS"],
        )
        for one in _bars(spoken, _ASSOCIATION)
    ]


def start(shape: Shape, spoken: Spoken) -> Sequence[Statement]:
    """Read what `sbatch --test-only` says, which it does on stderr."""
    words = said(spoken)
    match = _START.search(words)
    at = text.moment(match[1]) if match else None
    if at is None and not _NEVER.search(words):
        raise BatchUnreachable(words)
    return [Start(shape=shape, at=at, words=words)]


def _question(topic: Topic, argv: Sequence[str], read: Reader) -> Question:
    return Question(topics=(topic,), argv=(*_ENV, *argv), read=read)


def _format(fields: str) -> str:
    """Ask for fields with characters between them that no name has."""
    return f"--format={_ROW}{fields.replace(' ', _FIELD)}"


def _accounting(words: Sequence[str], read: Reader) -> Question:
    argv = ("sacctmgr", "--noheader", "--parsable2", "show", *words)
    return Question(topics=(Topic.LIMITS,), argv=argv, read=read, daemon="slurmdbd")


def _what_if(asker: Asker, shape: Shape) -> list[str]:
    chosen = {"partition": shape.partition or asker.partition, "account": asker.account, "qos": asker.qos}
    words = [f"--{name}={value}" for name, value in chosen.items() if value]
    options = [word for one in asker.options for word in _split(one)]
    minutes = max(1, -(-shape.walltime_s // 60))
    return ["sbatch", "--test-only", "--wrap=true", f"--nodes={shape.nodes}", f"--time={minutes}", *words, *options]


def _split(directive: str) -> list[str]:
    try:
        return shlex.split(directive)
    except ValueError:
        return [directive]


def _rows(spoken: Spoken, number: int) -> Iterator[list[str]]:
    """Give the fields of each row. An answer of nothing but errors says nothing."""
    refuse(spoken)
    before, *rows = spoken.out.split(_ROW)
    if not rows and (before.strip() or "error" in spoken.err):
        raise BatchUnreachable(said(spoken))
    for row in rows:
        fields = [one.strip() for one in row.split(_FIELD)]
        if len(fields) == number:
            yield fields


def _records(spoken: Spoken, first: str) -> Iterator[dict[str, str]]:
    """Give the records of `scontrol show`, on one line each or more: words with =, of which `first` begins one."""
    refuse(spoken)
    if "error" in spoken.err and not spoken.out.strip():
        raise BatchUnreachable(said(spoken))
    for chunk in re.split(rf"(?:^|\n)(?={first}=)", spoken.out):
        record = dict(word.split("=", 1) for word in chunk.split() if "=" in word)
        if record.get(first):
            yield record


def _bars(spoken: Spoken, names: Sequence[str]) -> Iterator[dict[str, str]]:
    """Give the rows of sacctmgr, whose names have no bars in them."""
    refuse(spoken)
    for line in spoken.out.splitlines():
        fields = line.split("|")
        if len(fields) == len(names) and fields[0]:
            yield dict(zip(names, fields, strict=True))


def _node_count(resources: str) -> int | None:
    """Find the number of nodes in `cpu=8,node=2`."""
    match = re.search(r"(?:^|,)node=([0-9]{1,9})(?:,|$)", resources)
    return int(match[1]) if match else None


def _least(*words: str | None) -> int | None:
    return min((number for one in words if (number := text.count(one)) is not None), default=None)
