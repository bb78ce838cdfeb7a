"""The group: lazy, and with exit codes for errors."""

from __future__ import annotations

import os
from importlib.util import find_spec

import click
import pytest
from click.testing import CliRunner

import hpcharvest
from hpcharvest.cli.lazy import Later, LazyGroup
from hpcharvest.cli.main import COMMANDS, main
from hpcharvest.errors import ConfigurationError, HarvestError, LeaseHeld, StoreError


def test_help_names_every_command_without_importing_any() -> None:
    told = CliRunner().invoke(main, ["--help"])

    assert told.exit_code == 0
    for name, command in COMMANDS.items():
        assert f"  {name}" in told.stdout
        assert command.help in told.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_where_the_table_says(name: str) -> None:
    assert find_spec(COMMANDS[name].where.partition(":")[0])
    assert COMMANDS[name].load().name == name


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str) -> None:
    told = CliRunner().invoke(main, [name, "--help"])

    assert told.exit_code == 0
    assert told.stdout.startswith(f"Usage: main {name}")


def test_the_version_is_told() -> None:
    assert CliRunner().invoke(main, ["--version"]).stdout == f"hpcharvest, version {hpcharvest.__version__}\n"


def test_an_unknown_command_is_wrong_usage() -> None:
    assert CliRunner().invoke(main, ["harvest"]).exit_code == 2


@pytest.mark.parametrize(
    ("error", "code"),
    [(ConfigurationError("x"), 2), (LeaseHeld("x"), 3), (StoreError("x"), 1), (HarvestError("x"), 1)],
)
def test_errors_become_exit_codes(error: HarvestError, code: int) -> None:
    told = CliRunner().invoke(_group(error), ["fail"])

    assert told.exit_code == code
    assert told.stderr == "hpcharvest: x\n"


def test_each_problem_of_a_configuration_has_its_line() -> None:
    told = CliRunner().invoke(_group(ConfigurationError("one\ntwo")), ["fail"])

    assert told.stderr == "hpcharvest: one\nhpcharvest: two\n"


def test_any_other_error_is_one_line() -> None:
    told = CliRunner().invoke(_group(StoreError("one\ntwo\x1b")), ["fail"])

    assert told.stderr == "hpcharvest: one two\\x1b\n"


def test_a_bug_is_not_hidden() -> None:
    assert isinstance(CliRunner().invoke(_group(KeyError("x")), ["fail"]).exception, KeyError)


def _group(error: Exception) -> click.Group:
    class Failing(Later):
        def load(self) -> click.Command:
            @click.command()
            def fail() -> None:
                raise error

            return fail

    return LazyGroup(
        "group", later={"fail": Failing(os.devnull, "Fail.")}, params=[click.Option(["--traceback"], is_flag=True)]
    )


@pytest.mark.parametrize("group", ["jobs", "allocations", "site", "config"])
def test_every_command_of_a_group_is_told_of_in_a_whole_sentence(group: str) -> None:
    told = CliRunner().invoke(main, [group, "--help"]).stdout.partition("Commands:")[2]
    assert told
    assert "..." not in told
