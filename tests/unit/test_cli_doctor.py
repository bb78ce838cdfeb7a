"""`hpcharvest doctor`: what it finds in a harvester, whole and broken."""

from __future__ import annotations

import json
import os
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hpcharvest.cli.checks import container, folders, partners, state
from hpcharvest.cli.checks.finding import Check, Finding, Level
from hpcharvest.cli.doctor import run_check
from hpcharvest.cli.main import main
from hpcharvest.config.loader import load
from hpcharvest.config.schema import Configuration, EventRanges
from hpcharvest.errors import StorageUnavailable
from hpcharvest.sandbox.server import SandboxServer
from tests.unit.test_cli_harvest import Office, held, office, write_configuration

__all__ = ["held", "office"]  # fixtures


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_configuration(tmp_path)


def change(config: Path, old: str, new: str) -> Configuration:
    """Read the controller file with something else in it."""
    text = config.read_text()
    assert old in text
    config.write_text(text.replace(old, new))
    return load(config)


def levels(check: Check, configuration: Configuration) -> list[Level]:
    return [one.level for one in run_check(check, configuration)]


def only(check: Check, configuration: Configuration) -> Finding:
    [found] = run_check(check, configuration)
    return found


def doctor(config: Path, output: str) -> Result:
    return CliRunner().invoke(main, ["doctor", "--config", str(config), "--output", output])


def test_each_check_is_shown_with_what_to_do(config: Path) -> None:
    told = doctor(config, "json")  # no batch system and no PanDA server are there

    found = {(one["check"], one["level"]) for one in json.loads(told.stdout)["checks"]}
    assert told.exit_code == 1
    assert ("configuration", "ok") in found
    assert ("work folder", "ok") in found
    assert {check for check, level in found if level == "failure"} == {"PanDA server", "batch system"}
    assert all(one["what_to_do"] for one in json.loads(told.stdout)["checks"] if one["level"] != "ok")


def test_a_look_changes_nothing(config: Path) -> None:
    before = sorted(config.parent.rglob("*"))

    doctor(config, "table")

    assert sorted(config.parent.rglob("*")) == before


def test_a_configuration_that_cannot_be_used_is_the_only_finding(config: Path) -> None:
    config.write_text(config.read_text().replace("harvester_id", "harvester_ids"))

    told = doctor(config, "json")

    rows = json.loads(told.stdout)["checks"]
    assert told.exit_code == 1
    assert {one["check"] for one in rows} == {"configuration"}
    assert any("harvester_ids" in one["finding"] for one in rows)
    assert doctor(config, "quiet").stdout == "configuration\n"


def test_a_work_folder_must_be_there(config: Path) -> None:
    configuration = load(config)
    configuration.controller.work_dir.rmdir()

    assert only(folders.work_dir, configuration).level is Level.FAILURE
    assert Level.FAILURE not in levels(folders.free_space, configuration)  # of the folder above
    assert levels(folders.clock_skew, configuration) == [Level.OK]


@pytest.mark.parametrize(("name", "check"), [("trf", folders.transformations), ("in", folders.storage)])
def test_the_folders_of_a_queue_must_be_there(config: Path, name: str, check: Check) -> None:
    configuration = load(config)
    assert Level.FAILURE not in levels(check, configuration)

    (config.parent / name).rmdir()

    assert levels(check, configuration).count(Level.FAILURE) == 1


def test_a_callable_must_be_in_the_folder_of_transformations(config: Path) -> None:
    configuration = load(config)
    (queue,) = configuration.queues.values()
    ranges = EventRanges.model_validate({"kind": "callable", "callable": "parts.tall:pick"})
    payload = queue.payload.model_copy(update={"event_ranges": ranges})
    changed = configuration.model_copy(update={"queues": {"Q": queue.model_copy(update={"payload": payload})}})
    assert Level.FAILURE in levels(folders.transformations, changed)

    (payload.transformation_dir / "parts").mkdir()
    (payload.transformation_dir / "parts" / "tall.py").touch()

    assert Level.FAILURE not in levels(folders.transformations, changed)


def test_a_storage_that_is_no_folder_is_not_looked_at(config: Path) -> None:
    configuration = change(config, f"file://{config.parent}/out", "root://somewhere.example.org//out")

    assert levels(folders.storage, configuration) == [Level.OK, Level.OK]


def test_a_storage_must_take_outputs(config: Path) -> None:
    (config.parent / "out").chmod(0o500)

    may_write_anywhere = os.geteuid() == 0
    assert (Level.FAILURE in levels(folders.storage, load(config))) is not may_write_anywhere


def test_the_version_of_the_database_is_compared(office: Office) -> None:
    configuration = load(office.config)
    assert only(state.database, configuration).level is Level.OK

    for version, level in (("9999", Level.FAILURE), ("0000", Level.WARNING)):
        _set_version(office, version)
        assert only(state.database, configuration).level is level


def _set_version(office: Office, version: str) -> None:
    import sqlite3

    with sqlite3.connect(office.folder / "state/hpcharvest.sqlite") as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (version,))
    connection.close()


def test_a_file_that_is_no_database_is_a_failure(config: Path) -> None:
    (config.parent / "state/hpcharvest.sqlite").write_text("words " * 1000)

    found = only(state.database, load(config))

    assert found.level is Level.FAILURE
    assert "no SQLite database" in found.words


def test_a_database_that_is_not_there_yet_is_none_to_worry_about(config: Path) -> None:
    assert only(state.database, load(config)).level is Level.OK
    assert not (config.parent / "state/hpcharvest.sqlite").exists()


def test_the_state_folder_may_be_made_later(config: Path) -> None:
    (config.parent / "state").rmdir()

    assert only(state.state_dir, load(config)).level is Level.OK


def test_who_holds_the_lease_is_told(office: Office, held: Callable[[], None]) -> None:
    configuration = load(office.config)
    assert only(state.lease, configuration).words == "no controller runs"

    held()
    assert "is the controller" in only(state.lease, configuration).words

    path = configuration.controller.work_dir / "edge01/lease.json"
    os.utime(path, (1, 1))
    assert only(state.lease, configuration).level is Level.WARNING


def test_the_server_is_asked_whether_it_is_alive(config: Path) -> None:
    assert only(partners.panda, load(config)).level is Level.FAILURE
    with SandboxServer() as server:
        assert only(partners.panda, change(config, "http://127.0.0.1:9", server.url)).level is Level.OK


def test_credentials_must_be_readable(config: Path) -> None:
    assert only(partners.credentials, load(config)).level is Level.OK

    configuration = change(config, "timeout_s = 2", 'token_file = "token"\norigin = "atlas.production"')

    found = only(partners.credentials, configuration)
    assert found.level is Level.FAILURE
    assert "cannot be read" in found.words
    (config.parent / "token").write_text("secret-token")
    found = only(partners.credentials, configuration)
    assert found.level is Level.OK
    assert "secret-token" not in found.words


def test_the_batch_system_is_asked(config: Path) -> None:
    program = config.parent / "batch"
    program.write_text("#!/bin/sh\necho '[]'\n")
    program.chmod(0o700)
    site = config.parent / "toy.toml"

    away = only(partners.batch, load(config))
    assert (away.level, "by hand on this machine (python3 -m hpcharvest.sandbox.batch …)" in away.advice) == (
        Level.FAILURE,
        True,
    )
    site.write_text(site.read_text().replace('command = ["python3"', f'command = ["{program}"'))
    found = only(partners.batch, load(config))
    assert (found.level, "lists 0 batch jobs (0 alive)" in found.words) == (Level.OK, True)


@pytest.mark.parametrize(("runner", "installed"), [("file", False), ("package", True)])
def test_the_python_of_the_runner_must_be_able_to_run_it(
    config: Path, runner: str, *, installed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    site = config.parent / "toy.toml"
    before = site.read_text().partition("[software]")[0]
    bare = tmp_path / "bare" / "bin" / "python3"
    venv.create(tmp_path / "bare", symlinks=True)

    def found(python: str | Path) -> Finding:
        site.write_text(f'{before}[software]\npython = "{python}"\nrunner = "{runner}"\n')
        return only(partners.runner, load(config))

    assert found(sys.executable).level is Level.OK
    assert found("/nowhere/python3").level is Level.FAILURE
    broken = found("/bin/false")
    assert (broken.level, "is installed" in broken.advice) == (Level.FAILURE, installed)
    assert found(bare).level is (Level.FAILURE if installed else Level.OK)


def test_what_a_check_trips_over_is_a_failure(config: Path) -> None:
    def trips(_: Configuration) -> None:
        raise StorageUnavailable("gone")

    def falls(_: Configuration) -> None:
        raise PermissionError(13, "Permission denied", "/x")

    configuration = load(config)
    assert levels(trips, configuration) == [Level.FAILURE]  # type: ignore[arg-type]  # it never returns
    assert levels(falls, configuration) == [Level.FAILURE]  # type: ignore[arg-type]  # it never returns


def test_a_container_engine_must_answer(config: Path) -> None:
    assert levels(container.engine, load(config)) == []  # a site without one needs none

    site = config.parent / "toy.toml"
    text = site.read_text()
    for command, level in (
        ("['env', 'echo']", Level.OK),
        ("['false']", Level.FAILURE),
        ("['/nowhere']", Level.FAILURE),
    ):
        site.write_text(f'{text}\n[container]\nengine = "podman"\ncommand = {command}\n')
        found = only(container.engine, load(config))
        assert found.level is level
        assert bool(found.advice) is (level is Level.FAILURE)
