"""Podman with a store of its own, and an image made of Debian's static busybox: no registry, no network.

Debian's packages are `podman`, `runc` and `busybox-static`. The options are what a small machine asks for: without
systemd the cgroups are made by podman itself; crun refuses a machine that has both versions of cgroups mounted, runc
does not; the limits of a container must not be above our own; and vfs is the store that works on any file system.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BUSYBOX = Path("/bin/busybox")
NAME = "localhost/hpcharvest-test:1"
MARK = "/made-by-the-test"
"""A file that is in the image and nowhere else."""
_TOOLS = ("sh", "cat", "echo", "printf", "sleep", "env")


def available() -> str | None:
    """Tell why no container can be run; None if it can."""
    missing = [name for name in ("podman", "runc") if shutil.which(name) is None]
    if missing:
        return f"there is no {' and no '.join(missing)} (apt-get install {' '.join(missing)})"
    if not BUSYBOX.exists() or b"/lib64/ld-linux" in BUSYBOX.read_bytes():
        return "there is no static busybox to make an image of (apt-get install busybox-static)"
    return None if os.geteuid() == 0 else "podman is tried as root only"


@contextmanager
def store() -> Iterator[Path]:
    """Give a folder for a store, gone afterwards. Its name is short: podman takes no more than 50 characters."""
    with tempfile.TemporaryDirectory(prefix="pod-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def table(folder: Path, **more: Any) -> Mapping[str, Any]:
    """Give the `[container]` table of a site whose store lies in `folder`."""
    return {"engine": "podman", "command": list(command(folder)), "options": _limits(), **more}


def command(folder: Path) -> tuple[str, ...]:
    """Give the words that begin each command of a podman whose store lies in `folder`."""
    places = [f"--{name}={folder}/{name}" for name in ("root", "runroot", "tmpdir")]
    return ("podman", *places, "--storage-driver=vfs", "--cgroup-manager=cgroupfs", "--runtime=runc")


def call(folder: Path, *words: str) -> str:
    """Give what such a podman says. CalledProcessError: it fails."""
    done = subprocess.run([*command(folder), *words], capture_output=True, check=True, text=True)
    return done.stdout.strip()


def archive(folder: Path, name: str = NAME, form: str = "docker-archive") -> Path:
    """Make an image in a store that is thrown away, and save it to a file: with a shell in /bin, and nothing else."""
    with store() as bench:
        _make(bench, name)
        file = folder / f"{form}.tar"
        call(bench, "save", "--format", form, "--output", str(file), name)
    return file


def _make(bench: Path, name: str) -> None:
    root = bench / "image"
    for place in ("bin", "tmp", "etc", "dev", "proc", "sys"):
        (root / place).mkdir(parents=True)
    shutil.copy(BUSYBOX, root / "bin" / "busybox")
    for tool in (*_TOOLS, "bash"):
        (root / "bin" / tool).symlink_to("busybox")
    (root / MARK.lstrip("/")).write_text("here\n")
    with tarfile.open(bench / "image.tar", "w") as tar:
        tar.add(root, arcname=".")
    # An entry point would come before the payload, if the engine were not told otherwise.
    change = '--change=ENTRYPOINT ["/bin/echo","the entry point spoke:"]'
    call(bench, "import", change, str(bench / "image.tar"), name)


def _limits() -> list[str]:
    """Give the options by which a container keeps within our own limits."""
    found = {"nofile": resource.RLIMIT_NOFILE, "nproc": resource.RLIMIT_NPROC}
    hard = {name: min(max(resource.getrlimit(which)[1], 1024), 4096) for name, which in found.items()}
    return [f"--ulimit={name}={limit}:{limit}" for name, limit in hard.items()]
