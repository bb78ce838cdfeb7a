"""The words by which a payload is started: its own, or with the site's launcher before them."""

from __future__ import annotations

from collections.abc import Sequence

from hpcharvest.messenger.protocol import Task


def words(task: Task, nodes: Sequence[str], launcher: Sequence[str], *, here: bool) -> list[str]:
    """Give the argv of a payload on these nodes. `here`: its first node is this host, so that no launcher is needed.

    Without a launcher there is no other way than to start it here.
    """
    if not launcher or (here and not task.mpi and len(nodes) == 1):
        return list(task.argv)
    per_node = task.ranks_per_node if task.mpi else 1
    values = {
        "{hosts}": ",".join(nodes),
        "{slots}": ",".join(f"{node}:{per_node}" for node in nodes),
        "{nodes}": str(len(nodes)),
        "{ranks}": str(per_node * len(nodes)),
        "{ranks_per_node}": str(per_node),
        "{cores}": str(max(1, task.cores // per_node)),
        "{node_cores}": str(task.cores),
        "{all_cores}": str(task.cores * len(nodes)),
        "{gpus}": str(task.gpus),
    }
    return [_filled(word, values) for word in launcher] + list(task.argv)


def _filled(word: str, values: dict[str, str]) -> str:
    for placeholder, value in values.items():
        word = word.replace(placeholder, value)
    return word
