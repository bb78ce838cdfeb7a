"""Payloads of the kind `callable`: `module:function`, served by our own `worker`."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Final

import hpcharvest
from hpcharvest.jumbo.slots.place import Place
from hpcharvest.jumbo.slots.service import ServiceSlot
from hpcharvest.messenger.ranges import Channel, EventTask

_BOOT: Final = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); "
    "from hpcharvest.jumbo.slots.worker import main; sys.exit(main(sys.argv[1:]))"
)
"""Isolated, and with this very hpcharvest, be it a folder or a zip."""


def callable_slot(task: EventTask, where: Place) -> ServiceSlot:
    """Make a slot whose payload is the worker, in this Python."""
    root = str(Path(hpcharvest.__file__).parents[1])
    argv = (sys.executable, "-I", "-c", _BOOT, root, *task.argv)
    return ServiceSlot(dataclasses.replace(task, argv=argv, channel=Channel.SOCKET), where, rich=True)
