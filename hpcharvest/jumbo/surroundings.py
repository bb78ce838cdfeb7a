"""What the batch script tells the runner about where it is, by environment variables."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hpcharvest.errors import ConfigurationError
from hpcharvest.messenger.protocol import (
    BATCH_ID_VARIABLE,
    DEADLINE_VARIABLE,
    NODES_VARIABLE,
    RESTART_VARIABLE,
    VIRTUAL_NODES_VARIABLE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """Where the runner is, and for how long."""

    nodes: tuple[str, ...]
    """In the batch system's order; the runner is on the first."""
    virtual: bool = False
    """All the nodes are names for this very host."""
    deadline: float | None = None
    """Wall seconds when the batch system ends everything; None: never."""
    batch_id: str = ""
    restart: int = 0

    def in_order(self, nodes: Sequence[str]) -> Surroundings:
        """Give the same with the nodes in another order."""
        return dataclasses.replace(self, nodes=tuple(nodes))

    def is_here(self, node: str) -> bool:
        """Tell whether a process for this node can be started without a launcher."""
        return self.virtual or node == self.nodes[0]


def read(environment: Mapping[str, str]) -> Surroundings:
    """Read the variables named in `messenger.protocol`. ConfigurationError names the one that is wrong."""
    names = environment.get(NODES_VARIABLE, "").split(",")
    nodes = tuple(dict.fromkeys(name.strip() for name in names if name.strip()))
    return Surroundings(
        nodes=nodes or (socket.gethostname(),),
        virtual=bool(environment.get(VIRTUAL_NODES_VARIABLE)),
        deadline=_number(environment, DEADLINE_VARIABLE),
        batch_id=environment.get(BATCH_ID_VARIABLE, ""),
        restart=int(_number(environment, RESTART_VARIABLE) or 0),
    )


def _number(environment: Mapping[str, str], name: str) -> float | None:
    text = environment.get(name, "")
    try:
        return float(text) if text else None
    except ValueError:
        raise ConfigurationError(f"{name} is {text!r}, but a number is wanted: look at the batch script") from None
