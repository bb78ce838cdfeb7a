"""The lease: one controller for each harvester id, on whatever login node.

It lies in the shared work folder: the database's own lock cannot be seen from another node. Its holder renews it
in time. A lease is dead when its process is known to be dead (same machine: another boot, or no such process), or
when it has not moved for its whole time, watched by the clock of the one who wants it; clocks of two machines are
never compared.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from hpcharvest.clock import Clock
from hpcharvest.errors import HarvestError, LeaseHeld, StorageUnavailable

logger = logging.getLogger(__name__)

RENEWALS = 3
"""How often a lease is renewed in its time."""
WATCH_S = 0.5
"""Seconds between two looks at somebody else's lease."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who holds a lease. `renewals` grows, so that a lease that is renewed never looks the same twice."""

    token: str
    host: str
    boot: str
    pid: int
    started: int
    """When the process began, in ticks since the boot: a clock that is stepped does not change it."""
    renewals: int
    lease_s: float


class Lease:
    """A lease that we hold, or try to. All times in seconds."""

    def __init__(self, path: Path, lease_s: float, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._lease_s = lease_s
        self._me = Holder(
            token=secrets.token_hex(8),
            host=socket.gethostname(),
            boot=_boot(),
            pid=os.getpid(),
            started=_started(os.getpid()),
            renewals=0,
            lease_s=lease_s,
        )
        self._renewed = 0.0
        self._seen_wall = 0.0
        self._lost: HarvestError | None = None
        self._lock = threading.Lock()
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    def acquire(self, wait: Callable[[float], object], *, patient: bool) -> None:
        """Take the lease. If another holds it: raise LeaseHeld, or (`patient`) watch it until it has died.

        `wait` is called with seconds to pass.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageUnavailable(f"{self._path.parent} cannot be made: {error.strerror}") from error
        seen, since = None, self._clock.steady()
        while not self._take_new():
            holder = read(self._path)
            if holder is None:
                continue
            if holder != seen:
                seen, since = holder, self._clock.steady()
            unmoved = self._clock.steady() - since
            if dead(holder) or unmoved > holder.lease_s:
                self._take_over(holder)
            elif patient:
                wait(WATCH_S)
            else:
                raise LeaseHeld(
                    f"process {holder.pid} on {holder.host} holds {self._path}: stop it first, or, if that machine is "
                    f"gone, start with --wait, which takes over after {holder.lease_s:g} s without renewal"
                )
        self._renewed, self._seen_wall = self._clock.steady(), self._clock.wall()

    def keep(self) -> None:
        """Renew the lease from now on, in a thread of its own, until it is released: the loop may be busy for long."""
        self._thread.start()

    def check(self) -> None:
        """Raise LeaseHeld if the lease is ours no more, or StorageUnavailable if it could not be renewed in time.

        Looks at the file itself if this process was asleep for a while.
        """
        if self._clock.wall() - self._seen_wall > self._lease_s / 2:
            self.renew()
        if self._lost is not None:
            raise self._lost

    def _keep(self) -> None:
        while not self._released.wait(self._lease_s / RENEWALS):
            self.renew()

    def renew(self) -> None:
        """Renew once. What fails is tried again, until there is just time to leave before somebody else takes over."""
        with self._lock:
            now = self._clock.steady()
            try:
                self._renew_or_raise()
            except LeaseHeld as error:
                self._lost = error
            except (StorageUnavailable, OSError) as error:
                logger.warning("%s; trying again", error)
                if now > self._renewed + self._lease_s * 2 / 3:
                    self._lost = StorageUnavailable(f"the lease could not be renewed for too long: {error}")
            else:
                self._renewed, self._seen_wall = now, self._clock.wall()

    def _renew_or_raise(self) -> None:
        holder = read(self._path)
        if holder is None:
            raise LeaseHeld(f"{self._path} is gone: somebody removed it; this controller stops at once")
        if holder.token != self._me.token:
            raise LeaseHeld(f"{self._path} was taken over by process {holder.pid} on {holder.host}; this one stops")
        self._me = replace(self._me, renewals=self._me.renewals + 1)
        self._draft().replace(self._path)

    def release(self) -> None:
        """Give the lease back, if it is ours."""
        self._released.set()
        if self._thread.is_alive():
            self._thread.join()
        holder = read(self._path)
        if holder is not None and holder.token == self._me.token:
            self._path.unlink(missing_ok=True)

    def _take_new(self) -> bool:
        """Take a lease that nobody holds; exclusive, whoever else tries."""
        draft = self._draft()
        try:
            os.link(draft, self._path)
        except FileExistsError:
            return False
        finally:
            draft.unlink(missing_ok=True)
        return True

    def _take_over(self, gone: Holder) -> None:
        """Put a dead lease out of the way; of several who do, one alone moves it."""
        grave = self._path.with_suffix(f".dead.{gone.token}.{self._me.token}")
        try:
            self._path.rename(grave)
        except FileNotFoundError:
            return
        buried = read(grave)
        if buried is not None and buried != gone:
            # Between our look and our move a new holder came, or this one came to life: it goes back.
            with suppress(FileExistsError):
                os.link(grave, self._path)
        grave.unlink()

    def _draft(self) -> Path:
        """Write what we hold to a file beside the lease. Raises StorageUnavailable, and leaves nothing behind."""
        draft = self._path.with_suffix(f".{self._me.token}")
        try:
            with draft.open("w") as file:
                json.dump(asdict(self._me), file)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            with suppress(OSError):
                draft.unlink(missing_ok=True)
            raise StorageUnavailable(f"the lease {self._path} cannot be written: {error.strerror}") from error
        return draft


def read(path: Path) -> Holder | None:
    """Say who holds a lease; None: nobody. Raises StorageUnavailable if it cannot be read or is no lease."""
    try:
        return Holder(**json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageUnavailable(f"the lease {path} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError) as error:
        raise StorageUnavailable(
            f"{path} is not a lease ({error}): make sure that no controller runs, then remove it"
        ) from error


def dead(holder: Holder) -> bool:
    """Whether the holder's process is known to be gone: only of this machine can we know."""
    if holder.host != socket.gethostname():
        return False
    if holder.boot != _boot():
        return True
    return _started(holder.pid) != holder.started


def _started(pid: int) -> int:
    """Say when a process began, in ticks since the boot (field 22 of its stat, proc(5)); 0: there is none.

    A dead one that nobody reaped, as in a container without an init, still has its number, and counts as none.
    """
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return 0 if words[0] == "Z" else int(words[19])


def _boot() -> str:
    """Give what names this boot of this machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
