"""Bytes between the ranks of an MPI, without ever waiting for one of them."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import Any, Final

log = logging.getLogger(__name__)

HEAD: Final = 0
TAKEN: Final = 512
"""Messages that are taken in one call."""
SETTLE_S: Final = 3.0
"""At the very end, so long is waited for others to come to their end."""


class Kind(IntEnum):
    """What is sent: MPI's tags."""

    MESSAGE = 1
    DROPPED = 2
    """What came before does not count: say Hello again."""
    ENDED = 3
    """Nothing will follow."""


class _Parcel:
    """A message on its way; its bytes must stay where they are until it is there."""

    def __init__(self, request: Any, kind: Kind, text: bytes | bytearray) -> None:
        self.request = request
        self.kind = kind
        self.text = text
        self.spoilt = False
        """It will never be there: one of the two died."""


class Post:
    """One process's end of MPI. `mpi`: the module mpi4py.MPI."""

    def __init__(self, mpi: Any) -> None:
        self._mpi = mpi
        self._comm = mpi.COMM_WORLD
        self._comm.Set_errhandler(mpi.ERRORS_RETURN)
        self._failures = {mpi.ERR_PROC_FAILED, mpi.ERR_PROC_FAILED_PENDING}
        self._dead: set[int] = set()
        self._untold: set[int] = set()
        self._ended: set[int] = set()
        self._told_end: set[int] = set()
        self._unsent: dict[int, int] = {}
        self._going: dict[int, deque[_Parcel]] = {}
        self._coming: dict[int, deque[_Parcel]] = {}
        self.rank: int = self._comm.Get_rank()
        self.size: int = self._comm.Get_size()
        self.settled = False
        """Whether all is said, and heard, in the end."""

    def unsent(self, rank: int) -> int:
        """Tell how many bytes that rank has not taken yet, as far as is known since the last `receive`."""
        return self._unsent.get(rank, 0)

    def send(self, rank: int, kind: Kind, text: bytes = b"") -> None:
        """Send as soon as that rank takes it; to one that died, nothing happens."""
        if rank in self._dead:
            return
        try:
            request = self._comm.Isend([text, self._mpi.BYTE], dest=rank, tag=kind)
        except self._mpi.Exception as error:
            self._forgive(error)
            return
        self._going.setdefault(rank, deque()).append(_Parcel(request, kind, text))
        self._unsent[rank] = self.unsent(rank) + len(text)

    def receive(self) -> Iterator[tuple[int, Kind, bytes]]:
        """Take what came, in order, each with its rank. A rank that died has ENDED, after all else that came of it."""
        self._see_off()
        nothing_left = False
        for _ in range(TAKEN):
            nothing_left = not self._begin()
            if nothing_left:
                break
        for rank, parcels in list(self._coming.items()):
            while parcels and self._is_there(parcels[0]):
                parcel = parcels.popleft()
                if parcel.kind is Kind.ENDED:
                    self._ended.add(rank)
                if not parcel.spoilt:
                    yield rank, parcel.kind, bytes(parcel.text)
            if not parcels:
                del self._coming[rank]
        if nothing_left:
            dead = sorted(self._untold - self._coming.keys())
            self._untold.difference_update(dead)
            for rank in dead:
                yield rank, Kind.ENDED, b""

    def end(self, rank: int) -> None:
        """Say, once, that nothing will follow."""
        if rank not in self._told_end:
            self._told_end.add(rank)
            self.send(rank, Kind.ENDED)

    def settle(self, ranks: Iterable[int]) -> None:
        """Wait a little, at the very end, until nothing is on its way from or to these ranks: they have to `end` too.

        What still comes is dropped. MPI may break, or wait for ever, when it is left with something on its way.
        """
        end, partners = time.monotonic() + SETTLE_S, set(ranks)
        while time.monotonic() < end:
            for _ in self.receive():
                pass
            if not self._going and not self._coming and partners <= self._ended | self._dead:
                self.settled = True
                return
            time.sleep(0.001)
        log.warning("MPI is left with messages on their way, which it may not like")

    def share(self, value: Any) -> Any:
        """Give what the head has, to all. All ranks call it, and wait for each other: at the start, or not at all."""
        return self._comm.bcast(value, root=HEAD)

    def gather(self, value: str) -> list[str]:
        """Give what each rank has, to all; as `share`."""
        gathered: list[str] = self._comm.allgather(value)
        return gathered

    def abort(self, code: int) -> None:
        """End all ranks, this one too, at once."""
        self._comm.Abort(code)

    def _begin(self) -> bool:
        """Begin to take a message that came; tell whether there may be more. A large one needs its time."""
        status = self._mpi.Status()
        try:
            message = self._comm.Improbe(source=self._mpi.ANY_SOURCE, tag=self._mpi.ANY_TAG, status=status)
            if message is None:
                return False
            text = bytearray(status.Get_count(self._mpi.BYTE))
            request = message.Irecv([text, self._mpi.BYTE])
        except self._mpi.Exception as error:
            self._forgive(error)
            return True
        parcel = _Parcel(request, Kind(status.Get_tag()), text)
        self._coming.setdefault(status.Get_source(), deque()).append(parcel)
        return True

    def _see_off(self) -> None:
        """Forget what was taken."""
        for rank, parcels in list(self._going.items()):
            while parcels and self._is_there(parcels[0]):
                self._unsent[rank] -= len(parcels.popleft().text)
            if not parcels:
                del self._going[rank]

    def _is_there(self, parcel: _Parcel) -> bool:
        try:
            return bool(parcel.request.Test())
        except self._mpi.Exception as error:
            self._forgive(error)
            parcel.spoilt = True
            return True

    def _forgive(self, error: Any) -> None:
        """Note which ranks died, if that is what is wrong; else raise it again."""
        if error.Get_error_class() not in self._failures:
            raise error
        failed = self._comm.Get_failed()
        self._comm.Ack_failed(failed.Get_size())
        places = self._mpi.Group.Translate_ranks(failed, list(range(failed.Get_size())), self._comm.Get_group())
        fresh = set(places) - self._dead
        if fresh:
            log.warning("MPI says that these ranks died: %s", sorted(fresh))
        self._dead |= fresh
        self._untold |= fresh
