"""What controller and runner say to each other about event ranges, and under which names in an allocation's folder.

    feed/<job>.00000000.json …  controller: ranges for one event-service job, in numbered files that are never changed
    nodes/                      nodes: what became of the ranges that they had (`jumbo.node.spool`)
    archives/<name>             nodes: closed archives of outputs; `<name>.part` while they are written
    link.json                   head: where it listens, and the secret by which its nodes are known

What the runner says is in the journal: `RangesWanted`, `ArchiveClosed`, `RangesFailed`. Ranges that were fed and of
which the journal and the nodes' files say nothing when the allocation has ended were not done.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, NamedTuple

from hpcharvest.errors import MessageNotUnderstood
from hpcharvest.messenger import codec
from hpcharvest.model.event_range import EventRange
from hpcharvest.model.ids import Attempt, JobId

FEED: Final = "feed"
NODES: Final = "nodes"
ARCHIVES: Final = "archives"
LINK: Final = "link.json"
PART: Final = ".part"

PLACEHOLDERS: Final = (
    *("eventRangeID", "startEvent", "lastEvent", "LFN", "GUID", "scope", "PFN"),
    *("output", "seed", "PandaID", "taskID"),
)
"""What the runner fills in, in braces, in the argv of a range's payload and in its output's name. PFN: the input's
path; output: the absolute path where the payload is to leave its output; seed: a number below 900,000,000 that is the
same for the same range always."""


class PayloadKind(StrEnum):
    """How a payload takes event ranges."""

    COMMAND = "command"
    """A process for each range: argv is a template."""
    CALLABLE = "callable"
    """argv is `module:function`: imported once in each slot, called with each range."""
    SERVICE = "service"
    """A process that asks for ranges, in AthenaMP's lines, over a UNIX socket or its own pipes."""
    FILES = "files"
    """A process that asks for ranges through panda-harvester's shared files."""
    MPI = "mpi"
    """A program on several nodes for each range, started by the site's launcher: argv is a template."""


class Channel(StrEnum):
    """Through what a payload of the kind `service` speaks its lines."""

    SOCKET = "socket"
    """A UNIX socket, whose path is in PILOT_EVENTRANGECHANNEL."""
    PIPES = "pipes"
    """Its own stdin and stdout."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventTask:
    """An event-service job as the runner of one of its allocations knows it. Its ranges come by the feed."""

    job: JobId
    attempt: Attempt
    task_id: int = 0
    kind: PayloadKind
    channel: Channel = Channel.SOCKET
    argv: tuple[str, ...]
    folder: str
    """Absolute, on the shared file system; its name is the allocation's own. Logs of payloads that failed go there."""
    output: str = "{LFN}.{eventRangeID}"
    """The plain name of a range's output in its archive."""
    env: dict[str, str] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)
    """Absolute paths of the staged input files, by LFN."""
    scratch: str = "${TMPDIR:-/tmp}"
    """A folder of the node's own, for outputs until they are archived; a variable of the node, with a default."""
    nodes: int = 1
    """Of one slot."""
    cores: int = 1
    """Of one slot, on each of its nodes."""
    ranks_per_node: int = 1
    """Of one slot of `PayloadKind.MPI`."""
    memory_mb: int = 0
    """Of one slot, on each of its nodes; 0: unknown."""
    gpus: int = 0
    """Of one slot, on each of its nodes."""
    range_walltime_s: float = 0.0
    """A range that takes longer is hung; 0: it is judged by the others of its task."""
    tries: int = 2
    """How often a range is tried on one node before it fails."""
    archive_bytes: int = 256_000_000
    """An archive that has as much is closed,"""
    archive_age_s: float = 300.0
    """and one that is as old."""
    contained: bool = False
    engine_failure: int = 0
    """Both as in `protocol.Task`."""
    job_text: str = ""
    """The server's own dictionary of the job, as JSON, for payloads of `PayloadKind.FILES`."""
    heartbeat_s: float = 0.0
    """A payload of that kind whose heartbeat file does not change for so long is hung; 0: nobody looks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RangesWanted:
    """The runner has work for more. `total`: how many it wants to have been fed in this allocation; it only grows."""

    at: float
    job: JobId
    total: int


class RangeDone(NamedTuple):
    """A range whose output is in an archive. There are millions: hence a tuple, and a list in JSON."""

    id: str
    cpu_s: float = 0.0
    wall_s: float = 0.0
    cores: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveClosed:
    """An archive is whole in `archives/`, and these ranges are in it: those that count, each in one archive only."""

    at: float
    job: JobId
    name: str
    size: int
    adler32: str
    ranges: tuple[RangeDone, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeFailed:
    """A range that will not be tried again here. `fatal`: it would fail anywhere."""

    id: str
    error: str
    node: str
    fatal: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RangesFailed:
    """Some ranges failed for good, as far as this allocation can tell."""

    at: float
    job: JobId
    ranges: tuple[RangeFailed, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """One file of the feed. `first`: the index of its first range among all those fed to the job here."""

    job: JobId
    number: int
    first: int
    ranges: tuple[EventRange, ...]
    last: bool = False
    """Nothing will follow: PanDA has no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Head:
    job: JobId
    number: int
    first: int
    last: bool


def feed_name(job: JobId, number: int) -> str:
    """Name a file of the feed."""
    return f"{job}.{number:08d}.json"


def encode_feed(feed: Feed) -> bytes:
    """Write a file of the feed. Input files are named once: `ranges` has `[id, start, last, position in files]`."""
    files: dict[tuple[str, str, str], int] = {}
    rows = [
        [one.id, one.start, one.last, files.setdefault((one.lfn, one.guid, one.scope), len(files))]
        for one in feed.ranges
    ]
    head = _Head(job=feed.job, number=feed.number, first=feed.first, last=feed.last)
    return codec.to_text(head, files=[list(file) for file in files], ranges=rows)


def decode_feed(text: bytes, where: str) -> Feed:
    """Read a file of the feed. TornMessage: no JSON; MessageNotUnderstood: it is not one."""
    value = codec.parse(text, where)
    head = codec.decode(_Head, value, where)
    try:
        ranges = tuple(_ranges(value["files"], value["ranges"]))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise MessageNotUnderstood(f"{where}: files and ranges are not what they should be: {error!r}") from error
    return Feed(job=head.job, number=head.number, first=head.first, ranges=ranges, last=head.last)


def _ranges(files: Sequence[Sequence[str]], rows: Sequence[Sequence[Any]]) -> Sequence[EventRange]:
    return [
        EventRange(id=name, start=start, last=last, lfn=files[file][0], guid=files[file][1], scope=files[file][2])
        for name, start, last, file in rows
    ]
