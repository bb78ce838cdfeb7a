"""What a demonstration came to, for people and programs."""

from __future__ import annotations

from dataclasses import dataclass

from hpcharvest.cli.demo.audit import Evidence, Order
from hpcharvest.cli.demo.findings import Disagreement
from hpcharvest.cli.demo.range_audit import RangeEvidence
from hpcharvest.cli.page import Listing, Page, Record, Words
from hpcharvest.model.words import counted

COLUMNS = ("job", "process", "events", "cross_section_pb", "nodes", "size", "adler32", "verdict")
RANGE_COLUMNS = ("job", "process", "ranges", "events", "archives", "allocations", "killed", "begun_again", "verdict")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a demonstration came to."""

    evidence: Evidence
    disagreements: tuple[Disagreement, ...]
    kills: int
    seconds: float


def page(outcome: Outcome) -> Page:
    """Give a row for every job, then the disagreements, if there are any, and one line that says it all."""
    orders, ranges, wrong = outcome.evidence.orders, outcome.evidence.ranges, outcome.disagreements
    told = [{"job": one.job, "what": one.what} for one in wrong]
    disagreements = [Listing(name="disagreements", columns=("job", "what"), records=told)] if wrong else []
    jumbo = [_range_record(one, outcome) for one in ranges]
    return Page(
        parts=[
            Listing(name="jobs", columns=COLUMNS, records=[_record(one, outcome) for one in orders]),
            *([Listing(name="jumbo", columns=RANGE_COLUMNS, records=jumbo)] if jumbo else []),
            *disagreements,
            Words(name="verdict", text=_verdict(outcome)),
        ],
        ids=[one.job for one in orders] + [one.order.job for one in ranges],
    )


def _range_record(ranges: RangeEvidence, outcome: Outcome) -> Record:
    return {
        "job": ranges.order.job,
        "process": ranges.order.process,
        "ranges": len(ranges.booked),
        "events": ranges.events,
        "archives": len(ranges.archives),
        "allocations": ranges.allocations,
        "killed": len(ranges.killed),
        "begun_again": ranges.again,
        "verdict": _judged(ranges.order.job, outcome),
    }


def _judged(job: int, outcome: Outcome) -> str:
    wrong = sum(one.job == job for one in outcome.disagreements)
    return counted(wrong, "disagreement") if wrong else "agrees"


def _record(order: Order, outcome: Outcome) -> Record:
    evidence = outcome.evidence
    seen, content = evidence.physics[order.output], evidence.storage.get(order.output)
    kept = evidence.ledger.get(order.job)
    return {
        "job": order.job,
        "process": order.process,
        "events": seen.events,
        "cross_section_pb": float(f"{seen.cross_section_pb:.4g}"),
        "nodes": kept.nodes if kept else "",
        "size": content.size if content else None,
        "adler32": content.adler32 if content else None,
        "verdict": _judged(order.job, outcome),
    }


def _verdict(outcome: Outcome) -> str:
    jobs = counted(len(outcome.evidence.orders) + len(outcome.evidence.ranges), "job")
    crashes = "crash" if outcome.kills == 1 else "crashes"
    kills = f", through {outcome.kills} {crashes} of the controller" if outcome.kills else ""
    if outcome.disagreements:
        return f"{counted(len(outcome.disagreements), 'disagreement')} in {jobs}{kills}"
    jobs = counted(len(outcome.evidence.orders), "job")
    events = sum(one.events for one in outcome.evidence.physics.values())
    return (
        f"{jobs}, {events} collisions, each run once and reported once{kills}{_ranges_verdict(outcome)}: server, "
        f"storage, local ledger and physics agree ({outcome.seconds:.0f} s)"
    )


def _ranges_verdict(outcome: Outcome) -> str:
    return "".join(
        f"; {counted(len(one.booked), 'event range')}, {one.events} collisions, in {one.allocations} allocations, "
        f"{len(one.killed)} of them killed, each finished exactly once"
        for one in outcome.evidence.ranges
    )
