"""What a submission asks for, from `-l` to nodes of the embedded batch system. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hpcharvest.sandbox.batch.faces.pbs_words import CommandError, seconds

if TYPE_CHECKING:
    from collections.abc import Mapping

ILLEGAL = CommandError(168, "qsub: Illegal attribute or resource value")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The chunks of a submission; `walltime_s` is None if nothing was said."""

    chunks: int
    ncpus: int
    mpiprocs: int
    place: str
    select: str
    walltime_s: float | None
    ngpus: int = 0

    def per_node(self, cores: int) -> int:
        """Give how many chunks come to one node: with `scatter` one, else as many as fit; 0 if none does."""
        if self.ncpus > cores:
            return 0
        return 1 if "scatter" in self.place else max(1, cores // max(1, self.ncpus))

    def nodes(self, cores: int) -> int | None:
        """Give how many nodes that takes, None if a chunk fits on none."""
        per_node = self.per_node(cores)
        return -(-self.chunks // per_node) if per_node else None


def wanted(resources: Mapping[str, str]) -> Wanted:
    """Read what came with `-l`, in the words of PBS (select, place) or of Torque (nodes); CommandError for nonsense."""
    walltime = resources.get("walltime")
    try:
        if "nodes" in resources:
            count, chunk = _chunk(resources["nodes"])
            ppn = int(chunk.get("ppn", 1))
            ncpus, mpiprocs, place, ngpus = ppn, ppn, "scatter", int(chunk.get("gpus", 0))
            select = f"{count}:ncpus={ppn}:mpiprocs={ppn}"
        else:
            select = resources.get("select", f"1:ncpus={resources.get('ncpus', 1)}")
            count, chunk = _chunk(select)
            ncpus, ngpus = int(chunk.get("ncpus", 1)), int(chunk.get("ngpus", 0))
            mpiprocs, place = int(chunk.get("mpiprocs", 1)), resources.get("place", "free")
        walltime_s = None if walltime is None else seconds(walltime)
    except ValueError:
        raise ILLEGAL from None
    if count < 1:
        raise ILLEGAL
    return Wanted(
        chunks=count,
        ncpus=ncpus,
        mpiprocs=mpiprocs,
        place=place,
        select=select,
        walltime_s=walltime_s,
        ngpus=ngpus,
    )


def read_resources(lists: list[str]) -> dict[str, str]:
    """Read the values of all `-l`, the last one of a name counting."""
    pairs = [part.partition("=") for one in lists for part in one.split(",") if part]
    return {name.strip(): value.strip() for name, _, value in pairs}


def _chunk(text: str) -> tuple[int, dict[str, str]]:
    """Read `N:name=value:…`; a sum of different chunks is beyond this face."""
    if "+" in text:
        raise CommandError(2, "qsub: this face of the embedded batch system knows chunks of one kind only")
    first, *rest = text.split(":")
    count = int(first) if first.isdecimal() else 1
    pairs = (part.partition("=") for part in (rest if first.isdecimal() else [first, *rest]))
    return count, {name: value for name, _, value in pairs}
