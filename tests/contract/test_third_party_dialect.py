"""A dialect of somebody else's, installed from a package of its own: the example of `docs/adding.md`, as it stands."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import subprocess
import sys
import tomllib
import types
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcharvest.sandbox.batch.cluster import Cluster
from hpcharvest.sandbox.batch.settings import Settings
from hpcharvest.sandbox.world import Recipe
from tests import worlds
from tests.contract.test_provider import *  # noqa: F403 - all are collected here, with the place of this module
from tests.services import acme, places
from tests.services.places import Place

PAGE = Path(__file__).parents[2] / "docs" / "adding.md"
PROGRAM = Path(sys.executable).with_name("hpcharvest")
SITE = """\
[site]
name = "acme machine"
[nodes]
cores = 2
[allocation]
max_walltime_s = 600
[batch]
dialect = "acme"
partition = "short"
options = ["colour blue"]
"""


def texts(language: str) -> list[str]:
    """Give the page's blocks of code in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def example() -> tuple[str, str]:
    """Give the page's two files: pyproject.toml and the module."""
    (project,) = (text for text in texts("toml") if "hpcharvest.dialects" in text)
    (module,) = (text for text in texts("python") if "AcmeDialect" in text)
    return project, module


def wheel(folder: Path) -> Path:
    """Build the page's package as a wheel, which is a zip; a build backend is not there everywhere."""
    text, module = example()
    told = tomllib.loads(text)
    project, (python,) = told["project"], told["tool"]["setuptools"]["py-modules"]
    name, version = project["name"].replace("-", "_"), project["version"]
    points = "".join(
        f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in given.items())
        for group, given in project["entry-points"].items()
    )
    info = f"{name}-{version}.dist-info"
    requires = "".join(f"Requires-Dist: {one}\n" for one in project["dependencies"])
    files = {
        f"{python}.py": module,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {version}\n{requires}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": points,
    }
    record = "".join(f"{path},sha256={_digest(content)},{len(content)}\n" for path, content in files.items())
    made = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(made, "w") as archive:
        for path, content in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            archive.writestr(path, content)
    return made


def _digest(content: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest()).rstrip(b"=").decode()


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install the package beside hpcharvest, for the processes that a test starts."""
    target = tmp_path / "site-packages"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run([*pip, "--no-index", "--no-deps", "--target", str(target), str(wheel(tmp_path))], check=True)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(target), os.environ.get("PYTHONPATH", "")])))
    return target


@pytest.fixture(scope="module")  # type: ignore[no-redef]  # instead of that of the suite
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("acme")
    module = types.ModuleType("hpcharvest_acme")
    exec(compile(example()[1], str(PAGE), "exec"), vars(module))  # noqa: S102 - our own page
    with Cluster(folder / "spool", Settings(nodes=2, cores_per_node=2, kill_grace_s=0.3)) as cluster:
        environment = acme.install(cluster.spool, folder / "bin")
        yield places.embedded(cluster, module.AcmeDialect(), folder, environment)


def hpcharvest(*words: object) -> subprocess.CompletedProcess[str]:
    argv = [str(PROGRAM), *map(str, words)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)


def test_a_dialect_that_is_not_installed_is_refused_with_those_that_are(tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text(SITE)
    told = hpcharvest("site", "validate", tmp_path / "site.toml")
    assert told.returncode == 2
    assert "no dialect 'acme'" in told.stderr
    assert "local" in told.stderr


@pytest.mark.usefixtures("installed")
def test_a_site_file_that_names_an_installed_dialect_is_valid_and_has_its_script(tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text(SITE)
    told = hpcharvest("site", "validate", tmp_path / "site.toml")
    assert told.returncode == 0, told.stderr
    script = hpcharvest("site", "preview", tmp_path / "site.toml").stdout
    assert "#ACME queue short\n" in script
    assert "#ACME colour blue\n" in script
    assert 'export HPCHARVEST_BATCH_ID="${ACME_JOB}"\n' in script


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("import nothing_of_this_name\n", "No module named 'nothing_of_this_name'"),
        ("", "has no attribute 'acme'"),
    ],
)
def test_an_installed_dialect_that_cannot_be_loaded_is_told(
    installed: Path, tmp_path: Path, text: str, why: str
) -> None:
    (installed / "hpcharvest_acme.py").write_text(text)
    (tmp_path / "site.toml").write_text(SITE)
    told = hpcharvest("site", "validate", tmp_path / "site.toml")
    assert told.returncode == 2
    assert "the dialect 'acme' cannot be loaded: " in told.stderr
    assert why in told.stderr


@pytest.mark.usefixtures("installed")
def test_jobs_are_harvested_through_a_dialect_of_somebody_elses(tmp_path: Path) -> None:
    with Cluster(tmp_path / "spool", Settings(nodes=2, cores_per_node=2, kill_grace_s=0.3)) as cluster:
        environment = acme.install(cluster.spool, tmp_path / "bin")
        recipe = Recipe(nodes=2, batch={"dialect": "acme", "environment": environment})
        with worlds.world(tmp_path, recipe) as world, worlds.Controller(world):
            numbers = worlds.submit(world, [worlds.job() for _ in range(3)])
            worlds.until_all_over(world)
            worlds.assert_books_agree(world, numbers)
        assert {job["name"].partition("-")[0] for job in cluster.status()} == {"sandbox"}
