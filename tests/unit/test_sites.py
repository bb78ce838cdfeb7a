"""The site files that come with hpcharvest: each is whole, honest about its sources, and gives the expected script."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from hpcharvest.cli.checks.finding import Level
from hpcharvest.cli.checks.software import prologue
from hpcharvest.cli.main import main
from hpcharvest.config.loader import load, load_site
from hpcharvest.config.schema import Site
from hpcharvest.engine import launchers
from hpcharvest.jumbo import command
from hpcharvest.messenger.protocol import Task
from hpcharvest.model.ids import Attempt, JobId
from hpcharvest.model.shape import Shape
from hpcharvest.providers.dialect import BatchRequest
from hpcharvest.providers.local import LocalDialect
from hpcharvest.providers.registry import OURS
from hpcharvest.providers.script import render
from tests.unit.test_cli_harvest import write_configuration

ROOT = Path(__file__).parents[2]
SITES = ROOT / "site_configs"
GOLDEN = ROOT / "tests" / "golden" / "sites"
FILES = {str(path.relative_to(SITES)): path for path in sorted(SITES.rglob("*.toml"))}
MACHINES = [name for name in FILES if not name.startswith("generic/")]
PROLOGUES = sorted(SITES.rglob("*.sh"))
PROXIES = [path for path in PROLOGUES if "proxy" in path.read_text()]
PYTHON = "/usr/bin/python3"
RUNNER = re.compile(r"runner-[0-9a-f]{12}\.zip")
OUR_CHOICE = {"margin_s", "max_jobs"}
"""What a machine does not say."""


def golden(name: str) -> Path:
    return GOLDEN / f"{Path(name).stem}.sh"


def spoken(names: list[str]) -> list[str]:
    """Give those whose dialect there is."""
    return [name for name in names if tomllib.loads(FILES[name].read_text())["batch"]["dialect"] in OURS]


def preview(name: str) -> str:
    """Give the script of `hpcharvest site preview`, with a Python and a runner that are always the same."""
    told = CliRunner().invoke(main, ["site", "preview", name])
    assert told.exit_code == 0, told.stderr
    return RUNNER.sub("runner-DIGEST.zip", told.stdout.replace(shlex.quote(sys.executable), PYTHON))


@pytest.fixture(autouse=True)
def _home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/operator")


@pytest.mark.parametrize("name", spoken(list(FILES)))
def test_a_site_file_is_valid_to_the_command_line(name: str) -> None:
    told = CliRunner().invoke(main, ["site", "validate", name, "--output", "quiet"])

    assert (told.exit_code, told.stdout) == (0, f"{load_site(FILES[name]).name}\n")


@pytest.mark.parametrize("name", spoken(list(FILES)))
def test_the_script_of_a_site_is_as_expected(name: str) -> None:
    script = preview(name)

    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    assert script == golden(name).read_text()


def test_no_expected_script_is_without_its_site_file() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} <= {Path(name).stem for name in FILES}


def test_sites_have_names_of_their_own() -> None:
    names = [load_site(path).name for path in FILES.values()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", MACHINES)
def test_a_site_file_is_named_after_facility_and_machine(name: str) -> None:
    site = load_site(FILES[name])
    assert Path(name).stem == f"{site.site.facility}_{site.name}".lower().replace("-", "_")
    assert site.site.description


@pytest.mark.parametrize("name", MACHINES)
def test_it_is_said_of_each_statement_where_it_comes_from(name: str) -> None:
    """Of each key that another machine would have otherwise: it, or its table, stands before the colon of a line."""
    site = load_site(FILES[name])
    said = {key for line in (*site.site.sources, *site.site.assumed) for key in _subjects(line)}

    assert [key for key in _statements(name) if not said & {key, key.partition(".")[0]}] == []
    assert site.site.assumed, "nobody has run hpcharvest there: something is assumed"


@pytest.mark.parametrize("name", MACHINES)
def test_nothing_is_said_of_a_key_that_is_not_there(name: str) -> None:
    site = load_site(FILES[name])
    keys = {f"{table}.{key}" for table, model in site for key in type(model).model_fields} | set(Site.model_fields)
    tables = tuple(Site.model_fields)
    for line in (*site.site.sources, *site.site.assumed):
        if line.startswith(tables):
            assert _subjects(line) <= keys, line


def _statements(name: str) -> list[str]:
    written = tomllib.loads(FILES[name].read_text())
    keys = [f"nodes.{key}" for key in written["nodes"]]
    keys += [f"allocation.{key}" for key in written["allocation"] if key not in OUR_CHOICE]
    keys += [f"batch.{key}" for key in ("partition", "qos", "options") if written["batch"].get(key)]
    keys += [f"software.{key}" for key in written.get("software", {})]
    return [*keys, "launcher.argv"]


def _subjects(line: str) -> set[str]:
    """Give the keys that a statement is about, as in `nodes.cores, gpus: ...`, where the table is said once."""
    table, keys = "", set[str]()
    for word in line.partition(":")[0].split(", "):
        name, _, key = word.partition(".")
        table = name if key or word in Site.model_fields else table
        keys.add(word if key or word in Site.model_fields else f"{table}.{word}")
    return keys


@pytest.mark.parametrize("name", MACHINES)
def test_nobody_is_named(name: str) -> None:
    site = load_site(FILES[name])
    assert site.batch.account == ""
    assert not re.search(r"(--account|-A)\b", " ".join(site.batch.options))


@pytest.mark.parametrize("name", FILES)
def test_a_site_file_has_its_row_in_the_table_of_the_readme(name: str) -> None:
    site = load_site(FILES[name])
    counts = f"{len(site.site.sources)} | {len(site.site.assumed)}"
    row = f"| [{name}]({name}) | {site.site.description} | `{site.batch.dialect}` | {counts} |"
    assert row in (SITES / "README.md").read_text().splitlines()


@pytest.mark.parametrize("name", MACHINES)
def test_a_machine_has_its_line_on_the_page_of_centres(name: str) -> None:
    assert f"(../site_configs/{name})" in (ROOT / "docs" / "centres.md").read_text()


def test_a_prologue_belongs_to_a_site_file_or_is_generic() -> None:
    named = {site.software.prologue for site in map(load_site, FILES.values()) if site.software.prologue}
    assert {path for path in PROLOGUES if path.parent.name != "generic"} == named


@pytest.mark.parametrize("path", PROLOGUES, ids=lambda path: path.stem)
def test_doctor_has_nothing_against_a_prologue(path: Path, tmp_path: Path) -> None:
    config = write_configuration(tmp_path)
    site = tmp_path / "toy.toml"
    site.write_text(site.read_text().partition("[software]")[0] + f'[software]\nprologue = "{path}"\n')

    [found] = prologue(load(config))

    assert (found.level, str(path) in found.words) == (Level.OK, True)


@pytest.mark.parametrize(
    "path", [path for path in PROLOGUES if "proxy" in path.read_text()], ids=lambda path: path.stem
)
def test_a_proxy_is_handed_on_to_payloads_unless_there_is_one(path: Path) -> None:
    asked = [f"set -eu; . {shlex.quote(str(path))}; echo $http_proxy $https_proxy", "bash"]

    def told(**environment: str) -> list[str]:
        env = {"PATH": "/usr/bin:/bin", **environment}
        return subprocess.run(
            ["bash", "-c", *asked], env=env, capture_output=True, text=True, check=True
        ).stdout.split()

    shipped = told()
    assert len(shipped) == 2
    assert shipped[0] == shipped[1]
    assert re.fullmatch(r"http://proxy\.[a-z.]+:3128", shipped[0])
    assert told(http_proxy="http://mine:1") == ["http://mine:1"] * 2


def test_the_runner_is_started_inside_of_cvmfsexec(tmp_path: Path) -> None:
    program = tmp_path / "cvmfsexec"
    program.write_text('#!/bin/bash\necho "mounting $1 and $2"; shift 3; INSIDE=yes exec "$@"\n')
    program.chmod(0o755)
    request = BatchRequest(tag="t", shape=Shape(nodes=1, walltime_s=60), folder=tmp_path)
    runner = ["bash", "-c", 'echo "$INSIDE $1"', "runner", "it's one word"]
    script = render(LocalDialect([]), request, runner, (SITES / "generic" / "cvmfsexec.sh").read_text())

    ended = subprocess.run(
        ["bash", "-s"],
        input=script,
        env={"PATH": "/usr/bin:/bin", "HARVEST_CVMFSEXEC": str(program)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert ended.stdout == "mounting atlas.cern.ch and sft.cern.ch\nyes it's one word\n"


@pytest.mark.parametrize("name", MACHINES)
def test_the_launcher_starts_as_many_ranks_as_it_should(name: str) -> None:
    site = load_site(FILES[name])
    task = Task(
        job=JobId(1),
        attempt=Attempt(1),
        argv=("/software/work", "--events=10"),
        folder="/f",
        nodes=2,
        cores=16,
        walltime_s=60,
        mpi=True,
        ranks_per_node=8,
    )

    words = command.words(task, ["n1", "n2"], launchers.words(site.launcher, ""), here=False)

    assert "{" not in " ".join(words)
    assert words[-2:] == ["/software/work", "--events=10"]
    assert re.search(r"(-n|--np|--ntasks)[ =]16\b", " ".join(words))
    assert re.search(r"(-N|-ppn|--rs_per_host|--ntasks-per-node)[ =]8\b", " ".join(words))
