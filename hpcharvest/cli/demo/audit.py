"""The audit of a demonstration: do server, storage, local ledger and physics tell the same story? Pure.

What each of them says is gathered elsewhere (`evidence`); here it is only compared, and every difference is named.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from hpcharvest.cli.demo.findings import Content, Disagreement
from hpcharvest.cli.demo.range_audit import RangeEvidence, audit_ranges
from hpcharvest.model.states import JobState
from hpcharvest.sandbox.states import JobState as ServerState


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A job as it was submitted; `output` and `log` are the names of the files that it owes."""

    job: int
    process: str
    output: str
    log: str
    events: int

    @property
    def files(self) -> tuple[str, str]:
        """All files that the job owes."""
        return self.output, self.log


@dataclass(frozen=True, slots=True, kw_only=True)
class Booked:
    """What the server's books say of a job."""

    state: str
    final_reports: int
    output_report: str
    """The controller's last word about the files, as it came: JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What the local ledger says of a job. `report_owed`: the server has not acknowledged the last report."""

    state: str
    files: Mapping[str, Content]
    report_owed: bool
    nodes: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Physics:
    """What is in a file of collisions; `problem` says why it cannot be trusted, and is empty if it can."""

    events: int = 0
    cross_section_pb: float = 0.0
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything that the audit looks at: jobs by PandaID, files by name."""

    orders: tuple[Order, ...]
    books: Mapping[int, Booked]
    double_reports: int
    ledger: Mapping[int, Kept]
    storage: Mapping[str, Content]
    """What lies in the outputs storage, read again from end to end."""
    physics: Mapping[str, Physics]
    starts: Mapping[int, int]
    """How often each payload began, by its own count."""
    ranges: tuple[RangeEvidence, ...] = ()
    """What is known of the event ranges of each event-service job."""


def audit(evidence: Evidence) -> tuple[Disagreement, ...]:
    """Give every disagreement; none means that all tell the same story, and a good one."""
    found = [Disagreement(None, what) for what in _strangers(evidence)]
    for order in evidence.orders:
        found += [Disagreement(order.job, what) for check in _CHECKS for what in check(order, evidence)]
    for one in evidence.ranges:
        job = one.order.job
        found += [Disagreement(job, what) for check in (_booked, _kept) for what in check(job, evidence)]
        found += audit_ranges(one)
    return tuple(found)


def _strangers(evidence: Evidence) -> Iterator[str]:
    if not evidence.orders:
        yield "no job was submitted, so nothing is proven"
    if evidence.double_reports:
        yield f"the server counts {evidence.double_reports} final reports too many"
    events = [one.order for one in evidence.ranges]
    jobs = {order.job for order in evidence.orders} | {order.job for order in events}
    files = {name for order in evidence.orders for name in order.files} | {order.log for order in events}
    files |= {name for one in evidence.ranges for name in one.archives}  # which have an audit of their own
    for place, known in (("the server's books", evidence.books), ("the local ledger", evidence.ledger)):
        for job in sorted(known.keys() - jobs):
            yield f"{place}: job {job} is there, which nobody submitted"
    for name in sorted(evidence.storage.keys() - files):
        yield f"the outputs storage: {name} is there, which nobody ordered"


def _booked(job: int, evidence: Evidence) -> Iterator[str]:
    booked = evidence.books.get(job)
    if booked is None:
        yield "the server does not know it"
        return
    if booked.state != ServerState.FINISHED:
        yield f"the server has it as {booked.state}"
    if booked.final_reports != 1:
        yield f"the server got {booked.final_reports} final reports"


def _kept(job: int, evidence: Evidence) -> Iterator[str]:
    kept = evidence.ledger.get(job)
    if kept is None:
        yield "the local ledger does not know it"
        return
    if kept.state != JobState.FINISHED:
        yield f"the local ledger has it as {kept.state}"
    if kept.report_owed:
        yield "the local ledger still owes the server a report"


def _server(order: Order, evidence: Evidence) -> Iterator[str]:
    yield from _booked(order.job, evidence)
    booked = evidence.books.get(order.job)
    if booked is None:
        return
    listed = _listed(booked.output_report)
    if listed is None:
        yield "the output report at the server cannot be read"
    else:
        yield from _compared("the server's output report", order, listed, evidence.storage)


def _ledger(order: Order, evidence: Evidence) -> Iterator[str]:
    yield from _kept(order.job, evidence)
    kept = evidence.ledger.get(order.job)
    if kept is not None:
        yield from _compared("the local ledger", order, kept.files, evidence.storage)


def _storage(order: Order, evidence: Evidence) -> Iterator[str]:
    for name in order.files:
        if name not in evidence.storage:
            yield f"{name} is not in the outputs storage"
        elif evidence.storage[name].size == 0:
            yield f"{name} is empty"


def _physics(order: Order, evidence: Evidence) -> Iterator[str]:
    seen = evidence.physics.get(order.output)
    if seen is None:
        yield f"{order.output} was not checked"
    elif seen.problem:
        yield f"{order.output}: {seen.problem}"
    else:
        if seen.events != order.events:
            yield f"{order.output} has {seen.events} events, {order.events} were asked for"
        if not seen.cross_section_pb > 0:  # also true for nan
            yield f"{order.output} has a cross-section of {seen.cross_section_pb} pb"


def _once(order: Order, evidence: Evidence) -> Iterator[str]:
    starts = evidence.starts.get(order.job, 0)
    if starts != 1:
        yield f"its payload was started {starts} times"


_CHECKS: tuple[Callable[[Order, Evidence], Iterator[str]], ...] = (_server, _ledger, _storage, _physics, _once)


def _compared(who: str, order: Order, told: Mapping[str, Content], storage: Mapping[str, Content]) -> Iterator[str]:
    """Compare what somebody tells of a job's files with what lies in the storage."""
    for name in order.files:
        if name not in told:
            yield f"{who} does not list {name}"
        elif name in storage and told[name] != storage[name]:
            yield f"{who} says {told[name].shown()} of {name}, the storage has {storage[name].shown()}"
    for name in sorted(told.keys() - set(order.files)):
        yield f"{who} lists {name}, which the job does not owe"


def _listed(report: str) -> dict[str, Content] | None:
    """Read an output report: a JSON object of files with `fsize` and `adler32`; None if it is none."""
    try:
        return {name: Content(int(told["fsize"]), str(told["adler32"])) for name, told in json.loads(report).items()}
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
