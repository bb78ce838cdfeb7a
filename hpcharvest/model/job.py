"""A PanDA job: what the server asked for (`JobSpec`), and what became of it (`Job`)."""

from __future__ import annotations

from dataclasses import dataclass, field

from hpcharvest.model.ids import AllocationId, Attempt, JobId
from hpcharvest.model.states import JobState, PayloadResult


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFile:
    """A file that the job reads. `size` (bytes) and `adler32` (8 hex digits) are the server's promises, if any."""

    lfn: str
    scope: str
    guid: str = ""
    size: int | None = None
    adler32: str | None = None
    dataset: str = ""
    endpoint: str = ""
    archive: bool = False
    """Whether it is an archive of event ranges' outputs, which lies where such outputs go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListFile:
    """A file with a name in each line, which the payload finds in its folder."""

    lfn: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeStep:
    """How what event ranges leave is to be merged on site: by which program, and how many events to an output."""

    transformation: str
    job_pars: str
    per_output: int
    per_input: int
    """Number of events in each input; 0: nothing was said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputFile:
    """A file that the job is to leave at `endpoint` (a storage element's name; empty: the queue's default)."""

    lfn: str
    scope: str
    dataset: str = ""
    endpoint: str = ""
    guid: str = ""
    log: bool = False
    """Whether this is the tarball of the job's own folder, which the runner makes, not the payload."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """What the server asked for, checked once and never changed. Times in seconds, memory and disk in MB."""

    panda_id: JobId
    attempt_nr: int
    """PanDA's own count; goes back to PanDA unchanged."""
    transformation: str
    job_pars: str
    inputs: tuple[InputFile, ...] = ()
    outputs: tuple[OutputFile, ...] = ()
    """With the log, if the job has one."""
    lists: tuple[ListFile, ...] = ()
    """For a merge job: which members of its archives it is to merge."""
    core_count: int = 1
    memory_mb: int = 0
    disk_mb: int = 0
    max_walltime_s: int = 0
    """0: nothing was said."""
    task_id: int = 0
    jobset_id: int = 0
    priority: int = 0
    prod_source_label: str = ""
    processing_type: str = ""
    resource_type: str = ""
    event_service: bool = False
    merge: MergeStep | None = None
    """What is to be done with what its event ranges leave, if its queue merges on site."""
    merge_of: JobId | None = None
    """Whose outputs it merges: then it is our own, and PanDA knows nothing of it."""
    image: str = ""
    """The container image that it asks for, as the server wrote it: not checked yet; empty: none."""
    text: str = field(default="", repr=False)
    """The server's own dictionary of it, as JSON without secrets, where its payload is to see it; empty: it is not."""

    @property
    def log(self) -> OutputFile | None:
        """The log tarball, if the job has one."""
        return next((one for one in self.outputs if one.log), None)

    def archive(self, lfn: str, endpoint: str = "") -> OutputFile:
        """Give an archive of event ranges as a file: it lies where the outputs are to lie that it stands for.

        `endpoint`: where it is instead. A merge job has the outputs of the job whose archives it reads.
        """
        outputs = [one for one in self.outputs if not one.log]
        scopes = [one.scope for one in outputs] + [one.scope for one in self.inputs]
        there = endpoint or (outputs[0].endpoint if outputs else "")
        return OutputFile(lfn=lfn, scope=scopes[0] if scopes else "", endpoint=there)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """A file whose size and checksum were confirmed at its destination."""

    lfn: str
    size: int
    adler32: str
    guid: str = ""
    url: str = ""
    endpoint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PayloadOutcome:
    """How one attempt of a payload ended, as its runner wrote it. Times are wall seconds."""

    result: PayloadResult
    exit_code: int | None = None
    signal: int | None = None
    reason: str = ""
    node: str = ""
    started_at: float = 0.0
    ended_at: float = 0.0
    cpu_s: float = 0.0
    max_rss_kb: int = 0
    metadata: str = ""
    """The payload's own jobReport.json, unread, if it wrote one of a decent size."""
    error_code: int = 0
    """The payload's own for `reason`, as a pilot gives it to PanDA; 0: it gave none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What became of a job. A change makes a new one; only `engine.lifecycle` makes changes."""

    spec: JobSpec
    queue: str
    state: JobState = JobState.RECEIVED
    since: float = 0.0
    """Wall seconds: when it came into its state."""
    received_at: float = 0.0
    attempt: Attempt = Attempt(0)
    allocation: AllocationId | None = None
    tries: int = 0
    """How often staging in or out failed for a transient reason, since the last success."""
    infrastructure_losses: int = 0
    """How often an allocation was lost under it. Never counts as a payload's attempt."""
    refusals: int = 0
    """How often an allocation that it belonged to never started: refused, or lost in the queue."""
    ranges_lost: int = 0
    """Event ranges that the server gave out, with an answer that never came here."""
    not_before: float = 0.0
    """Wall seconds: when it may be tried again."""
    kill_requested: str = ""
    """Who asked us to stop it; empty: nobody."""
    outcome: PayloadOutcome | None = None
    stored: tuple[StoredFile, ...] = field(default=())
    """The outputs and log confirmed at their destination."""
    error: str = ""
    """Why it is where it is, in a sentence for its owner."""
    error_code: int = 0
    """PanDA's (the pilot's) code for `error`."""

    @property
    def id(self) -> JobId:
        """PanDA's PandaID."""
        return self.spec.panda_id
