"""On which file systems SQLite may keep a write-ahead log: a shared memory file must be shared by all who look at it.

The log's index is memory mapped, which works between processes of one machine only
(https://www.sqlite.org/wal.html). On a network file system SQLite still works with a rollback journal, provided that
one machine alone uses the database and that the file system's locks are real.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from hpcharvest.errors import StoreError

NetworkPolicy = Literal["refuse", "rollback_journal"]
JournalMode = Literal["wal", "delete"]

NETWORK = frozenset(
    [
        "9p",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "coda",
        "dvs",
        "gfs2",
        "glusterfs",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "ocfs2",
        "openafs",
        "orangefs",
        "panfs",
        "pvfs2",
        "smb3",
        "smbfs",
        "sshfs",
        "wekafs",
    ]
)
"""Types as the kernel lists them in /proc/self/mounts, without `fuse.`."""

_OCTAL = re.compile(r"\\([0-7]{3})")


def journal_mode(file_system: str, policy: NetworkPolicy) -> JournalMode:
    """Choose SQLite's journal mode for a file system type; a type that we do not know counts as local.

    Raises `StoreError` for a network file system under the policy `refuse`.
    """
    name = file_system.removeprefix("fuse.").removesuffix("-fuse").removesuffix("_client")
    if name not in NETWORK:
        return "wal"
    if policy == "rollback_journal":
        return "delete"
    raise StoreError(
        f"the database would lie on a network file system ({file_system}), where SQLite's write-ahead log breaks: "
        "put it on a local disk, use PostgreSQL, or allow the rollback journal (slower, one machine only)"
    )


def file_system_of(path: Path, mounts: str) -> str:
    """Tell the type of the file system that has `path` (absolute), from the text of /proc/self/mounts; empty: unknown.

    The longest mount point wins, and among equals the last, which covers the others.
    """
    found, length = "", -1
    for line in mounts.splitlines():
        _device, point, kind, *_options = [*line.split(" "), "", "", ""]
        folder = Path(_OCTAL.sub(lambda escaped: chr(int(escaped[1], 8)), point))
        if kind and path.is_relative_to(folder) and len(folder.parts) >= length:
            found, length = kind, len(folder.parts)
    return found


def mounts_here() -> str:
    """Read the kernel's table of mounts; empty where there is none (not Linux)."""
    table = Path("/proc/self/mounts")
    return table.read_text(encoding="utf-8", errors="surrogateescape") if table.exists() else ""
