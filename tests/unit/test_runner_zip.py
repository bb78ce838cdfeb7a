"""The runner in a single file, run by a Python that sees nothing else of ours."""

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcharvest.engine import runner_zip
from hpcharvest.errors import StorageUnavailable
from hpcharvest.messenger.mailbox import Mailbox
from hpcharvest.messenger.protocol import ExitCode, Manifest, PayloadEnded, RunnerLeft, Task
from hpcharvest.model.ids import AllocationId, Attempt, JobId
from hpcharvest.model.states import PayloadResult

ALONE = [sys.executable, "-I", "-S"]
"""Without the site's packages: hpcharvest itself is one of them here."""
IMPORT_ALL = """
import importlib, sys, zipfile
sys.path.insert(0, sys.argv[1])
for name in zipfile.ZipFile(sys.argv[1]).namelist():
    if name.startswith("hpcharvest/") and not name.endswith("__main__.py"):
        module = importlib.import_module(name.removesuffix(".py").removesuffix("/__init__").replace("/", "."))
        assert module.__file__.startswith(sys.argv[1] + "/"), module
        print(module.__name__)
"""
ECHO = "import sys\nprint(__spec__.name, *sys.argv[1:])\n"


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Path]:
    """Give the zip in a folder where nothing may be written."""
    place = tmp_path / "read-only"
    place.mkdir()
    runner_zip.write(place / "runner.zip")
    place.chmod(0o555)
    yield place / "runner.zip"
    place.chmod(0o755)


def ran(*words: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    argv = [*ALONE, *map(str, words)]
    environment |= {"PATH": os.environ["PATH"]}
    return subprocess.run(argv, cwd=cwd, env=environment, capture_output=True, text=True, timeout=60.0, check=False)


def test_an_allocation_is_run_by_the_zip_alone(runner: Path, tmp_path: Path) -> None:
    mailbox = Mailbox(tmp_path / "allocation")
    folder = str(tmp_path / "runs" / "1.1")
    task = Task(job=JobId(1), attempt=Attempt(1), argv=("sh", "-c", "echo hi >out"), folder=folder, outputs=("out",))
    mailbox.write_manifest(Manifest(allocation=AllocationId(1), tag="zip", cores_per_node=1, tasks=(task,)))
    done = ran(runner, mailbox.folder, cwd=tmp_path, HPCHARVEST_NODES="v1", HPCHARVEST_VIRTUAL_NODES="1")
    assert done.returncode == ExitCode.LEFT, done.stderr
    records = [record for segment in mailbox.journal.read_from(0) for record in segment.records]
    assert [one.outcome.result for one in records if isinstance(one, PayloadEnded)] == [PayloadResult.DONE]
    assert isinstance(records[-1], RunnerLeft)
    assert os.listdir(runner.parent) == ["runner.zip"]  # noqa: PTH208  # names are wanted


def test_wrong_words_have_the_exit_code_that_says_so(runner: Path, tmp_path: Path) -> None:
    assert ran(runner, cwd=tmp_path).returncode == ExitCode.USAGE


def test_all_that_is_in_it_needs_nothing_else(runner: Path, tmp_path: Path) -> None:
    done = ran("-c", IMPORT_ALL, runner, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {"hpcharvest.jumbo.head", "hpcharvest.jumbo.links.mpi", "hpcharvest.model.ids"} <= set(done.stdout.split())


def test_the_first_word_says_which_program_is_wanted(tmp_path: Path) -> None:
    package = tmp_path / "package"
    for part in ("node", "rank"):
        (package / "jumbo" / part).mkdir(parents=True)
        (package / "jumbo" / part / "__init__.py").touch()
        (package / "jumbo" / part / "__main__.py").write_text(ECHO)
    for name in ("__init__.py", "errors.py", "clock.py", "jumbo/__init__.py"):
        (package / name).touch()
    for name in ("model", "messenger"):
        (package / name).mkdir()
    (package / "jumbo/__main__.py").write_text(ECHO)
    path = tmp_path / "runner.zip"
    runner_zip.write(path, package)
    assert ran(path, "folder", "node", cwd=tmp_path).stdout == "hpcharvest.jumbo.__main__ folder node\n"
    for part in ("node", "rank"):
        assert ran(path, part, "folder", "-x", cwd=tmp_path).stdout == f"hpcharvest.jumbo.{part}.__main__ folder -x\n"


def test_the_same_files_give_the_same_bytes_wherever_and_whenever(tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere"
    shutil.copytree(runner_zip.PACKAGE, copy)
    for path in copy.rglob("*.py"):
        os.utime(path, (0, 0))
        path.chmod(0o700)
    assert runner_zip.build(copy) == runner_zip.build()


def test_it_has_nothing_that_does_not_belong_there(runner: Path) -> None:
    names = zipfile.ZipFile(runner).namelist()
    assert {name.split("/")[1] for name in names if "/" in name} == set(runner_zip.PARTS)
    assert len(names) == len(set(names))
    assert all(name.endswith(".py") for name in names)


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "runner.zip").mkdir()
    (tmp_path / "runner.zip" / "file").touch()
    with pytest.raises(StorageUnavailable, match=r"runner\.zip"):
        runner_zip.write(tmp_path / "runner.zip")
    assert [one.name for one in tmp_path.iterdir()] == ["runner.zip"]
