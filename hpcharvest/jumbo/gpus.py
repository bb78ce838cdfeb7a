"""How a payload is bound to its GPUs: pure."""

from __future__ import annotations

from collections.abc import Mapping

from hpcharvest.messenger.protocol import Manifest


def bound(manifest: Manifest, gpus: int, surroundings: Mapping[str, str], *, here: bool = True) -> dict[str, str]:
    """Give the variable that binds a payload to these GPUs (a bit for each); nothing if the manifest names none.

    Where the batch system has named the allocation's GPUs in that variable, one for each that there should be, they
    keep these names. `here`: all its GPUs are of this host; elsewhere, names with letters (`GPU-…`) mean nothing.
    """
    variable = manifest.gpu_variable
    if not variable:
        return {}
    told = [name for name in surroundings.get(variable, "").split(",") if name]
    meant = here or not any(one.isalpha() for name in told for one in name)
    names = (
        told if meant and len(told) == manifest.gpus_per_node else [str(one) for one in range(manifest.gpus_per_node)]
    )
    return {variable: ",".join(name for one, name in enumerate(names) if gpus >> one & 1)}
