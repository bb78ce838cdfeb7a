"""The rules for all tests, tried in sessions of their own: what is skipped, what CI forbids, what is left running."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
SUITE = """
import pytest

@pytest.mark.needs("openssl")
def test_with_a_service(): pass

@pytest.mark.skip(reason="too hot today")
def test_skipped(): pass

@pytest.mark.xfail(reason="known", raises=ZeroDivisionError)
def test_expected(): 1 / 0
"""
NEEDY = """
import pytest

@pytest.fixture
def fixture(): raise AssertionError("no fixture is made for a test that cannot be")

@pytest.mark.needs("openssl")
def test_needs(fixture): pass
"""
LITTERING = """
import subprocess, sys, pathlib

def test_litters():
    code = "import subprocess; print(subprocess.Popen(['sleep', '60'], stdout=-3).pid)"
    pid = subprocess.run([sys.executable, "-W", "ignore", "-c", code], stdout=subprocess.PIPE).stdout
    pathlib.Path(__file__).with_name("pid").write_bytes(pid)
"""


def session(folder: Path, text: str, *options: str, **environment: str) -> tuple[int, str]:
    """Run a suite under the rules of this one; tell the exit code and the output."""
    (folder / "test_suite.py").write_text(text)
    rules = ["-p", "tests.conftest", "--rootdir", str(folder), "-c", str(ROOT / "pyproject.toml")]
    command = [sys.executable, "-m", "pytest", *rules, "-p", "no:cacheprovider", *options, str(folder)]
    variables = {name: value for name, value in os.environ.items() if name != "CI"} | environment
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False, timeout=120)
    return done.returncode, done.stdout + done.stderr


def test_skips_are_fine_here(tmp_path: Path) -> None:
    code, output = session(tmp_path, SUITE)
    assert code == pytest.ExitCode.OK, output
    assert "1 passed, 1 skipped, 1 xfailed" in output


@pytest.mark.parametrize("how", ["option", "CI"])
def test_skips_are_failures_in_ci(tmp_path: Path, how: str) -> None:
    code, output = session(tmp_path, SUITE, *(["--no-skips"] if how == "option" else []), CI=str(how == "CI").lower())
    assert code == pytest.ExitCode.TESTS_FAILED, output
    assert "1 passed, 1 xfailed, 1 error" in output
    assert "skipped, where no skip is allowed: Skipped: too hot today" in output


def test_a_module_that_skips_itself_is_an_error_in_ci(tmp_path: Path) -> None:
    code, output = session(tmp_path, "import pytest; pytest.importorskip('no_such_module')", "--no-skips")
    assert code == pytest.ExitCode.INTERRUPTED, output
    assert "skipped, where no skip is allowed" in output


@pytest.mark.parametrize(("options", "closing"), [([], "1 skipped"), (["--no-skips"], "1 error")])
def test_a_service_that_is_missing_is_named(tmp_path: Path, options: list[str], closing: str) -> None:
    _, output = session(tmp_path, NEEDY, *options, PATH=str(tmp_path))
    assert closing in output.splitlines()[-1]
    assert "needs openssl: there is no program openssl (apt-get install openssl)" in output


def test_a_service_that_nobody_knows_is_an_error(tmp_path: Path) -> None:
    code, output = session(tmp_path, SUITE.replace("openssl", "teapot"))
    assert code == pytest.ExitCode.USAGE_ERROR
    assert "test_with_a_service needs 'teapot', but there are only" in output


def test_a_process_that_outlives_its_test_is_an_error_and_ended(tmp_path: Path) -> None:
    code, output = session(tmp_path, LITTERING)
    assert code == pytest.ExitCode.TESTS_FAILED, output
    assert "1 passed, 1 error" in output
    assert "['sleep', '60'] of test_suite.py::test_litters (call)" in output
    with suppress(psutil.NoSuchProcess):  # where nobody reaps orphans, a killed one stays as a zombie
        assert psutil.Process(int((tmp_path / "pid").read_text())).status() == psutil.STATUS_ZOMBIE
