"""What a machine has free, what is planned on it, and what it permits, as its batch system said it.

Times are wall seconds. What was not said is None, never zero: zero free nodes is a statement.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from hpcharvest.model.shape import NodeShape, Shape
from hpcharvest.model.states import BatchState


class Topic(StrEnum):
    """What may be asked about."""

    NODES = "nodes"
    RESERVATIONS = "reservations"
    PLANNED = "planned"
    HOLES = "holes"
    OWN = "own"
    LIMITS = "limits"
    STARTS = "starts"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeGroup:
    """Nodes of one shape in one partition."""

    partition: str
    """Empty: the batch system does not tie nodes to queues."""
    shape: NodeShape
    total: int
    """How many there are, whatever they do."""
    free: tuple[str, ...] = ()
    """Those on which nothing runs and something may be started now, if only something short."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """Nodes that are kept for somebody, or for nobody, from some moment on."""

    name: str
    start: float
    end: float | None
    nodes: int
    names: tuple[str, ...] = ()
    """Those nodes; none: it was not said which."""
    usable: bool = False
    """Whether our user or account is named among those who may use it."""
    chosen: bool = False
    """Whether our batch jobs ask for it. If they do not, it keeps its nodes from us, though we might use it."""
    maintenance: bool = False
    words: str = ""
    """The batch system's own words about what kind it is and for whom."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A batch job that waits, anybody's, with the nodes and the moment that the scheduler has planned for it."""

    id: str
    start: float
    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hole:
    """Nodes that are free now, and for how long."""

    partition: str
    nodes: int
    seconds: float | None
    """None: nobody is waiting for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnJob:
    """A batch job of our user, waiting or running, whoever submitted it."""

    id: str
    tag: str
    state: BatchState
    partition: str
    nodes: int | None
    walltime_s: int | None
    start: float | None
    """When it started, or will by the scheduler's estimate; None: not known."""


class LimitKind(StrEnum):
    """What a limit hangs on."""

    PARTITION = "partition"
    QOS = "qos"
    ACCOUNT = "account"
    QUEUE = "queue"
    SERVER = "server"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """What may be asked of one partition, QOS, account or queue. None: no limit was told."""

    kind: LimitKind
    name: str
    min_nodes: int = 1
    max_nodes: int | None = None
    max_walltime_s: int | None = None
    max_running: int | None = None
    """Batch jobs of one user that run at a time."""
    max_submitted: int | None = None
    """Batch jobs of one user, waiting and running."""
    max_eligible: int | None = None
    """Batch jobs of one user that wait and are considered; more may wait without growing older."""
    default: bool = False
    """Whether it is taken when nobody chooses."""
    open: bool = True
    """Whether it takes batch jobs now and starts them."""
    qos: str = ""
    """The QOS whose limits hold too: in this partition, or for this account unless another is chosen."""
    routes: tuple[str, ...] = ()
    """Queues that batch jobs submitted here are moved on to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """When a batch job of some shape would start, by the batch system's own estimate."""

    shape: Shape
    at: float | None
    """None: never, as things are."""
    words: str


Statement = NodeGroup | Reservation | Planned | Hole | OwnJob | Limit | Start


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """A question that was answered: all that stands under its topic was said then."""

    topic: Topic
    command: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A question that has no answer, and why: nothing at all follows from it."""

    topic: Topic
    command: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """All that was said, once around."""

    nodes: tuple[NodeGroup, ...] = ()
    reservations: tuple[Reservation, ...] = ()
    planned: tuple[Planned, ...] = ()
    holes: tuple[Hole, ...] = ()
    """Holes as the batch system itself counts them; where it does not, the function `holes` finds them."""
    own: tuple[OwnJob, ...] = ()
    limits: tuple[Limit, ...] = ()
    starts: tuple[Start, ...] = ()
    heard: tuple[Heard, ...] = ()
    skipped: tuple[Skipped, ...] = ()

    def age(self, topic: Topic, now: float) -> float | None:
        """Give the age, in seconds, of the oldest statement on a topic; None: there is none, as nobody answered."""
        moments = [one.at for one in self.heard if one.topic is topic]
        return max(0.0, now - min(moments)) if moments else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Batch jobs of so many nodes may be so long."""

    min_nodes: int
    max_nodes: int | None
    max_walltime_s: int | None


def limit_of(limits: Iterable[Limit], kind: LimitKind, name: str) -> Limit | None:
    """Find a limit by its kind and name."""
    return next((one for one in limits if one.kind is kind and one.name == name), None)


def narrowed(limit: Limit, by: Limit) -> Limit:
    """Give `limit` where `by` holds too: of each number, the stricter."""
    return replace(
        limit,
        min_nodes=max(limit.min_nodes, by.min_nodes),
        max_nodes=_least(limit.max_nodes, by.max_nodes),
        max_walltime_s=_least(limit.max_walltime_s, by.max_walltime_s),
        max_running=_least(limit.max_running, by.max_running),
        max_submitted=_least(limit.max_submitted, by.max_submitted),
        max_eligible=_least(limit.max_eligible, by.max_eligible),
        open=limit.open and by.open,
    )


def bins(limits: Iterable[Limit], name: str, *, qos: str = "", account: str = "") -> tuple[Bin, ...]:
    """Give how long a batch job in a partition or queue may be, by its number of nodes, smallest first.

    More than one where the queue moves batch jobs on by their size. `qos`, `account`: whose limits hold too. None: no
    such partition or queue was told of, or nothing is allowed there.
    """
    known = tuple(limits)
    places = [one for one in known if one.kind in {LimitKind.PARTITION, LimitKind.QUEUE}]
    by_name = {one.name: one for one in places}
    if name not in by_name:
        return ()
    here = by_name[name]
    accounts = [limit_of(known, LimitKind.ACCOUNT, one) for one in (account, f"{account}/{name}") if account]
    chosen = qos or next((one.qos for one in reversed(accounts) if one and one.qos), "")
    for limit in (*accounts, *(limit_of(known, LimitKind.QOS, one) for one in (here.qos, chosen) if one)):
        here = narrowed(here, limit) if limit else here
    ends = [narrowed(by_name[one], here) for one in here.routes if one in by_name and by_name[one].open] or [here]
    found = {Bin(min_nodes=one.min_nodes, max_nodes=one.max_nodes, max_walltime_s=one.max_walltime_s) for one in ends}
    sound = [one for one in found if one.max_nodes is None or one.min_nodes <= one.max_nodes]
    return tuple(sorted(sound, key=lambda one: (one.min_nodes, one.max_nodes or 0, one.max_walltime_s or 0)))


def _least(*numbers: int | None) -> int | None:
    return min((one for one in numbers if one is not None), default=None)


def holes(capacity: Capacity, now: float) -> tuple[Hole, ...]:
    """Give, for each partition, how many nodes are free now for how long: many for a short time, fewer for longer.

    Each hole holds the nodes of the longer ones too. A node is free until the first batch job that is planned on it
    starts, or the first reservation that our batch jobs do not ask for; one that does not name its nodes counts against
    all. Where the batch system counts holes itself, those are given, shorter by their age.
    """
    told = {one.partition for one in capacity.holes}
    age = capacity.age(Topic.HOLES, now) or 0.0
    found = [
        Hole(partition=one.partition, nodes=one.nodes, seconds=None if one.seconds is None else one.seconds - age)
        for one in capacity.holes
    ]
    against = [one for one in capacity.reservations if one.nodes > 0 and not one.chosen and not _over(one, now)]
    ends = _ends([*((one.start, one.nodes) for one in capacity.planned), *((one.start, one.names) for one in against)])
    general = min((one.start for one in against if not one.names), default=None)
    for partition in dict.fromkeys(one.partition for one in capacity.nodes):
        if partition not in told:
            names = {name for one in capacity.nodes if one.partition == partition for name in one.free}
            found += _stairs(partition, [_earliest(ends.get(name), general) for name in names], now)
    return tuple(one for one in found if one.nodes > 0 and (one.seconds is None or one.seconds > 0))


def _over(reservation: Reservation, now: float) -> bool:
    return reservation.end is not None and reservation.end <= now


def _ends(wishes: Iterable[tuple[float, Iterable[str]]]) -> dict[str, float]:
    """Give for each node that somebody will want from when on."""
    ends: dict[str, float] = {}
    for start, names in wishes:
        for name in names:
            ends[name] = min(start, ends.get(name, start))
    return ends


def _earliest(*moments: float | None) -> float | None:
    return min((one for one in moments if one is not None), default=None)


def _stairs(partition: str, ends: list[float | None], now: float) -> list[Hole]:
    """Count the nodes for each length: those that are free at least as long."""
    lengths = sorted({one - now for one in ends if one is not None})
    steps = [
        Hole(partition=partition, nodes=sum(one is None or one - now >= length for one in ends), seconds=length)
        for length in lengths
    ]
    return [*steps, Hole(partition=partition, nodes=ends.count(None), seconds=None)]
