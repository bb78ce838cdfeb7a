"""`hpcharvest site` and `hpcharvest config`."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hpcharvest.cli.main import main
from tests.unit.test_cli_harvest import write_configuration


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_configuration(tmp_path)


def call(*words: object, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words], env=env)


def test_a_site_file_is_validated(config: Path) -> None:
    told = call("site", "validate", config.parent / "toy.toml")

    assert told.exit_code == 0
    assert "is a valid site file" in told.stdout


def test_a_shipped_site_file_is_found_by_its_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    assert call("site", "validate", "generic/local.toml", "--output", "quiet").stdout == "local\n"


def test_each_problem_of_a_site_file_is_a_line(config: Path) -> None:
    site = config.parent / "toy.toml"
    site.write_text(site.read_text().replace("cores = 8", 'cores = "8"\nmemory = 3'))

    told = call("site", "validate", site)

    assert told.exit_code == 2
    assert len(told.stderr.splitlines()) == 2
    assert f"hpcharvest: {site}:5: nodes.cores" in told.stderr


def test_a_dialect_must_have_what_it_needs(config: Path) -> None:
    site = config.parent / "toy.toml"
    site.write_text("".join(line for line in site.read_text().splitlines(True) if not line.startswith("command")))

    told = call("site", "validate", site)

    assert told.exit_code == 2
    assert "batch.command" in told.stderr


def test_a_site_is_shown_with_its_defaults(config: Path) -> None:
    told = call("site", "show", config.parent / "toy.toml", "--output", "json")

    assert json.loads(told.stdout)["allocation"]["min_nodes"] == 1
    assert "max_walltime_s" in call("site", "show", config.parent / "toy.toml").stdout


@pytest.mark.parametrize("of_queue", [True, False])
def test_the_script_is_one_that_bash_reads(config: Path, of_queue: bool) -> None:
    (config.parent / "toy.sh").write_text("module load python\n")
    site = config.parent / "toy.toml"
    site.write_text(site.read_text() + '[software]\nprologue = "toy.sh"\npayload_path = ["/opt/it is/bin"]\n')

    told = call("site", "preview", *(["--config", config, "--queue", "TOY"] if of_queue else [site]))

    assert told.exit_code == 0
    assert told.stdout.startswith("#!/bin/bash\n")
    assert "module load python\n" in told.stdout
    assert "export PATH='/opt/it is/bin'" in told.stdout
    assert told.stdout.rstrip().endswith("/allocations/1")
    assert ("edge01-1-" in told.stdout) is of_queue
    subprocess.run(["bash", "-n"], input=told.stdout, text=True, check=True)


def test_a_preview_is_of_one_thing(config: Path) -> None:
    assert call("site", "preview").exit_code == 2
    assert call("site", "preview", "--queue", "TOY").exit_code == 2
    assert call("site", "preview", config.parent / "toy.toml", "--queue", "TOY").exit_code == 2
    unknown = call("site", "preview", "--config", config, "--queue", "OTHER")
    assert (unknown.exit_code, "there are TOY" in unknown.stderr) == (2, True)


def test_a_prologue_that_is_gone_is_said_so(config: Path) -> None:
    site = config.parent / "toy.toml"
    site.write_text(site.read_text() + '[software]\nprologue = "gone.sh"\n')

    told = call("site", "preview", site)

    assert (told.exit_code, "gone.sh cannot be read" in told.stderr) == (2, True)


def test_the_configuration_is_shown_as_it_was_understood(config: Path) -> None:
    told = call("config", "show", "--output", "json", env={"HPCHARVEST_CONFIG": str(config)})

    whole = json.loads(told.stdout)
    assert whole["controller"]["dag_window"] == 500
    assert whole["queues"]["TOY"]["site"]["nodes"]["cores"] == 8
    assert call("config", "show", "--config", config, "--output", "quiet").stdout == "TOY\n"
    assert "TOY.site.nodes.cores" in call("config", "show", "--config", config).stdout


def test_a_configuration_must_be_named() -> None:
    told = call("config", "show", env={"HPCHARVEST_CONFIG": ""})

    assert told.exit_code == 2
    assert "--config" in told.stderr


def test_a_batch_system_that_says_nothing_is_told_of_on_the_page(config: Path) -> None:
    for words in ((config.parent / "toy.toml",), ("--queue", "TOY", "--config", config)):
        told = call("site", "capacity", *words, "--output", "json")

        assert told.exit_code == 1
        page = json.loads(told.stdout)
        assert page["free"] == page["holes"] == []
        assert {one["topic"] for one in page["skipped"]} == {"nodes", "limits", "own"}
        assert "has answered nothing at all" in told.stderr


def test_a_dialect_of_which_no_question_is_known_is_not_said_to_be_silent(tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    least = '[site]\nname = "s"\n[nodes]\ncores = 1\n[allocation]\nmax_walltime_s = 3600\n'
    site.write_text(f'{least}[batch]\ndialect = "saga"\ncommand = ["/bin/true"]\n')
    told = call("site", "capacity", site)

    assert told.exit_code == 1
    assert "site s: nobody has written down what the dialect 'saga' can be asked" in told.stderr


@pytest.mark.parametrize(
    "words", [(), ("toy.toml", "--queue", "TOY"), ("toy.toml", "--try", "4"), ("toy.toml", "--try", "0x60")]
)
def test_capacity_wants_one_site_and_sound_shapes(words: tuple[str, ...]) -> None:
    assert call("site", "capacity", *words).exit_code == 2
