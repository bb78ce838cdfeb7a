"""Gathers what the audit looks at: from the server, the storage, the local ledger and the files of collisions."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from pathlib import Path

from hpcharvest.cli.demo.audit import Booked, Evidence, Order, Physics
from hpcharvest.cli.demo.findings import Content
from hpcharvest.cli.demo.ledger import Ledger
from hpcharvest.cli.demo.orders import starts
from hpcharvest.cli.demo.range_audit import RangeEvidence
from hpcharvest.errors import JobError
from hpcharvest.sandbox.world import SCOPE, World

_CHUNK = 1 << 20


def gather(world: World, orders: tuple[Order, ...], ledger: Ledger, ranges: tuple[RangeEvidence, ...] = ()) -> Evidence:
    """Ask everybody; `ranges`: what was gathered of event-service jobs."""
    place = world.outputs / SCOPE
    return Evidence(
        orders=orders,
        books={
            row["panda_id"]: Booked(
                state=row["state"],
                final_reports=row["final_reports"],
                output_report=row["output_report"] or "",
            )
            for row in world.jobs()
        },
        double_reports=world.books()["double_reports"],
        ledger=ledger.all(),
        storage=_stored(world.outputs, place),
        physics={order.output: _physics(place / order.output) for order in orders},
        starts=_starts(starts(world.folder), (order.job for order in orders)),
        ranges=ranges,
    )


def content_of(path: Path) -> Content:
    """Read a file from end to end, for its size and adler32."""
    size, checksum = 0, 1
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            size, checksum = size + len(chunk), zlib.adler32(chunk, checksum)
    return Content(size, f"{checksum:08x}")


def _stored(root: Path, place: Path) -> dict[str, Content]:
    """Give all that lies in the storage: by name what is where it belongs, by its path what is not."""
    return {
        path.name if path.parent == place else str(path.relative_to(root)): content_of(path)
        for path in sorted(root.rglob("*"))
        if not path.is_dir()
    }


def _physics(path: Path) -> Physics:
    from hpcharvest.cli.demo_data.check_collisions import check_collisions

    try:
        seen = check_collisions(path)
    except (JobError, OSError) as error:
        return Physics(problem=str(error))
    return Physics(events=seen.events, cross_section_pb=seen.cross_section_pb)


def _starts(folder: Path, jobs: Iterable[int]) -> dict[int, int]:
    notes = {job: folder / str(job) for job in jobs}
    return {job: len(note.read_text().splitlines()) for job, note in notes.items() if note.exists()}
