"""The runner in a single file, for nodes that have nothing but a Python: `python3 -I runner.zip FOLDER`.

Its name has a digest of what is in it: whatever becomes of this installation, an allocation runs what it was made for.
What is in it needs only the standard library. `python3 -I runner.zip node …` is `python -m hpcharvest.jumbo.node …`,
and so is `rank`.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from hpcharvest.messenger.files import storage, sync_folder, write_durably

log = logging.getLogger(__name__)

PARTS: Final = ("__init__.py", "errors.py", "clock.py", "model", "messenger", "jumbo")
"""Of this package: what runs inside allocations."""
MAIN: Final = b'''\
"""Run the runner, or, if the first word is `node` or `rank`, that part of it."""

import runpy
import sys

MODULE = "hpcharvest.jumbo"
if sys.argv[1:2] in (["node"], ["rank"]):
    MODULE += f".{sys.argv.pop(1)}"
runpy.run_module(MODULE, run_name="__main__", alter_sys=True)
'''
PACKAGE: Final = Path(__file__).parents[1]


class RunnerFile:
    """The runner as it is installed when this is made, and its place in a folder that the nodes share."""

    def __init__(self, folder: Path) -> None:
        self._text = build()
        self.path = folder / f"runner-{hashlib.sha256(self._text).hexdigest()[:12]}.zip"

    def place(self) -> None:
        """Put it there, unless it is there: large file systems are purged of what is old. StorageUnavailable."""
        if not self.path.exists():
            _write(self.path, self._text)

    def tidy(self, scripts: Iterable[Path]) -> None:
        """Remove those of other installations, but for what these batch scripts start. What cannot be read stays."""
        others = [one for one in self.path.parent.glob("runner-*.zip") if one != self.path]
        try:
            wanted = [one.read_text() for one in scripts if one.exists()] if others else []
            for one in others:
                if not any(one.name in text for text in wanted):
                    one.unlink(missing_ok=True)
        except (OSError, UnicodeDecodeError) as error:
            log.warning("older runners were not removed: %s", error)


def build(package: Path = PACKAGE) -> bytes:
    """Give the bytes of the zip: of the same files always the same, as nothing is compressed, dated or in disorder."""
    text = io.BytesIO()
    with zipfile.ZipFile(text, "w", zipfile.ZIP_STORED) as made:
        made.writestr(_entry("__main__.py"), MAIN)
        for path in sorted(_sources(package)):
            made.writestr(_entry(f"hpcharvest/{path.relative_to(package).as_posix()}"), path.read_bytes())
    return text.getvalue()


def write(path: Path, package: Path = PACKAGE) -> None:
    """Put the zip there: whole, durable, and readable by everybody. StorageUnavailable: it could not be."""
    _write(path, build(package))


def _write(path: Path, text: bytes) -> None:
    draft = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
    with storage(f"write the runner to {path}"):
        try:
            write_durably(draft, text)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        sync_folder(path.parent)


def _sources(package: Path) -> Iterator[Path]:
    for part in PARTS:
        whole = package / part
        yield from whole.rglob("*.py") if whole.is_dir() else (whole,)


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    entry.create_system = 3  # Unix, wherever it is made
    entry.external_attr = 0o100644 << 16
    return entry
