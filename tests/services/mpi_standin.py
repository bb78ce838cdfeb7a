"""What the link uses of mpi4py.MPI, in one process, with ranks that die: as Open MPI 5.0.11 with ULFM was seen to act.

After a rank died, a probe of any source fails until the failure is acknowledged; so does sending to it, and a request
that has to do with it, but nothing else. Messages up to `EAGER` bytes leave their sender at once; larger ones when they
are taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

EAGER: Final = 4096


class Failure(Exception):
    """As mpi4py.MPI.Exception."""

    def __init__(self, error_class: int) -> None:
        super().__init__(f"MPI error {error_class}")
        self._error_class = error_class

    def Get_error_class(self) -> int:  # noqa: N802  # MPI's name
        return self._error_class


class Status:
    def __init__(self) -> None:
        self.source = self.tag = self.count = -1

    def Get_source(self) -> int:  # noqa: N802  # MPI's name
        return self.source

    def Get_tag(self) -> int:  # noqa: N802  # MPI's name
        return self.tag

    def Get_count(self, _kind: object) -> int:  # noqa: N802  # MPI's name
        return self.count


@dataclass
class Letter:
    network: Network
    source: int
    dest: int
    tag: int
    text: bytes
    taken: bool = False

    def Irecv(self, buffer: Sequence[Any]) -> Letter:  # noqa: N802  # MPI's name
        buffer[0][:] = self.text
        self.taken = True
        return self

    def Test(self) -> bool:  # noqa: N802  # MPI's name
        if self.taken or len(self.text) <= EAGER:
            return True
        if {self.source, self.dest} & self.network.dead:
            raise Failure(Module.ERR_PROC_FAILED)
        return False


@dataclass
class Network:
    size: int
    letters: list[Letter] = field(default_factory=list)
    dead: set[int] = field(default_factory=set)

    def kill(self, rank: int) -> None:
        """Let a rank die, with what it did not take and what of it was not taken."""
        self.dead.add(rank)
        self.letters = [one for one in self.letters if one.dest != rank and (one.taken or len(one.text) <= EAGER)]


class Group:
    def __init__(self, ranks: Sequence[int]) -> None:
        self.ranks = list(ranks)

    def Get_size(self) -> int:  # noqa: N802  # MPI's name
        return len(self.ranks)

    @staticmethod
    def Translate_ranks(one: Group, places: Sequence[int], other: Group) -> list[int]:  # noqa: N802  # MPI's name
        return [other.ranks.index(one.ranks[place]) for place in places]


class Comm:
    def __init__(self, network: Network, rank: int) -> None:
        self.network = network
        self.rank = rank
        self.known = 0
        self.handler: object = None

    def Set_errhandler(self, handler: object) -> None:  # noqa: N802  # MPI's name
        self.handler = handler

    def Get_rank(self) -> int:  # noqa: N802  # MPI's name
        return self.rank

    def Get_size(self) -> int:  # noqa: N802  # MPI's name
        return self.network.size

    def Get_group(self) -> Group:  # noqa: N802  # MPI's name
        return Group(range(self.network.size))

    def Get_failed(self) -> Group:  # noqa: N802  # MPI's name
        return Group(sorted(self.network.dead))

    def Ack_failed(self, count: int) -> int:  # noqa: N802  # MPI's name
        self.known = count
        return count

    def Isend(self, buffer: Sequence[Any], dest: int, tag: int) -> Letter:  # noqa: N802  # MPI's name
        if dest in self.network.dead:
            raise Failure(Module.ERR_PROC_FAILED)
        letter = Letter(self.network, self.rank, dest, tag, bytes(buffer[0]))
        self.network.letters.append(letter)
        return letter

    def Improbe(self, source: int, tag: int, status: Status) -> Letter | None:  # noqa: N802  # MPI's name
        assert source == Module.ANY_SOURCE
        assert tag == Module.ANY_TAG
        if len(self.network.dead) > self.known:
            raise Failure(Module.ERR_PROC_FAILED_PENDING)
        for letter in self.network.letters:
            if letter.dest == self.rank:
                self.network.letters.remove(letter)
                status.source, status.tag, status.count = letter.source, letter.tag, len(letter.text)
                return letter
        return None


class Module:
    """The module as one rank has it."""

    BYTE = object()
    ANY_SOURCE = ANY_TAG = -2
    ERRORS_RETURN = object()
    ERR_PROC_FAILED = 75
    ERR_PROC_FAILED_PENDING = 76
    Exception = Failure
    Status = Status
    Group = Group

    def __init__(self, network: Network, rank: int) -> None:
        self.COMM_WORLD = Comm(network, rank)
