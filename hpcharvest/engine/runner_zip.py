"""The runner in a single file, for nodes that have nothing but a Python: `python3 -I runner.zip FOLDER`.

What is in it needs only the standard library. `python3 -I runner.zip node …` is `python -m hpcharvest.jumbo.node …`,
and so is `rank`.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from hpcharvest.messenger.files import storage, sync_folder, write_durably

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
    draft = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
    with storage(f"write the runner to {path}"):
        try:
            write_durably(draft, build(package))
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
