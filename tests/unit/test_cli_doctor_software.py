"""`hpcharvest doctor`: the software that payloads need, there and not there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hpcharvest.cli.checks import software
from hpcharvest.cli.checks.finding import Finding, Level
from hpcharvest.cli.doctor import CHECKS, run_check
from hpcharvest.config.loader import load
from hpcharvest.config.schema import Configuration
from tests.unit.test_cli_harvest import write_configuration

Configure = Callable[[str], Configuration]


@pytest.fixture
def configure(tmp_path: Path) -> Configure:
    """Give what makes a configuration of the lines of [software] in its site file."""
    config = write_configuration(tmp_path)
    site = config.parent / "toy.toml"
    without = site.read_text().partition("[software]")[0]

    def configured(lines: str) -> Configuration:
        site.write_text(f"{without}[software]\n{lines}\n")
        return load(config)

    return configured


def found_cvmfs(configuration: Configuration, root: Path) -> list[Finding]:
    return list(software.cvmfs(configuration, root))


def test_the_doctor_looks_at_the_software() -> None:
    assert {software.prologue, software.paths, software.cvmfs} <= set(CHECKS.values())


def test_where_nothing_is_needed_nothing_is_wrong(configure: Configure) -> None:
    configuration = configure("")

    for check in (software.prologue, software.paths, software.cvmfs):
        assert [one.level for one in run_check(check, configuration)] == [Level.OK]


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("module load python\n", Level.OK),
        ("", Level.OK),
        ("if true; then\n  module load python\n", Level.FAILURE),
        ('export A="open\n', Level.FAILURE),
        ("cat <<END\nnever closed\n", Level.FAILURE),
    ],
)
def test_bash_must_understand_the_prologue(configure: Configure, tmp_path: Path, text: str, level: Level) -> None:
    (tmp_path / "toy.sh").write_text(text)

    [found] = run_check(software.prologue, configure('prologue = "toy.sh"'))

    assert found.level is level
    assert "toy.sh" in found.words


def test_the_prologue_is_read_but_not_run(configure: Configure, tmp_path: Path) -> None:
    (tmp_path / "toy.sh").write_text(f"touch {tmp_path}/ran\n")

    [found] = run_check(software.prologue, configure('prologue = "toy.sh"'))

    assert found.level is Level.OK
    assert not (tmp_path / "ran").exists()


def test_a_prologue_must_be_there(configure: Configure) -> None:
    [found] = run_check(software.prologue, configure('prologue = "gone.sh"'))

    assert (found.level, "gone.sh is no file" in found.words) == (Level.FAILURE, True)


def test_required_paths_must_be_there(configure: Configure, tmp_path: Path) -> None:
    configuration = configure(f'required_paths = ["{tmp_path}/athena", "{tmp_path}/toy.toml"]')

    [found] = run_check(software.paths, configuration)
    assert (found.level, f"{tmp_path}/athena is not there" in found.words) == (Level.FAILURE, True)

    (tmp_path / "athena").mkdir()
    [found] = run_check(software.paths, configuration)
    assert (found.level, "all 2 paths" in found.words) == (Level.OK, True)


def test_a_folder_for_path_may_be_on_the_nodes_only(configure: Configure, tmp_path: Path) -> None:
    [found] = run_check(software.paths, configure(f'payload_path = ["{tmp_path}/bin"]'))

    assert found.level is Level.WARNING


def test_repositories_are_looked_for(configure: Configure, tmp_path: Path) -> None:
    configuration = configure('cvmfs = ["atlas.cern.ch", "sft.cern.ch"]')
    (tmp_path / "atlas.cern.ch" / "repo").mkdir(parents=True)

    atlas, sft = found_cvmfs(configuration, tmp_path)

    assert atlas.level is Level.OK
    assert (sft.level, "sft.cern.ch" in sft.words) == (Level.WARNING, True)  # the nodes may have it nevertheless


def test_an_empty_mount_point_is_no_repository(configure: Configure, tmp_path: Path) -> None:
    (tmp_path / "atlas.cern.ch").mkdir()

    [found] = found_cvmfs(configure('cvmfs = ["atlas.cern.ch"]'), tmp_path)

    assert (found.level, "it is empty" in found.words) == (Level.WARNING, True)


def test_cvmfsexec_stands_in_for_a_mount(configure: Configure, tmp_path: Path) -> None:
    program = tmp_path / "cvmfsexec"
    configuration = configure(f'cvmfs = ["atlas.cern.ch"]\ncvmfsexec = "{program}"')

    assert [one.level for one in found_cvmfs(configuration, tmp_path)] == [Level.FAILURE, Level.WARNING]
    program.write_text("#!/bin/sh\n")
    assert [one.level for one in found_cvmfs(configuration, tmp_path)] == [Level.FAILURE, Level.WARNING]
    program.chmod(0o755)
    [found] = found_cvmfs(configuration, tmp_path)
    assert (found.level, "cvmfsexec is there" in found.words) == (Level.OK, True)
