"""What every link between head and nodes must do: one suite, run on each. The scenarios have both ends' parts."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.services.link_programs import PATIENCE_S, PROGRAM, ROOT, over_sockets
from tests.services.link_scenarios import SCENARIOS

MPIEXEC = str(Path(sys.executable).with_name("mpiexec"))

Play = Callable[[str, int, Path], list[int]]


def over_mpi(name: str, nodes: int, _folder: Path) -> list[int]:
    words = [MPIEXEC, "-n", str(nodes + 1), *PROGRAM, "mpi", name]
    return [subprocess.run(words, cwd=ROOT, timeout=PATIENCE_S, check=False).returncode]


LINKS = [
    pytest.param(over_sockets, id="sockets"),
    pytest.param(over_mpi, id="mpi", marks=pytest.mark.needs("mpi")),
]


@pytest.mark.parametrize("play", LINKS)
@pytest.mark.parametrize("name", SCENARIOS)
def test_every_link_keeps_the_contract(name: str, play: Play, tmp_path: Path) -> None:
    assert set(play(name, SCENARIOS[name].nodes, tmp_path)) == {0}


def test_a_node_that_is_killed_costs_only_itself(tmp_path: Path) -> None:
    assert over_sockets("killed", 2, tmp_path) == [0, -9, 0]


@pytest.mark.needs("mpi")
def test_without_ulfm_mpi_ends_all_when_one_is_killed(tmp_path: Path) -> None:
    assert over_mpi("killed", 2, tmp_path) != [0]
