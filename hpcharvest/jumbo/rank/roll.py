"""Which rank is which node, and what a rank hides from the programs that it starts: pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from hpcharvest.errors import ConfigurationError

SETTINGS_VARIABLE: Final = "HPCHARVEST_MPI_SETTINGS"
"""Names of the settings for an MPI library that were there before its launcher, separated by commas."""
_OF_A_RANK: Final = re.compile(
    r"(PMI|PMIX|OMPI|PRTE|HYDI)_|PMI2?$|MPI_LOCAL(N?RANKS|RANKID)$|PALS_(RANKID|LOCAL_RANKID)$"
)
"""By these a launcher tells a process that it is a rank. A program of MPI that found them would take itself for it."""
_SETTING: Final = re.compile(r"(PMIX|OMPI|PRTE)_MCA_|PMI_(NO|MMAP|DEBUG)_")
"""People set such ones, too: those stay."""


def settings(environment: Mapping[str, str]) -> str:
    """Name the settings of an MPI library that somebody made, as the value of `SETTINGS_VARIABLE`."""
    return ",".join(sorted(name for name in environment if _SETTING.match(name)))


def of_a_rank(environment: Mapping[str, str]) -> list[str]:
    """Name the variables that are to be taken out before a rank starts a program."""
    own = set(environment.get(SETTINGS_VARIABLE, "").split(","))
    return [name for name in environment if name == SETTINGS_VARIABLE or (_OF_A_RANK.match(name) and name not in own)]


def nodes_of(ranks: Sequence[str], nodes: Sequence[str]) -> tuple[str, ...]:
    """Give the node of each rank, from the names that the ranks' hosts have for themselves.

    If these do not tell all nodes apart, the ranks are in the order of the nodes, as launchers have them.
    ConfigurationError: there is not one rank for each node.
    """
    if len(ranks) != len(nodes):
        raise ConfigurationError(
            f"the launcher started {len(ranks)} ranks on {len(nodes)} nodes, where one on each is wanted"
        )
    short = {node.partition(".")[0]: node for node in nodes}
    told = [short.get(host.partition(".")[0], "") for host in ranks]
    return tuple(told) if sorted(told) == sorted(nodes) else tuple(nodes)
