"""Ranges that are programs of MPI, with a real mpiexec on this host."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcharvest.jumbo.slots.mpi import NOT_STARTED, MpiSlot
from hpcharvest.messenger.ranges import PayloadKind
from tests.services.range_slots import Bench, bench, done, drive, event_task, failed, leased, until_over, until_told

MPIEXEC = str(Path(sys.executable).with_name("mpiexec"))
LAUNCHER = (MPIEXEC, "-launcher", "fork", "-hosts", "{hosts}", "-ppn", "{ranks_per_node}", "-n", "{ranks}")


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path / "slot", grace_s=1.0) as one:
        yield one


def program(here: Bench, text: str, *, launcher: tuple[str, ...] = LAUNCHER) -> MpiSlot:
    argv = ("sh", "-c", text, "sh", "{output}", "{startEvent}")
    task = event_task(here.folder.parent / "shared", *argv, kind=PayloadKind.MPI)
    two = dataclasses.replace(task, nodes=2, cores=2, ranks_per_node=2)
    return here.keep(MpiSlot(two, here.place, ["v1", "v2"], launcher))


def test_a_range_is_a_program_on_all_its_nodes_whose_output_is_on_the_shared_file_system(here: Bench) -> None:
    slot = program(here, '[ "$PMI_RANK" != 0 ] || echo "$PMI_SIZE ranks, event $2" >"$1"')
    outcome = done(until_told(slot, leased(3))[0])
    assert Path(outcome.output).read_text() == "4 ranks, event 4\n"
    assert Path(outcome.output).is_relative_to(here.folder.parent / "shared")
    assert until_over(slot) == []


def test_a_program_that_fails_is_told_from_a_launcher_that_does(here: Bench) -> None:
    slot = program(here, "exit 3")
    assert "ended with exit code 3" in failed(until_told(slot, leased(0))[0])
    wrong = program(here, "true", launcher=("sh", "-c", "echo no such node >&2; exit 3"))
    assert failed(until_told(wrong, leased(0))[0], ours=True) == NOT_STARTED


def test_a_program_that_is_stopped_is_gone_with_all_its_ranks(here: Bench) -> None:
    slot = program(here, ': >"$1"; sleep 600')
    drive(slot, lambda _: sum("sleep" in _command(pid) for pid in here.processes) == 4, leased(0))
    slot.stop(slot.held, "the end is near", time.monotonic())
    assert failed(drive(slot, any)[0], ours=True) == "the end is near"
    end = time.monotonic() + 5
    while here.processes and time.monotonic() < end:
        time.sleep(0.01)
    assert here.processes == {}


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text()
    except OSError:
        return ""
