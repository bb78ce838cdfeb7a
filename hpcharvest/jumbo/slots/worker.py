"""A ready-made service: a function of a module, imported once, called with each range.

    worker module:function

It speaks AthenaMP's lines over the socket named in PILOT_EVENTRANGECHANNEL. The function gets a dictionary with
eventRangeID, startEvent, lastEvent, LFN, GUID, scope, PFN, output, seed, PandaID and taskID, and returns the path of
the output, which lies in the folder in which it is called; `output` is a good one. An exception is a failure, and ends
the process: the next range has a fresh one. Modules are looked for in the folders of PYTHONPATH, too, although Python
was started isolated.
"""

from __future__ import annotations

import importlib
import io
import json
import logging
import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

log = logging.getLogger(__name__)

USAGE: Final = 64
Work = Callable[[dict[str, Any]], Any]


def main(arguments: Sequence[str]) -> int:
    """Serve until there are no more ranges, or one failed; give the exit code."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    if len(arguments) != 1 or ":" not in arguments[0]:
        log.error("one argument is wanted: module:function")
        return USAGE
    sys.path += [one for one in os.environ.get("PYTHONPATH", "").split(os.pathsep) if one]
    module, _, name = arguments[0].partition(":")
    work: Work = getattr(importlib.import_module(module), name)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
        channel.connect(os.environ["PILOT_EVENTRANGECHANNEL"])
        with channel.makefile("rwb") as lines:
            return _serve(work, lines)


def _serve(work: Work, lines: io.BufferedRWPair) -> int:
    while True:
        lines.write(b"Ready for events\n")
        lines.flush()
        line = lines.readline()
        if not line.startswith(b"["):
            return 0  # there are no more, or nobody is there
        for one in json.loads(line):
            said, good = _do(work, one)
            lines.write(said.encode(errors="replace") + b"\n")
            if not good:
                return 1


def _do(work: Work, one: dict[str, Any]) -> tuple[str, bool]:
    """Do a range; give the line that says what became of it, and whether it is done."""
    began, cpu_began = time.monotonic(), _cpu_s()
    try:
        path = str(Path(work(one)).absolute())
        if "\n" in path:
            raise ValueError("the path of its output has a line's end in it")  # noqa: TRY301  # told as a failure
    except Exception as error:
        log.exception("range %s failed", one["eventRangeID"])
        said = " ".join(f"{error}".split())
        return f"ERR_{type(error).__name__.upper()} {one['eventRangeID']}: {said}", False
    cpu_s, wall_s = _cpu_s() - cpu_began, time.monotonic() - began
    return f"{path},ID:{one['eventRangeID']},CPU:{cpu_s:.3f},WALL:{wall_s:.3f}", True


def _cpu_s() -> float:
    """Tell the CPU seconds of this process and of its children that ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
