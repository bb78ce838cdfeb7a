"""Lets what a launcher's process starts be no process of that launcher."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from pathlib import Path

from hpcharvest.jumbo.rank import roll


def hide(environment: MutableMapping[str, str]) -> None:
    """Take out of the environment what tells a rank that it is one, and keep what its launcher hears from children.

    A program of MPI that found either would take itself for the rank, and a launcher waits for all who hold its pipes.
    """
    for name in roll.of_a_rank(environment):
        del environment[name]
    with os.scandir("/proc/self/fd") as found:
        opened = [int(one.name) for one in found]
    for descriptor in opened:
        # One is that of the look itself, and gone.
        if descriptor > 2 and Path(f"/proc/self/fd/{descriptor}").exists():
            os.set_inheritable(descriptor, False)
