"""Removes what payloads left on a node, also folders that they had made read-only."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import stat
from pathlib import Path

log = logging.getLogger(__name__)


def remove(path: str | Path) -> None:
    """Remove a folder with all that is in it; what cannot be removed is logged, once, and left."""
    shutil.rmtree(path, ignore_errors=True)
    if not os.path.lexists(path):
        return
    _open_up(Path(path))
    shutil.rmtree(path, ignore_errors=True)
    if os.path.lexists(path):
        log.warning("%s cannot be removed from this node", path)


def _open_up(top: Path) -> None:
    """Give the folders in a folder, and itself, the permissions without which nothing in them can be removed."""
    if top.is_symlink():
        return
    with contextlib.suppress(OSError):
        top.chmod(stat.S_IRWXU)
    for folder, names, _ in os.walk(top):
        for path in (Path(folder, name) for name in names):
            if not path.is_symlink():
                with contextlib.suppress(OSError):
                    path.chmod(stat.S_IRWXU)  # before the walk comes to it
