"""Site files in small."""

from __future__ import annotations

from typing import Any

from hpcharvest.config.schema import About, AllocationLimits, Batch, Nodes, Site


def site(dialect: str, *, cores: int = 1, **batch: Any) -> Site:
    """Make a site with this dialect, and what else is given for its batch system."""
    return Site(
        site=About(name="here"),
        nodes=Nodes(cores=cores),
        allocation=AllocationLimits(max_walltime_s=3600),
        batch=Batch.model_validate({"dialect": dialect, **batch}),
    )
