from __future__ import annotations

from pathlib import Path

import pytest

from hpcharvest.errors import StoreError
from hpcharvest.store.file_systems import file_system_of, journal_mode, mounts_here

MOUNTS = r"""
/dev/vda / ext4 rw 0 0
tmpfs /run tmpfs rw 0 0
server:/home /home nfs4 rw 0 0
/dev/sdb /home/local xfs rw 0 0
one /scratch ext4 rw 0 0
two /scratch lustre rw 0 0
someone@host: /mnt/a\040b fuse.sshfs rw 0 0
torn
"""


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "tmpfs", "overlay", "zfs", "fuse.ntfs", ""])
@pytest.mark.parametrize("policy", ["refuse", "rollback_journal"])
def test_a_local_disk_has_a_write_ahead_log(kind: str, policy: str) -> None:
    assert journal_mode(kind, policy) == "wal"  # type: ignore[arg-type] # the table's strings are the policy's


@pytest.mark.parametrize(
    "kind",
    [
        *("nfs", "nfs4", "lustre", "gpfs", "beegfs", "ceph", "fuse.ceph", "fuse.ceph-fuse", "fuse.sshfs", "afs"),
        *("cifs", "smb3", "panfs", "dvs", "9p", "fuse.glusterfs"),
    ],
)
def test_a_network_file_system_is_refused_or_has_a_rollback_journal(kind: str) -> None:
    assert journal_mode(kind, "rollback_journal") == "delete"
    with pytest.raises(StoreError, match="put it on a local disk") as problem:
        journal_mode(kind, "refuse")
    assert kind in str(problem.value)
    assert not problem.value.transient


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib/a.db", "ext4"),
        ("/run", "tmpfs"),
        ("/runner/a.db", "ext4"),
        ("/home/me/a.db", "nfs4"),
        ("/home/local/me/a.db", "xfs"),
        ("/homes/a.db", "ext4"),
        ("/scratch/a.db", "lustre"),
        ("/mnt/a b/a.db", "fuse.sshfs"),
    ],
)
def test_the_longest_and_then_the_last_mount_point_has_the_path(path: str, kind: str) -> None:
    assert file_system_of(Path(path), MOUNTS) == kind


def test_without_a_table_the_type_is_unknown() -> None:
    assert not file_system_of(Path("/anywhere"), "")


def test_this_machine_has_a_root() -> None:
    assert file_system_of(Path("/"), mounts_here())
