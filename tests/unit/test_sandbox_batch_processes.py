from __future__ import annotations

import os
import signal
import subprocess
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from hpcharvest.sandbox.batch import processes
from hpcharvest.sandbox.batch.processes import Family, Leader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Spawn = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    """Start a process with a tag, in a session of its own; it is gone after the test."""
    with ExitStack() as stack:

        def start(tag: str, *argv: str) -> subprocess.Popen[bytes]:
            process = subprocess.Popen(
                argv or ("sleep", "60"),
                env={**os.environ, processes.TAG_VARIABLE: tag},
                start_new_session=True,
                stdout=subprocess.PIPE,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield start


def leader_of(process: subprocess.Popen[bytes]) -> Leader:
    about = processes.stat(process.pid)
    assert about is not None
    return Leader(pid=process.pid, start_ticks=about.start_ticks)


def test_only_carriers_of_the_whole_tag_are_killed(spawn: Spawn) -> None:
    mine, other, longer = spawn("1+unit"), spawn("2+unit"), spawn("1+unitx")
    assert processes.kill_all(Family(tag="1+unit"))
    assert mine.wait(5) == -signal.SIGKILL
    assert (other.poll(), longer.poll()) == (None, None)


def test_a_leader_also_leads_those_who_lost_the_tag(spawn: Spawn) -> None:
    shell = spawn("3+unit", "sh", "-c", "env -i /bin/sleep 60 & echo $!; wait")
    assert shell.stdout is not None
    bare = int(shell.stdout.readline())
    assert processes.kill_all(Family(tag="3+unit", leader=leader_of(shell)))
    about = processes.stat(bare)
    assert about is None or about.zombie


def test_a_leader_with_the_id_but_not_the_birth_leads_nobody(spawn: Spawn) -> None:
    stranger = spawn("4+unit")
    impostor = Leader(pid=stranger.pid, start_ticks=leader_of(stranger).start_ticks - 1)
    assert not processes.is_running(impostor)
    assert processes.signal_all(Family(tag="none+unit", leader=impostor), signal.SIGKILL) == 0
    assert stranger.poll() is None


def test_the_oldest_carrier_is_found(spawn: Spawn) -> None:
    first = spawn("5+unit")
    spawn("5+unit")
    assert processes.oldest("5+unit") == leader_of(first)
    assert processes.oldest("6+unit") is None


def test_a_whole_spool_is_cleared_by_its_token(spawn: Spawn) -> None:
    ours, theirs = [spawn("7+cleared"), spawn("8+cleared")], spawn("7+kept")
    processes.kill_spool("cleared")
    assert [process.wait(5) for process in ours] == [-signal.SIGKILL] * 2
    assert theirs.poll() is None
