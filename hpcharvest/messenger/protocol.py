"""What controller and runner say to each other, and under which names in an allocation's folder.

    manifest.json            controller: what is to run; written whole before the batch job is submitted
    journal/00000000.json …  both: numbered segments, each a list of records (see `journal`)
    heartbeat                runner: touched every `heartbeat_s`
    kill/<job>.<attempt>     controller: stop this payload
    kill/all                 controller: stop everything and leave
    kill/start.<restart>     runner: its first process, to a head that is a rank of MPI: leave; of one start alone
    cut_off.<restart>        runner: how many payloads it ran in vain, as the journal was no longer its own

What is said about event ranges is in `ranges`. What only the batch system knows comes to the runner by its
environment; the batch script sets the variables.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any, Final

from hpcharvest.errors import MessageNotUnderstood
from hpcharvest.messenger import codec
from hpcharvest.messenger.ranges import ArchiveClosed, EventTask, RangesFailed, RangesWanted
from hpcharvest.model.ids import AllocationId, Attempt, JobId
from hpcharvest.model.job import PayloadOutcome

MANIFEST: Final = "manifest.json"
JOURNAL: Final = "journal"
HEARTBEAT: Final = "heartbeat"
KILL: Final = "kill"
KILL_ALL: Final = "all"
CUT_OFF: Final = "cut_off"
VERSION: Final = 1

NODES_VARIABLE: Final = "HPCHARVEST_NODES"
"""Names of the allocation's nodes, separated by commas; unset: this host."""
VIRTUAL_NODES_VARIABLE: Final = "HPCHARVEST_VIRTUAL_NODES"
"""Set and not empty: all the nodes are names for this very host, and the payloads are its processes."""
DEADLINE_VARIABLE: Final = "HPCHARVEST_DEADLINE"
"""Wall seconds when the batch system ends the batch job; unset: never."""
BATCH_ID_VARIABLE: Final = "HPCHARVEST_BATCH_ID"
RESTART_VARIABLE: Final = "HPCHARVEST_RESTART"
"""How often the batch system started the batch job again; unset: 0."""


class ExitCode(IntEnum):
    """How the runner's process ends."""

    LEFT = 0
    """It said goodbye in the journal."""
    USAGE = 64
    """Wrong arguments or environment; nothing ran."""
    UNREADABLE = 65
    """The manifest or the journal is not understood; nothing ran."""
    UNPUBLISHED = 74
    """The shared storage took no segment until the end: what is missing in the journal never counts."""
    FENCED = 98
    """The journal is closed, or belongs to another start of the batch job: what this one would say never counts."""


class Writer(StrEnum):
    """Who wrote a segment."""

    RUNNER = "runner"
    CONTROLLER = "controller"


class LinkName(StrEnum):
    """Over what the runner's head and its other nodes speak."""

    SOCKETS = "sockets"
    MPI = "mpi"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A payload to be run once, in a folder of its own."""

    job: JobId
    attempt: Attempt
    argv: tuple[str, ...]
    folder: str
    """Absolute; the runner makes it."""
    env: dict[str, str] = field(default_factory=dict)
    """Beside the runner's own environment."""
    links: dict[str, str] = field(default_factory=dict)
    """Input names, plain, to the absolute paths of the staged files; symlinked into the folder."""
    nodes: int = 1
    cores: int = 1
    """On each node."""
    memory_mb: int = 0
    """On each node; 0: unknown."""
    gpus: int = 0
    """On each node, for itself alone."""
    walltime_s: int = 0
    """0: no limit."""
    outputs: tuple[str, ...] = ()
    """Plain names that must be regular files in the folder when it ends."""
    log: str | None = None
    """The name of the tarball that the runner makes of the folder."""
    mpi: bool = False
    """Whether it is started by the site's launcher."""
    ranks_per_node: int = 1
    contained: bool = False
    """Whether argv begins with a container engine, whose absence is not the payload's doing."""
    engine_failure: int = 0
    """The exit code by which that engine says that it could not start the container; 0: it has none of its own."""

    @property
    def key(self) -> Key:
        """What tells it from all others."""
        return self.job, self.attempt


Key = tuple[JobId, Attempt]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """All that a runner is to know."""

    allocation: AllocationId
    tag: str
    cores_per_node: int
    tasks: tuple[Task, ...]
    event_tasks: tuple[EventTask, ...] = ()
    """Event-service jobs whose ranges fill what the tasks leave free."""
    memory_mb_per_node: int = 0
    """0: unknown, and so no limit."""
    gpus_per_node: int = 0
    gpu_variable: str = ""
    """The environment variable that binds a payload to its GPUs; empty: none does."""
    heartbeat_s: float = 10.0
    """Also how often the runner looks for kill notes."""
    flush_s: float = 0.2
    """Records of this time share a segment."""
    margin_s: float = 60.0
    """The runner leaves this long before the deadline."""
    kill_grace_s: float = 10.0
    """From SIGTERM to SIGKILL."""
    launcher: tuple[str, ...] = ()
    """Put in front of argv for tasks of MPI, on many nodes or on another node; {hosts} {slots} {nodes} {ranks}
    {ranks_per_node} {cores} {node_cores} {all_cores} {gpus} are filled in. Empty: there is none."""
    node_launcher: tuple[str, ...] = ()
    """The same for the process that does event ranges on a node, which shares the node with payloads."""
    nodes_together: bool = False
    """Whether one `node_launcher` starts them on all nodes, so that the end of one does not end the others; else there
    is one for each node."""
    link_address: str = ""
    """Where the head listens for its other nodes; {node} is the name of its own. Empty: what that means there."""
    link: LinkName = LinkName.SOCKETS
    """Over MPI, head and nodes are ranks that a launcher starts, and end together."""
    version: int = VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerStarted:
    """A runner took the allocation. `at`: wall seconds, as in all records."""

    at: float
    batch_id: str
    nodes: tuple[str, ...]
    restart: int
    life: int = 0
    """Which head of this start of the batch job it is: another takes over from one that was killed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PayloadStarted:
    """A payload's process is there. `node`: names, separated by commas."""

    at: float
    job: JobId
    attempt: Attempt
    node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PayloadEnded:
    """A payload ended, or never will start here."""

    at: float
    job: JobId
    attempt: Attempt
    outcome: PayloadOutcome


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerLeft:
    """The runner's last word: it closes the journal."""

    at: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """The controller closed the journal. `by`: for whom, or why."""

    at: float
    by: str


Record = (
    RunnerStarted | PayloadStarted | PayloadEnded | RunnerLeft | Closed | RangesWanted | ArchiveClosed | RangesFailed
)
_KINDS: Final[dict[str, type[Record]]] = {
    "started": RunnerStarted,
    "payload_started": PayloadStarted,
    "payload_ended": PayloadEnded,
    "left": RunnerLeft,
    "closed": Closed,
    "ranges_wanted": RangesWanted,
    "archive_closed": ArchiveClosed,
    "ranges_failed": RangesFailed,
}
_NAMES: Final = {kind: name for name, kind in _KINDS.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One numbered piece of a journal."""

    number: int
    writer: Writer
    restart: int
    records: tuple[Record, ...]
    unknown: tuple[str, ...] = ()
    """Kinds of records that this version does not know; they were left out."""

    @property
    def closes(self) -> bool:
        """Whether nothing can follow."""
        return any(isinstance(record, RunnerLeft | Closed) for record in self.records)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Envelope:
    number: int
    writer: Writer
    restart: int


def segment_name(number: int) -> str:
    """Name a segment's file."""
    return f"{number:08d}.json"


def kill_name(job: JobId, attempt: Attempt) -> str:
    """Name the kill note of one attempt of a job."""
    return f"{job}.{attempt}"


def leave_name(restart: int) -> str:
    """Name the note by which one start of the runner is told to leave."""
    return f"start.{restart}"


def encode_segment(number: int, records: Sequence[Record], writer: Writer, restart: int, author: str) -> bytes:
    """Write a segment's text. `author` is random, so that no two writers ever write the same text."""
    told = [{"kind": _NAMES[type(record)]} | codec.plain(record) for record in records]
    return codec.to_text(_Envelope(number=number, writer=writer, restart=restart), author=author, records=told)


def decode_segment(text: bytes, number: int, where: str) -> Segment:
    """Read a segment's text. TornMessage: no JSON; MessageNotUnderstood: not a segment, or not this one."""
    value = codec.parse(text, where)
    head = codec.decode(_Envelope, value, where)
    if head.number != number:
        raise MessageNotUnderstood(f"{where}: number is {head.number}, but {number} is wanted")
    told = value.get("records")
    if type(told) is not list:
        raise MessageNotUnderstood(f"{where}: records is {told!r:.80}, but a list is wanted")
    kinds = [_kind(one, f"{where}: records.{index}") for index, one in enumerate(told)]
    records = tuple(
        codec.decode(_KINDS[kind], one, f"{where}: records.{index}")
        for index, (kind, one) in enumerate(zip(kinds, told, strict=True))
        if kind in _KINDS
    )
    unknown = tuple(kind for kind in kinds if kind not in _KINDS)
    return Segment(number=number, writer=head.writer, restart=head.restart, records=records, unknown=unknown)


def _kind(record: Any, where: str) -> str:
    kind = record.get("kind") if type(record) is dict else None
    if type(kind) is not str:
        raise MessageNotUnderstood(f"{where}: kind is {kind!r:.80}, but a text is wanted")
    return kind


def encode_manifest(manifest: Manifest) -> bytes:
    """Write a manifest's text."""
    return codec.to_text(manifest)


def decode_manifest(text: bytes, where: str) -> Manifest:
    """Read a manifest's text. TornMessage: no JSON; MessageNotUnderstood: a field or the version is wrong."""
    manifest = codec.decode(Manifest, codec.parse(text, where), where)
    if manifest.version != VERSION:
        raise MessageNotUnderstood(f"{where}: version is {manifest.version}, but this is {VERSION}")
    return manifest
