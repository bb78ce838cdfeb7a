"""The folder in which one attempt of a payload runs."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from hpcharvest.errors import UnsafeName
from hpcharvest.messenger.protocol import Task

STDOUT: Final = "stdout.txt"
STDERR: Final = "stderr.txt"
LONGEST_REPORT: Final = 1_000_000
"""Bytes of a payload's jobReport.json; one that is longer is not read."""
STARTED: Final = ".started"
"""Is there when a launcher has started the payload."""
LONGEST_NAME: Final = 255
"""In bytes, on every file system we know."""


def check_names(names: Iterable[str]) -> None:
    """UnsafeName if one of the names is not that of a file in the folder itself."""
    for name in names:
        if name in {"", ".", ".."} or "/" in name or "\0" in name:
            raise UnsafeName(f"{name!r} would lead out of the payload's folder")
        if len(name.encode(errors="replace")) > LONGEST_NAME or not _encodable(name):
            raise UnsafeName(f"{name!r:.60}… cannot be the name of a file")


def _encodable(name: str) -> bool:
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return True


def prepare(task: Task) -> tuple[int, int]:
    """Make the folder anew, with the inputs linked into it; return descriptors for stdout and stderr, to be closed.

    What an earlier start of the batch job left there is set aside first, so that a payload of it that still runs
    somewhere writes elsewhere. UnsafeName: a name leads out, or two are the same. OSError: the storage does not play.
    """
    check_names((*task.links, *task.outputs, *([task.log] if task.log else ())))
    _make_anew(task.folder)
    stdout = _create(f"{task.folder}/{STDOUT}")
    try:
        stderr = _create(f"{task.folder}/{STDERR}")
    except OSError:
        os.close(stdout)
        raise
    try:
        for name, target in task.links.items():
            _link(f"{task.folder}/{name}", target)
    except (OSError, UnsafeName):
        os.close(stdout)
        os.close(stderr)
        raise
    return stdout, stderr


def _make_anew(folder: str) -> None:
    try:
        os.mkdir(folder)  # noqa: PTH102  # on the hot path: a Path costs more than the call
    except FileNotFoundError:
        Path(folder).mkdir(parents=True)
    except FileExistsError:
        import shutil

        aside = Path(f"{folder}.stale-{os.urandom(4).hex()}")
        Path(folder).rename(aside)
        shutil.rmtree(aside, ignore_errors=True)
        Path(folder).mkdir()


def _create(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o644)


def _link(path: str, target: str) -> None:
    try:
        os.symlink(target, path)  # noqa: PTH211  # on the hot path
    except FileExistsError:
        raise UnsafeName(f"an input is named as another file of the folder: {path}") from None
