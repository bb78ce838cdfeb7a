"""The log of a payload: a tarball of all in its folder that is neither an output nor an input.

Small ones are packed at once; larger ones by a forked child, so that the head goes on meanwhile.
"""

from __future__ import annotations

import io
import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from hpcharvest.jumbo.bell import deafen
from hpcharvest.messenger.protocol import Task

if TYPE_CHECKING:
    import tarfile

log = logging.getLogger(__name__)

LARGEST_FILE: Final = 10_000_000
"""Bytes; of larger files only so much of the end is packed."""
SMALL_BYTES: Final = 256_000
SMALL_FILES: Final = 20
"""What is packed at once has no more than these."""
DRAFT: Final = ".log.part"
NOTES: Final = "log_notes.txt"


class Member(NamedTuple):
    """A file for the tarball."""

    name: str
    path: str
    about: os.stat_result


def is_there(task: Task) -> bool:
    """Tell whether the payload left the log itself, as a pilot does."""
    try:
        return task.job_text is not None and stat.S_ISREG(os.lstat(f"{task.folder}/{task.log}").st_mode)
    except OSError:
        return False


def is_small(task: Task) -> bool:
    """Tell whether packing takes no time worth a process of its own."""
    room = SMALL_BYTES
    for count, member in enumerate(_members(task)):
        room -= member.about.st_size
        if room < 0 or count >= SMALL_FILES:
            return False
    return True


def pack(task: Task) -> None:
    """Write the tarball under a temporary name, and rename it. OSError as it comes."""
    import tarfile

    if task.log is None:
        return
    draft, notes = f"{task.folder}/{DRAFT}", list[str]()
    with tarfile.open(draft, "w:gz", compresslevel=5) as tar:
        for member in _members(task):
            _add(tar, member, notes)
        if notes:
            info = tarfile.TarInfo(NOTES)
            info.mtime = Path(draft).stat().st_mtime
            _add_bytes(tar, info, "".join(f"{note}\n" for note in notes).encode(errors="replace"))
    Path(draft).replace(f"{task.folder}/{task.log}")


def fork_to_pack(task: Task) -> int:
    """Pack in a child; return its number. Its exit code is 0, or the errno of what went wrong."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        deafen()
        pack(task)
        code = 0
    except OSError as error:
        code = error.errno or code
    except Exception:
        log.exception("the log of job %s could not be packed", task.job)
    finally:
        os._exit(code)  # no clean-up of what belongs to the head


def _members(task: Task) -> Iterator[Member]:
    left_out = {*task.outputs, *task.links, task.log, DRAFT}
    folders = [""]
    while folders:
        inside = folders.pop()
        try:
            found = list(os.scandir(f"{task.folder}/{inside}"))
        except PermissionError as error:
            log.warning("job %s: %s is left out of the log: %s", task.job, inside or "its folder", error.strerror)
        else:
            for entry in found:
                name = inside + entry.name
                if name in left_out:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.append(f"{name}/")
                else:
                    yield Member(name, entry.path, entry.stat(follow_symlinks=False))


def _add(tar: tarfile.TarFile, member: Member, notes: list[str]) -> None:
    import tarfile

    name, about = member.name, member.about
    info = tarfile.TarInfo(name)
    info.mtime, info.mode = about.st_mtime, stat.S_IMODE(about.st_mode)
    if stat.S_ISLNK(about.st_mode):
        info.type, info.linkname = tarfile.SYMTYPE, os.readlink(member.path)  # noqa: PTH115  # a text is wanted
        tar.addfile(info)
    elif not stat.S_ISREG(about.st_mode):
        notes.append(f"{name}: left out, as it is no file")
    else:
        if about.st_size > LARGEST_FILE:
            notes.append(f"{name}: only the last {LARGEST_FILE} of its {about.st_size} bytes, as {name}.tail")
            info.name += ".tail"
        _add_bytes(tar, info, _tail(member, notes))


def _tail(member: Member, notes: list[str]) -> bytes:
    try:
        with Path(member.path).open("rb") as file:
            file.seek(max(0, member.about.st_size - LARGEST_FILE))
            return file.read(LARGEST_FILE)
    except PermissionError as error:
        notes.append(f"{member.name}: could not be read: {error.strerror}")
        return b""


def _add_bytes(tar: tarfile.TarFile, info: tarfile.TarInfo, content: bytes) -> None:
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))
