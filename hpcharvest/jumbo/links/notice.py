"""The file by which nodes find their head: where it listens, and the secret by which both know each other."""

from __future__ import annotations

import contextlib
import ipaddress
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from hpcharvest.errors import MessageNotUnderstood
from hpcharvest.messenger import codec
from hpcharvest.messenger.files import storage

SECRET_BYTES: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What a head says about itself. `host`: an address in digits: looking up a name could take its time."""

    host: str
    port: int
    incarnation: int
    """Another one for each head of the same allocation."""
    secret: str = field(repr=False)
    """In hexadecimal digits."""

    @property
    def key(self) -> bytes:
        """The secret as it is used."""
        return bytes.fromhex(self.secret)


def post(path: Path, notice: Notice) -> None:
    """Put it up in the place of what an earlier head left: whole, and for this user only. StorageUnavailable."""
    draft = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
    with storage(f"tell the nodes, by {path}, where the head is"):
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(codec.to_text(notice))
            draft.replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                draft.unlink()
            raise


def read(path: Path) -> Notice:
    """Read it: one look at the shared file system. OSError as it comes; MessageNotUnderstood: it makes no sense."""
    where = str(path)
    notice = codec.decode(Notice, codec.parse(path.read_bytes(), where), where)
    try:
        ipaddress.ip_address(notice.host)
        sound = 0 < notice.port < 65536 and len(notice.key) == SECRET_BYTES
    except ValueError:
        sound = False
    if not sound:
        raise MessageNotUnderstood(f"{where}: host, port or secret is not what it should be")
    return notice
