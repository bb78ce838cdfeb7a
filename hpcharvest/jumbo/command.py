"""The words by which a payload is started: its own, or with the site's launcher before them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hpcharvest.jumbo.folder import STARTED
from hpcharvest.messenger.protocol import Task

_RANKS: Final = ("SLURM_PROCID", "PMIX_RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "PALS_RANKID", "ALPS_APP_PE")
"""Where launchers tell a process which rank it is."""
_FIRST: Final = "".join(f"${{{name}:-" for name in _RANKS) + "0" + "}" * len(_RANKS)
_WITNESS: Final = ("/bin/sh", "-c", f'[ "{_FIRST}" != 0 ] || : >"$0"; exec "$@"')
"""Leaves a file, whose name follows, and becomes the payload: so a launcher that fails by itself is told from a payload
that does. One rank does it, where the launcher says which is the first."""


def words(task: Task, nodes: Sequence[str], launcher: Sequence[str], *, here: bool) -> list[str]:
    """Give the argv of a payload on these nodes. `here`: its first node is this host, so that no launcher is needed.

    Without a launcher there is no other way than to start it here.
    """
    if not launcher or (here and not task.mpi and len(nodes) == 1):
        return list(task.argv)
    per_node = task.ranks_per_node if task.mpi else 1
    return launched(launcher, nodes, per_node=per_node, cores=task.cores, gpus=task.gpus) + list(task.argv)


def launched(launcher: Sequence[str], nodes: Sequence[str], *, per_node: int, cores: int, gpus: int) -> list[str]:
    """Give the launcher's words for so many ranks on each of these nodes. Cores and GPUs are those of a node."""
    values = {
        "{hosts}": ",".join(nodes),
        "{slots}": ",".join(f"{node}:{per_node}" for node in nodes),
        "{nodes}": str(len(nodes)),
        "{ranks}": str(per_node * len(nodes)),
        "{ranks_per_node}": str(per_node),
        "{cores}": str(max(1, cores // per_node)),
        "{node_cores}": str(cores),
        "{all_cores}": str(cores * len(nodes)),
        "{gpus}": str(gpus),
    }
    return [_filled(word, values) for word in launcher]


def is_launched(argv: Sequence[str], task: Task) -> bool:
    """Whether it is a launcher that starts the payload."""
    return len(argv) > len(task.argv)


def witnessed(argv: Sequence[str], task: Task) -> list[str]:
    """Put the witness of its start between a launcher and the payload."""
    launcher = len(argv) - len(task.argv)
    return [*argv[:launcher], *witness(f"{task.folder}/{STARTED}"), *task.argv]


def witness(path: str) -> list[str]:
    """Give the words of the witness, which leaves this file; the payload's own follow."""
    return [*_WITNESS, path]


def _filled(word: str, values: dict[str, str]) -> str:
    for placeholder, value in values.items():
        word = word.replace(placeholder, value)
    return word
