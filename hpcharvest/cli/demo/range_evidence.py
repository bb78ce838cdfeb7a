"""Gathers what the audit of event ranges looks at: the server's account, archives in the storage, notes of ours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hpcharvest.cli.demo.findings import Content
from hpcharvest.cli.demo.mishap import NodeLoss, folders, serving
from hpcharvest.cli.demo.orders import SUFFIX, starts
from hpcharvest.cli.demo.range_audit import ArchiveSeen, EventOrder, RangeBooked, RangeEvidence
from hpcharvest.jumbo.node import spool
from hpcharvest.model.ids import AllocationId
from hpcharvest.sandbox.world import SCOPE, World


def gather_ranges(
    world: World, order: EventOrder, allocations: Iterable[AllocationId], mishap: NodeLoss | None
) -> RangeEvidence:
    """Ask everybody about the one event-service job of a world; `allocations`: those there were."""
    account = world.events()
    place = world.outputs / SCOPE
    zips = [row for row in account["zips"] if row["job_id"] == order.job]
    told = {row["lfn"]: Content(row["size"] or 0, row["adler32"] or "") for row in zips}
    paths = {place / name for name in told if (place / name).exists()} | set(place.glob("*.tar"))
    return RangeEvidence(
        order=order,
        booked=tuple(_booked(row) for row in account["ranges"] if row["jobset_id"] == order.job),
        told=told,
        archives=_archives(paths, account["ranges"]),
        begun=_begun(starts(world.folder) / str(order.job)),
        allocations=serving(world, allocations),
        killed=tuple(map(str, mishap.killed)) if mishap else (),
        accident=mishap is not None,
        durable=_durable(folders(world).allocation(number) for number in mishap.killed) if mishap else frozenset(),
    )


def _booked(row: Mapping[str, Any]) -> RangeBooked:
    return RangeBooked(
        name=row["name"] or row["range"],
        state=row["state"],
        archive=row["zip"] or "",
        finished=len(row["finished"]),
        unanswered=row["unanswered"],
    )


def _archives(paths: Collection[Path], ranges: Sequence[Mapping[str, Any]]) -> dict[str, ArchiveSeen]:
    """Read archives from end to end, with all collisions in them."""
    from hpcharvest.cli.demo_data.check_archives import check_archive, slices_of

    slices = slices_of(ranges)
    found = {}
    for path in sorted(paths):
        summary = check_archive(path, slices)
        found[path.name] = ArchiveSeen(
            content=Content(summary.size, summary.adler32),
            ranges=dict(summary.ranges),
            events=summary.events,
            problems=summary.problems,
        )
    return found


def _begun(note: Path) -> Counter[str]:
    """Count the lines that the payload wrote at each start, which end with the range's name and a suffix."""
    lines = note.read_text(encoding="utf-8").splitlines() if note.exists() else []
    return Counter(line.removesuffix(SUFFIX).rpartition(".")[2] for line in lines)


def _durable(places: Iterable[Path]) -> frozenset[str]:
    """Read from the spools in allocations' folders which ranges were done there."""
    lines = (line for place in places for path in spool.spools(place) for line in spool.read(path))
    return frozenset(line.id for line in lines if isinstance(line, spool.DoneLine))
