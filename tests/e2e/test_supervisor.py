"""Heads that are killed, and the next ones."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hpcharvest.messenger.protocol import ExitCode

PROGRAM = """
import os, signal, sys, time
from pathlib import Path
from hpcharvest.jumbo.bell import Bell
from hpcharvest.jumbo.supervisor import Supervisor
from hpcharvest.messenger.protocol import ExitCode

folder, deaths = Path(sys.argv[1]), int(sys.argv[2])

def head(life):
    (folder / f"head.{life}").write_text(str(os.getpid()))
    with Bell() as bell:
        if life < deaths:
            os.kill(os.getpid(), signal.SIGKILL)
        (folder / "ready").touch()
        while not bell.asked_to_leave:
            bell.wait(5)
        (folder / "heard").write_text(bell.asked_to_leave.name)
    return ExitCode.FENCED

sys.exit(Supervisor(head).supervise())
"""


def start(folder: Path, deaths: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", PROGRAM, str(folder), str(deaths)], start_new_session=True)


def until_there(path: Path) -> None:
    end = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < end, f"waited in vain for {path.name}"
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_the_next_head_hears_what_the_batch_system_says_and_its_exit_code_is_the_runners(
    tmp_path: Path, number: signal.Signals
) -> None:
    with start(tmp_path, deaths=2) as runner:
        until_there(tmp_path / "ready")
        os.kill(runner.pid, number)
        assert runner.wait(60) == ExitCode.FENCED
    assert (tmp_path / "heard").read_text() == number.name
    assert len({path.read_text() for path in tmp_path.glob("head.*")}) == 3


def test_heads_that_are_always_killed_have_an_end(tmp_path: Path) -> None:
    with start(tmp_path, deaths=1000) as runner:
        assert runner.wait(60) == ExitCode.UNPUBLISHED


def test_a_signal_that_comes_between_two_heads_is_heard_by_the_next(tmp_path: Path) -> None:
    with start(tmp_path, deaths=5) as runner:
        until_there(tmp_path / "head.0")
        os.kill(runner.pid, signal.SIGTERM)
        assert runner.wait(60) == ExitCode.FENCED
    assert (tmp_path / "heard").read_text() == "SIGTERM"
