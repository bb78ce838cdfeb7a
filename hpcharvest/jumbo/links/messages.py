"""What the head and its nodes tell each other, one JSON object a message. Standard library only.

A range is known by its `index` in the job's feed. Messages of a node that must not be lost are numbered; the node keeps
each until the head acknowledged it, and says it again to the next head. So the head hears everything at least once, and
its pool counts it exactly once.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any, Final

from hpcharvest.errors import MessageNotUnderstood

Row = list[Any]


@dataclass(slots=True, kw_only=True)
class Hello:
    """Node: here I am (again). The first message on every connection; an older connection of the node is void."""

    node: str
    life: int
    """How often the node's process was started, from 0: the leases of an earlier life are lost."""
    held: dict[str, list[int]] = field(default_factory=dict)
    """By job: the ranges that the node has and will tell of."""
    done: dict[str, list[int]] = field(default_factory=dict)
    """By job, of these: what is durably done, in archives that are open. An earlier head may have heard it, and only
    it."""


@dataclass(slots=True, kw_only=True)
class Ask:
    """Node: so many more ranges of this job would keep its slots busy for a while. Replaces what it asked before."""

    job: int
    want: int


@dataclass(slots=True, kw_only=True)
class Told:
    """Node: what became of ranges. Durable in the node's own file before it is said."""

    number: int
    job: int
    done: list[Row] = field(default_factory=list)
    """`[index, cpu_s, wall_s]`: its output is in the node's open archive."""
    failed: list[Row] = field(default_factory=list)
    """`[index, error]`: it failed as often as it is tried on one node; `error` is comparable between nodes."""
    back: list[int] = field(default_factory=list)
    """Indices of ranges that were not done, without a fault of theirs."""


@dataclass(slots=True, kw_only=True)
class Archived:
    """Node: an archive is closed. All its ranges were told, and acknowledged, before."""

    number: int
    job: int
    name: str
    size: int
    adler32: str
    ranges: list[Row]
    """`[index, id, cpu_s, wall_s]`."""


@dataclass(slots=True, kw_only=True)
class Beat:
    """Node: still here. `facts`: what its monitors saw, by name."""

    facts: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Bye:
    """Node: all is told and acknowledged, and the process ends."""

    reason: str = ""


@dataclass(slots=True, kw_only=True)
class Welcome:
    """Head: the answer to Hello. `left_s`: seconds until the runner begins to leave; None: nobody knows."""

    left_s: float | None = None


@dataclass(slots=True, kw_only=True)
class Slots:
    """Head: how many slots of this job the node may run now. GPUs as bits, as in `placement.Room`."""

    job: int
    count: int
    gpus: int = 0
    nodes: list[str] = field(default_factory=list)
    """Those that each of these slots is on, this one first. Empty: on this one alone; or, where a slot needs several,
    one of them is gone, and with it all that runs there."""
    needs_s: float = 0.0
    """A range begins only if so much time is left: the 95th percentile, as the head has learnt it. 0: not yet."""
    limit_s: float = 0.0
    """A range that takes longer is hung; 0: there is no limit yet."""


@dataclass(slots=True, kw_only=True)
class Lease:
    """Head: these ranges are yours."""

    job: int
    ranges: list[Row]
    """`[index, id, start, last, file]`; `file` is a key of `files`."""
    files: dict[str, Row] = field(default_factory=dict)
    """`[lfn, guid, scope]`."""


@dataclass(slots=True, kw_only=True)
class Ack:
    """Head: everything up to this number is taken in. `void`: of these, by job, the outcome does not count."""

    number: int
    void: dict[str, list[int]] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Recall:
    """Head: give back these ranges if you have not begun them (none named: all)."""

    job: int
    indices: list[int] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Stop:
    """Head: stop this job's payloads, give its ranges back, close its archives."""

    job: int
    reason: str


@dataclass(slots=True, kw_only=True)
class Leave:
    """Head: begin nothing more, stop what cannot end within `left_s`, close the archives, say Bye."""

    reason: str
    left_s: float


NodeMessage = Hello | Ask | Told | Archived | Beat | Bye
HeadMessage = Welcome | Slots | Lease | Ack | Recall | Stop | Leave
Message = NodeMessage | HeadMessage
_KINDS: Final[dict[str, type[Any]]] = {
    kind.__name__.lower(): kind
    for kind in (Hello, Ask, Told, Archived, Beat, Bye, Welcome, Slots, Lease, Ack, Recall, Stop, Leave)
}
_FIELDS: Final = {kind: tuple(one.name for one in dataclasses.fields(kind)) for kind in _KINDS.values()}


def encode(message: Message) -> bytes:
    """Write a message on one line, without its end."""
    kind = type(message)
    value = {"kind": kind.__name__.lower()} | {name: getattr(message, name) for name in _FIELDS[kind]}
    return json.dumps(value, separators=(",", ":")).encode("ascii")


def decode(line: bytes) -> Message:
    """Read a message. MessageNotUnderstood: it is none. The rows inside are not looked at."""
    try:
        value = json.loads(line)
        made: Message = _KINDS[value.pop("kind")](**value)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise MessageNotUnderstood(f"not a message of a head or a node: {line[:80]!r} ({error!r})") from error
    return made
