"""Choosing a partition or queue, and what a site file says of it: shape of nodes, limits, account. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import takewhile

from hpcharvest.errors import ConfigurationError
from hpcharvest.model.capacity import Bin, Capacity, Limit, LimitKind, NodeGroup, Topic, bins, limit_of
from hpcharvest.model.shape import NodeShape
from hpcharvest.providers.survey.findings import Seen

WALLTIME_S = 86_400
"""Taken where no limit is told."""
ALLOCATIONS = 10
"""Allocations of ours at a time: the default, unless the batch system takes fewer."""
END_S = 120
"""For the warning and the margin before the end."""


def choose(found: Capacity, wanted: str) -> Seen:
    """Choose the partition or queue: the one that is `wanted`, else the default, else the one with most nodes.

    Raises ConfigurationError if the wanted one is not there.
    """
    places = {one.name: one for one in found.limits if one.kind in {LimitKind.PARTITION, LimitKind.QUEUE}}
    if wanted:
        if places and wanted not in places:
            raise ConfigurationError(f"there is no partition or queue {wanted!r}; there are: {', '.join(places)}")
        return Seen(key="batch.partition", value=wanted, where="as asked for", assumed=not places)
    servers = [one.routes[0] for one in found.limits if one.kind is LimitKind.SERVER and one.routes]
    default = next((one.name for one in places.values() if one.default), next(iter(servers), ""))
    others = ", ".join(one for one in places if one != default) or "no other"
    if default:
        return Seen(key="batch.partition", value=default, where=f"the default; there is also: {others}")
    if not places:
        where = "none was told, so the batch system's default is taken"
        return Seen(key="batch.partition", value="", where=where, assumed=True)
    largest = max(places.values(), key=lambda one: (one.open, _total(found, one.name)))
    where = f"no default is told, and this one has most nodes; there are: {', '.join(places)}"
    return Seen(key="batch.partition", value=largest.name, where=where, assumed=True)


def _groups(found: Capacity, partition: str) -> list[NodeGroup]:
    return [one for one in found.nodes if one.partition in {"", partition}]


def _total(found: Capacity, partition: str) -> int:
    return sum(one.total for one in _groups(found, partition))


def shape(found: Capacity, partition: str, login_cores: int) -> Iterator[Seen]:
    """Tell what a node has: of several shapes, that of most nodes. `login_cores`: a guess where nobody tells."""
    source = _source(found, Topic.NODES)
    counted: Counter[NodeShape] = Counter()
    for one in _groups(found, partition):
        counted[one.shape] += one.total
    told = source and counted and source != "nodelist"  # Cobalt's, which tells no shape
    if not told:
        why = "as many as this very machine has, since the batch system does not tell"
        yield Seen(key="nodes.cores", value=max(1, login_cores), where=why, assumed=True)
        return
    (most, number), *others = counted.most_common()
    where = f"{source}: {number} nodes of {partition or 'all'}"
    other = ", ".join(f"{count} with {_words(one)}" for one, count in others)
    if other:
        where += f"; not of the others: {other}"
    yield Seen(key="nodes.cores", value=most.cores, where=where, assumed=bool(other))
    yield Seen(key="nodes.memory_mb", value=most.memory_mb, where=source if most.memory_mb else "not told")
    yield Seen(key="nodes.gpus", value=most.gpus, where=source if most.gpus else "none is told of")


def _words(one: NodeShape) -> str:
    return f"{one.cores} cores, {one.memory_mb} MB, {one.gpus} GPUs"


def limits(found: Capacity, partition: str, account: str) -> Iterator[Seen]:
    """Tell how large, how long and how many batch jobs may be."""
    source = _source(found, Topic.LIMITS)
    steps = bins(found.limits, partition, account=account)
    least = min((one.min_nodes for one in steps), default=1)
    yield Seen(key="allocation.min_nodes", value=least, where=source or "not told", assumed=not steps)
    yield _max_nodes(steps, _total(found, partition), source, _source(found, Topic.NODES), least)
    walltime = _walltime(steps, source)
    yield walltime
    end = min(END_S, int(str(walltime.value)) // 4)
    yield Seen(key="allocation.margin_s", value=end, where="a choice: for the runner to leave in good order")
    yield _allocations(found, partition, account, source)


def _max_nodes(steps: Sequence[Bin], total: int, source: str, counted: str, least: int) -> Seen:
    key = "allocation.max_nodes"
    ends = [one.max_nodes for one in steps]
    most = max((one for one in ends if one is not None), default=0)
    if most and None not in ends and (not total or most <= total):
        return Seen(key=key, value=max(least, most), where=source)
    if total:
        return Seen(key=key, value=max(least, total), where=f"{counted}: all that there are; no lower limit is told")
    return Seen(key=key, value=least, where="not told", assumed=True)


def _walltime(steps: Sequence[Bin], source: str) -> Seen:
    """Take what is allowed for every number of nodes; where it depends on that, say how."""
    key = "allocation.max_walltime_s"
    told = [one.max_walltime_s for one in steps if one.max_walltime_s]
    if not told:
        return Seen(key=key, value=WALLTIME_S, where="a day, since no limit is told", assumed=True)
    if len(steps) == 1:
        return Seen(key=key, value=told[0], where=source)
    each = ", ".join(
        f"{one.min_nodes}-{'' if one.max_nodes is None else one.max_nodes} nodes: {one.max_walltime_s or 'no limit'}"
        for one in steps
    )
    return Seen(key=key, value=min(told), where=f"{source}: allowed for any number of nodes, of {each}")


def _allocations(found: Capacity, partition: str, account: str, source: str) -> Seen:
    key = "allocation.max_allocations"
    held = [limit_of(found.limits, kind, partition) for kind in (LimitKind.PARTITION, LimitKind.QUEUE)]
    held += [limit_of(found.limits, LimitKind.ACCOUNT, account)] if account else []
    held += [limit_of(found.limits, LimitKind.QOS, one.qos) for one in held if one is not None and one.qos]
    held += [one for one in found.limits if one.kind is LimitKind.SERVER]
    numbers = [number for one in held if one for number in (one.max_submitted, one.max_eligible) if number]
    if numbers and min(numbers) < ALLOCATIONS:
        return Seen(key=key, value=min(numbers), where=f"{source}: batch jobs of one user")
    return Seen(key=key, value=ALLOCATIONS, where="a choice: the batch system takes so many, or tells no limit")


def account(found: Capacity, groups: Sequence[str]) -> Seen:
    """Name the account if there is only one; else leave it to the batch system's default, and tell who could pay."""
    key = "batch.account"
    names = [one.name.partition("/")[0] for one in found.limits if one.kind is LimitKind.ACCOUNT]
    candidates = list(dict.fromkeys(names))
    if len(candidates) == 1:
        return Seen(key=key, value=candidates[0], where="the user's only one")
    if candidates:
        return Seen(key=key, value="", where=f"the user's default, of: {', '.join(candidates)}")
    where = f"not told; at some centres it is a group of the user's, which are: {', '.join(groups) or 'none'}"
    return Seen(key=key, value="", where=where, assumed=True)


def places(found: Capacity) -> Iterator[str]:
    """Tell of each partition or queue with its limits."""
    for one in found.limits:
        if one.kind in {LimitKind.PARTITION, LimitKind.QUEUE}:
            yield f"{one.kind.value} {one.name}: {_limit_words(one)}, {_total(found, one.name)} nodes in all"


def _limit_words(one: Limit) -> str:
    most = "no limit" if one.max_nodes is None else str(one.max_nodes)
    longest = "no limit" if one.max_walltime_s is None else f"{one.max_walltime_s} s"
    lead = f", leads to {', '.join(one.routes)}" if one.routes else ""
    return f"{one.min_nodes} to {most} nodes a batch job, {longest}{lead}{'' if one.open else ', closed just now'}"


def _source(found: Capacity, topic: Topic) -> str:
    """Name the command that told of a topic; empty: none did."""
    return ", ".join(dict.fromkeys(program_words(one.command) for one in found.heard if one.topic is topic))


def program_words(command: str) -> str:
    """Leave out options and what comes behind them, which says little to people: `sacctmgr show qos`."""
    words = [one for one in command.split() if not one.startswith("--") and "=" not in one]
    return " ".join(takewhile(lambda word: not word.startswith("-"), words))
