"""What a job waits for, and since when, in one sentence. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from hpcharvest.model.allocation import Allocation
from hpcharvest.model.job import Job
from hpcharvest.model.report import Report
from hpcharvest.model.states import AllocationState, BundleState, JobState, RangeState, ReportState
from hpcharvest.model.words import counted


def duration(seconds: float) -> str:
    """Write a length of time with two digits or three: `12 s`, `34 min`, `5.2 h`, `3.1 d`."""
    if seconds < 120:
        return f"{max(0.0, seconds):.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    if seconds < 172_800:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.1f} d"


def utc(seconds: float) -> str:
    """Write a moment (wall seconds) as ISO UTC, to the second."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


TOLD = "PandaTold"
"""The journal's word for a final report that PanDA took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What must be known beside the job itself."""

    now: float
    """Wall seconds."""
    controller: bool
    """Whether a controller runs."""
    allocation: Allocation | None = None
    """The one that the job belongs to, if it does and there is a record of it; of one whose event ranges are done, one
    that lives and is to do them."""
    report: Report | None = None
    """What is owed to PanDA about it."""
    told_at: float = 0.0
    """Wall seconds when PanDA took the final report; 0: it did not, or nobody remembers."""
    configured: bool = True
    """Whether the job's queue is configured."""
    in_hand: bool = True
    """Whether its DAG is among those that Parsl has in hand."""
    dag_window: int = 0
    stage_threads: int = 0
    site: str = ""
    alive: int = 0
    """How many allocations of the site are not over."""
    max_allocations: int = 0
    ranges: Mapping[RangeState, int] = field(default_factory=dict)
    """How many event ranges it has in each state."""
    problem: str = ""
    """What keeps the oldest of its bundles that are held up."""
    serving: tuple[Allocation, ...] = ()
    """The allocations that are not over and have, or are to have, event ranges of it."""
    bundles: Mapping[BundleState, int] = field(default_factory=dict)
    show: Callable[[float], str] = utc
    """How a moment is written."""

    def since(self, moment: float) -> str:
        """Write since when something is so, and for how long."""
        return f"since {self.show(moment)} ({duration(self.now - moment)})"


def why(job: Job, known: Circumstances) -> str:
    """Say what the job waits for, since when, and who has to do something, in one sentence without a full stop."""
    sentence = " ".join(f"job {job.id} {_PHRASES[job.state](job, known)}".split())  # foreign words may have lines
    waits = not job.state.final or known.report is not None
    if waits and not known.controller:
        return f"{sentence}; but no controller runs, so nobody sees to it until `hpcharvest run` is started"
    return sentence


def _received(job: Job, known: Circumstances) -> str:
    if held := _held_up(job, known, "stage-in"):
        return held
    if not known.in_hand:
        return f"waits {known.since(job.since)} in the database for a place among the {known.dag_window} DAGs in hand"
    return f"waits {known.since(job.since)} for its inputs, which {known.stage_threads} threads stage in"


def _staged_in(job: Job, known: Circumstances) -> str:
    return _held_up(job, known, "") or f"waits {known.since(job.since)} for its DAG to come to the payload"


def _queued(job: Job, known: Circumstances) -> str:
    if held := _held_up(job, known, ""):
        return held
    back = f"; it is back in the queue because of {job.error}" if job.error else ""
    if known.alive >= known.max_allocations:
        whole = f"one of the {known.alive} allocations at {known.site} to end, which are as many as are allowed"
    else:
        whole = f"an allocation at {known.site}, where {known.alive} of {known.max_allocations} are alive"
    return f"waits {known.since(job.since)} for {whole}{back}"


def _assigned(job: Job, known: Circumstances) -> str:
    return f"waits {known.since(job.since)} for {_allocation(job, known)}{_killed(job)}"


def _running(job: Job, known: Circumstances) -> str:
    place = f"runs {known.since(job.since)} in allocation {job.allocation}"
    one = known.allocation
    if one is None:
        return f"{place}, of which there is no record{_killed(job)}"
    nodes = f" on {','.join(one.nodes)}" if one.nodes else ""
    heard = f", last heard of {duration(known.now - one.heard_at)} ago" if one.heard_at else ""
    return f"{place}{nodes}{heard}{_killed(job)}"


def _ran(job: Job, known: Circumstances) -> str:
    if held := _held_up(job, known, "stage-out"):
        return held
    return f"waits {known.since(job.since)} for its outputs, which {known.stage_threads} threads stage out"


def _over(job: Job, known: Circumstances) -> str:
    total, done = sum(known.ranges.values()), known.ranges.get(RangeState.FINISHED, 0)
    reason = f" ({job.error or f'{done} of {total} event ranges finished'})" if job.error or total else ""
    return f"{_ENDS[job.state]} at {known.show(job.since)}{reason}; {_told(known)}"


def _told(known: Circumstances) -> str:
    report = known.report
    if report is None:
        when = f" at {known.show(known.told_at)}" if known.told_at else ""
        return f"PanDA was told{when}, and nothing is owed"
    if report.problem:
        again = f", which is tried again in {duration(report.not_before - known.now)}" * (report.not_before > known.now)
        return f"it waits for PanDA to take the final report{again}: {report.problem}"
    if report.state is ReportState.SENDING:
        return f"it waits {known.since(report.since)} for PanDA's answer to the final report"
    return f"it waits {known.since(report.since)} for the final report to be sent to PanDA"


def _held_up(job: Job, known: Circumstances, stage: str) -> str:
    """Say what keeps any job that is in no allocation; empty if nothing does."""
    if not known.configured:
        return (
            f"waits {known.since(job.since)} for its queue {job.queue}, which is configured no more: "
            "configure it again, or kill the job"
        )
    if job.not_before <= known.now:
        return ""
    again = duration(job.not_before - known.now)
    if stage:
        return f"retries {stage} in {again} ({_tries(job.tries)} so far): {job.error}"
    lost, refused = job.infrastructure_losses, job.refusals
    told = [f"{counted(lost, 'allocation')} lost"] if lost else []
    told += [f"{counted(refused, 'allocation')} never started"] if refused else []
    so_far = f" ({', '.join(told)} so far)" if told else ""
    return f"is tried again in {again}{so_far}: {job.error}"


def _allocation(job: Job, known: Circumstances) -> str:
    one = known.allocation
    if one is None:
        return f"allocation {job.allocation}, of which there is no record"
    words = f"allocation {one.id}, {_ALLOCATION_PHRASES[one.state](one, known)}"
    wanted = one.cancel_requested and not one.state.final
    return f"{words}; the allocation is to be withdrawn on request of {one.cancel_requested}" if wanted else words


def _intended(one: Allocation, known: Circumstances) -> str:
    if one.batch_state.ended:
        return f"which the batch system did not take and which is being given up: {one.batch_words}"
    if one.not_before > known.now:
        again = duration(one.not_before - known.now)
        return f"whose submission is tried again in {again} ({_tries(one.submissions)} so far): {one.batch_words}"
    return "which is being submitted" if one.submissions else "which is about to be submitted"


def _submitted(one: Allocation, known: Circumstances) -> str:
    if one.batch_ended_at:
        return (
            f"which the batch system has as {one.batch_words or one.batch_state} {known.since(one.batch_ended_at)} "
            "and which is given up if it stays so"
        )
    if one.batch_words:
        return f"which the batch system has as {one.batch_words}"
    return f"which is batch job {one.batch_id} and of which the batch system has said nothing yet"


def _started(one: Allocation, known: Circumstances) -> str:
    nodes = f" on {','.join(one.nodes)}" if one.nodes else ""
    return f"which runs{nodes} {known.since(one.since)} and has not come to it yet"


def _ended(one: Allocation, _known: Circumstances) -> str:
    return f"which is over ({one.outcome or 'nobody knows how'}) and gives it back to the queue"


def _served(job: Job, known: Circumstances) -> str:
    """Say how far its ranges are, and what they wait for."""
    ready, fed = known.ranges.get(RangeState.READY, 0), known.ranges.get(RangeState.FED, 0)
    over = [f"{number} {state}" for state, number in known.ranges.items() if number and state not in _RANGES_OPEN]
    told = ", ".join([f"{ready} ready", f"{fed} in allocations", *over])
    if job.ranges_lost:
        told += f", {job.ranges_lost} lost with an answer of PanDA's"
    parts = [f"has event ranges being done {known.since(job.since)}: {told}", *_serving(known)]
    if owed := known.bundles.get(BundleState.STORED, 0) + known.bundles.get(BundleState.SENDING, 0):
        parts.append(f"PanDA is owed the outcomes of {counted(owed, 'bundle')}")
    if closed := known.bundles.get(BundleState.CLOSED, 0):
        parts.append(f"{counted(closed, 'archive')} on the way to storage")
    if known.problem and (owed or closed):
        parts.append(f"held up by: {known.problem}")
    if not known.configured:
        parts.append(f"its queue {job.queue} is configured no more: configure it again, or kill the job")
    elif job.not_before > known.now:
        parts.append(f"another allocation is asked for in {duration(job.not_before - known.now)}: {job.error}")
    elif not fed and (ready or not (owed or closed)):
        parts.append(_idle(known))
    return f"{'; '.join(parts)}{_killed(job)}"


def _idle(known: Circumstances) -> str:
    """Say what event ranges wait for of which no allocation has any."""
    one = known.allocation
    if one is None:
        return f"no allocation is to do any: {known.alive} of {known.max_allocations} are alive at {known.site}"
    if one.state is AllocationState.RUNNING:
        return f"allocation {one.id} runs {known.since(one.since)} and waits for ranges that PanDA is asked for"
    return f"they wait for allocation {one.id}, {_ALLOCATION_PHRASES[one.state](one, known)}"


def _serving(known: Circumstances) -> list[str]:
    """Say how many allocations do its ranges or wait for nodes, and which is over, as the batch system says."""
    over = [one for one in known.serving if one.batch_ended_at]
    running = sum(one.state is AllocationState.RUNNING for one in known.serving if one not in over)
    waiting = len(known.serving) - len(over) - running
    said = [f"{number} {what}" for number, what in ((running, "running"), (waiting, "not started yet")) if number]
    if over:
        first = f"allocation {over[0].id} as {over[0].batch_words or over[0].batch_state}"
        said.append(f"{len(over)} over, says the batch system, which has {first} {known.since(over[0].batch_ended_at)}")
    return [f"its allocations: {', '.join(said)}"] if said else []


_RANGES_OPEN = frozenset({RangeState.READY, RangeState.FED})


def _killed(job: Job) -> str:
    return f"; it is to be stopped on request of {job.kill_requested}" if job.kill_requested else ""


def _tries(number: int) -> str:
    return counted(number, "try", "tries")


_PHRASES: dict[JobState, Callable[[Job, Circumstances], str]] = {
    JobState.RECEIVED: _received,
    JobState.STAGED_IN: _staged_in,
    JobState.QUEUED: _queued,
    JobState.ASSIGNED: _assigned,
    JobState.RUNNING: _running,
    JobState.SERVED: _served,
    JobState.RAN: _ran,
    JobState.FINISHED: _over,
    JobState.FAILED: _over,
    JobState.CANCELLED: _over,
}
_ENDS = {JobState.FINISHED: "finished", JobState.FAILED: "failed", JobState.CANCELLED: "was cancelled"}
_ALLOCATION_PHRASES: dict[AllocationState, Callable[[Allocation, Circumstances], str]] = {
    AllocationState.INTENDED: _intended,
    AllocationState.SUBMITTED: _submitted,
    AllocationState.RUNNING: _started,
    AllocationState.ENDED: _ended,
}
