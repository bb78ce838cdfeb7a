"""Whoever looks after a node's payloads does not stop to."""

import os
import subprocess
import sys
import time

import pytest

from hpcharvest.jumbo import kin
from hpcharvest.jumbo.node.monitor import Monitor
from hpcharvest.jumbo.slots.sweep import Sweep


def test_a_look_that_fails_is_not_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    real, looks = kin.marks_of, 0

    def marks_of(tag: str) -> dict[int, str]:
        nonlocal looks
        looks += 1
        if looks == 1:
            raise OSError(24, "Too many open files")
        return real(tag)

    monkeypatch.setattr(kin, "marks_of", marks_of)
    sweep = Sweep(f"monitor-{os.getpid()}", 0, "n1", 0)
    environment = {kin.MARK_VARIABLE: sweep.next_mark()}
    left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], env=environment)
    sweep.bury(environment[kin.MARK_VARIABLE])
    monitor = Monitor(sweep, 0.05)
    monitor.start()
    end = time.monotonic() + 30
    while left.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    ended = left.poll()
    monitor.close()
    left.kill()
    left.wait()
    assert ended == -9, "swept by the second look"
