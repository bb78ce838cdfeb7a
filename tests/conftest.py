"""What holds for every test: services that are there or not, skips that CI forbids, and nothing left running."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final

import psutil
import pytest
from hypothesis import settings

from hpcharvest.sandbox import slurm
from tests.services import podman, postgresql

SESSION_VARIABLE: Final = "HPCHARVEST_TEST_SESSION"
"""Every process that a test starts inherits it, and with it is found again wherever it went."""

GRACE_S: Final = 5.0
"""For so long may processes still be ending when the last test has ended."""

settings.register_profile("ci", derandomize=True, deadline=None, database=None, print_blob=True, max_examples=100)
settings.register_profile("here", deadline=None)


def _mpi() -> str | None:
    if not Path(sys.executable).with_name("mpiexec").exists():
        return "there is no mpiexec beside Python (pip install -e .[demo] brings MPICH)"
    return _modules("mpi4py")


def _modules(*names: str) -> str | None:
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    return f"Python has no {' and no '.join(missing)} (pip install -e .[demo])" if missing else None


def _program(name: str) -> str | None:
    return None if shutil.which(name) else f"there is no program {name} (apt-get install {name})"


def _network_namespaces() -> str | None:
    missing = _program("unshare")
    if missing:
        return missing
    tried = subprocess.run(["unshare", "--net", "true"], capture_output=True, text=True, check=False)
    return None if tried.returncode == 0 else f"no network namespace can be made here: {tried.stderr.strip()}"


SERVICES: Final[Mapping[str, Callable[[], str | None]]] = {
    "mpi": _mpi,
    "netns": _network_namespaces,
    "openssl": lambda: _program("openssl"),
    "podman": podman.available,
    "postgresql": postgresql.available,
    "pythia": lambda: _modules("pythia8mc", "pyhepmc"),
    "slurm": slurm.why_not,
}
"""What a test may need: each function tells why it cannot be had here; None: it can."""


@cache
def why_not(service: str) -> str | None:
    """Tell why a service cannot be used here; None if it can. KeyError: no test may need such a service."""
    return SERVICES[service]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--no-skips",
        action="store_true",
        default=os.environ.get("CI", "").lower() in {"1", "true"},
        help="a test that is skipped, for whatever reason, has failed (so it is where CI=true)",
    )


def pytest_configure(config: pytest.Config) -> None:
    settings.load_profile("ci" if config.getoption("no_skips") else "here")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for name in _needs(item):
            if name not in SERVICES:
                raise pytest.UsageError(f"{item.nodeid} needs {name!r}, but there are only {', '.join(SERVICES)}")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    for name in _needs(item):
        reason = why_not(name)
        if reason is not None:
            pytest.skip(f"needs {name}: {reason}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and item.config.getoption("no_skips"):
        _forbid(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if report.skipped and collector.config.getoption("no_skips"):
        _forbid(report)
    return report


@pytest.fixture(scope="session", autouse=True)
def _nothing_is_left_running() -> Iterator[None]:
    mark = uuid.uuid4().hex
    os.environ[SESSION_VARIABLE] = mark
    yield
    _, left = psutil.wait_procs(_processes(mark), timeout=GRACE_S)
    told = [_told(process) for process in left]
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    assert not told, "tests have left processes behind (they are killed now):\n" + "\n".join(told)


def _needs(item: pytest.Item) -> Iterator[str]:
    for marker in item.iter_markers("needs"):
        yield from marker.args


def _forbid(report: pytest.TestReport | pytest.CollectReport) -> None:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
    report.outcome = "failed"
    report.longrepr = f"skipped, where no skip is allowed: {reason}"


def _processes(mark: str) -> list[psutil.Process]:
    """Find what descends from this session: its children, and whoever else carries its mark."""
    children = psutil.Process().children(recursive=True)
    return [one for one in {*children, *_marked(mark)} if not _passes(one)]


def _marked(mark: str) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(SESSION_VARIABLE) == mark and process.pid != os.getpid():
                yield process


def _passes(process: psutil.Process) -> bool:
    """Tell whether a process is none of a test's: gone already, or Python's own helper that ends with us."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE or "multiprocessing.resource_tracker" in str(process.cmdline())
    except psutil.NoSuchProcess:
        return True


def _told(process: psutil.Process) -> str:
    try:
        return f"{process.pid} {process.cmdline()} of {process.environ().get('PYTEST_CURRENT_TEST')}"
    except psutil.Error as error:
        return f"{process.pid}: {error}"
