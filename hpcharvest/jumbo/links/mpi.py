"""The link over MPI, for machines whose nodes may speak to each other in no other way. Needs mpi4py.

Rank 0 is the head, each other rank is a node. What MPI cannot do is
said here: it has no connections, so none is made again when the head is gone, and when one process dies it ends all of
them. An MPI with ULFM (Open MPI 5 under `mpiexec --with-ft ulfm`) does not: there a rank that died is told as gone and
the others go on, but the nodes of a head that died stay without one.

MPI has no descriptor to wait on, so both ends are to be called again and again: a `Pause` from `SHORTEST_PAUSE_S` to
`LONGEST_PAUSE_S` says when. `close` is the exception to the rule that nothing waits: it does, for up to `SETTLE_S`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from typing import Any, Final

from hpcharvest.errors import ConfigurationError, MessageNotUnderstood
from hpcharvest.jumbo.links.channel import Limits
from hpcharvest.jumbo.links.messages import HeadMessage, Hello, NodeMessage, decode, encode
from hpcharvest.jumbo.links.pause import Pause
from hpcharvest.jumbo.links.post import HEAD, Kind, Post

log = logging.getLogger(__name__)

SHORTEST_PAUSE_S: Final = 0.001
LONGEST_PAUSE_S: Final = 0.01
"""Between two looks whether something came."""
LIMITS: Final = Limits()


class MpiHead:
    """The head's end, a `HeadLink`. A node that was dropped is not told as gone; it is told to come again."""

    def __init__(self, post: Post, limits: Limits = LIMITS) -> None:
        self._post = post
        self._unsent_bytes = limits.unsent_bytes
        self._ranks: dict[str, int] = {}
        self._names: dict[int, str] = {}
        self._lost: list[str] = []

    def fileno(self) -> int:
        """There is no descriptor."""
        return -1

    def receive(self) -> Sequence[tuple[str, NodeMessage | None]]:
        """Take what came, with the node's name; None: its end is gone."""
        came: list[tuple[str, NodeMessage | None]] = [(node, None) for node in self._lost]
        self._lost = []
        for rank, kind, text in self._post.receive():
            try:
                came += self._heard(rank, kind, text)
            except MessageNotUnderstood as error:
                log.warning("hanging up on rank %s, %s: %s", rank, self._names.get(rank, "a stranger"), error)
                self._post.send(rank, Kind.DROPPED)
                came += self._forgotten(rank)
        return came

    def send(self, node: str, message: HeadMessage) -> None:
        """Send as soon as the node takes it; to a node that is gone, nothing happens."""
        rank = self._ranks.get(node)
        if rank is None:
            return
        if self._post.unsent(rank) > self._unsent_bytes:
            log.warning("hanging up on node %s, that left %s bytes where they were", node, self._post.unsent(rank))
            self.drop(node)
            self._lost.append(node)
            return
        self._post.send(rank, Kind.MESSAGE, encode(message))

    def drop(self, node: str) -> None:
        """Hang up on a node."""
        if node in self._ranks:
            rank = self._ranks[node]
            self._post.send(rank, Kind.DROPPED)
            list(self._forgotten(rank))

    def close(self) -> None:
        """Hang up on everybody."""
        ranks = range(1, self._post.size)
        for rank in ranks:
            self._post.end(rank)
        self._post.settle(ranks)

    def _heard(self, rank: int, kind: Kind, text: bytes) -> Iterator[tuple[str, NodeMessage | None]]:
        if kind is not Kind.MESSAGE:
            self._post.end(rank)
            yield from self._forgotten(rank)
            return
        message = decode(text)
        if not isinstance(message, NodeMessage):
            raise MessageNotUnderstood(f"{type(message).__name__} is nothing that a node says")
        if isinstance(message, Hello):
            self._introduce(rank, message)
        if rank in self._names:
            yield self._names[rank], message

    def _introduce(self, rank: int, hello: Hello) -> None:
        if not isinstance(hello.node, str) or not hello.node or self._names.get(rank, hello.node) != hello.node:
            raise MessageNotUnderstood(f"{hello.node!r:.80} cannot be its name")
        older = self._ranks.get(hello.node, rank)
        if older != rank:
            self._post.end(older)
            self._names.pop(older, None)
        self._ranks[hello.node] = rank
        self._names[rank] = hello.node

    def _forgotten(self, rank: int) -> Iterator[tuple[str, None]]:
        node = self._names.pop(rank, None)
        if node is not None:
            del self._ranks[node]
            yield node, None


class MpiNode:
    """A node's end, a `NodeLink`. When its head is gone there is never another one."""

    def __init__(self, post: Post, limits: Limits = LIMITS, *, gone: HeadMessage | None = None) -> None:
        """`gone`: what is heard last when the head is gone."""
        self._post = post
        self._gone = gone
        self._unsent_bytes = limits.unsent_bytes
        self._fresh = True
        self._ended = False
        self._pause = Pause(SHORTEST_PAUSE_S, LONGEST_PAUSE_S)
        self._due = -math.inf

    def fileno(self) -> int:
        """There is no descriptor."""
        return -1

    def receive(self, now: float) -> Sequence[HeadMessage]:
        """Take what came."""
        came: list[HeadMessage] = []
        for rank, kind, text in self._post.receive():
            if rank != HEAD:
                continue  # another node died
            if kind is Kind.MESSAGE:
                came += _from_head(text)
            self._fresh = self._fresh or kind is Kind.DROPPED
            if kind is Kind.ENDED and not self._ended:
                self._ended = True
                came += [] if self._gone is None else [self._gone]
        if came:
            self._pause.reset()
        self._due = math.inf if self._ended else now + self._pause.next()
        return came

    def fresh(self) -> bool:
        """Whether it has connected since this was asked last: at the start, and when the head had dropped it."""
        fresh, self._fresh = self._fresh and not self._ended, False
        return fresh

    @property
    def connected(self) -> bool:
        """Whether there is a head, as far as one knows."""
        return not self._ended

    def next_event(self) -> float:
        """Steady seconds when `receive` is to be called: the pauses grow while nothing comes."""
        return self._due

    def send(self, message: NodeMessage) -> None:
        """Send if there is a head. One that leaves too much where it is hears nothing more."""
        if not self._ended and self._post.unsent(HEAD) <= self._unsent_bytes:
            self._post.send(HEAD, Kind.MESSAGE, encode(message))

    def close(self) -> None:
        """Hang up, after a last try to send what is left."""
        self._ended = True
        self._post.end(HEAD)
        self._post.settle([HEAD])


def start() -> Post:
    """Start MPI. ConfigurationError: there is none, or it has one process alone."""
    post = Post(_mpi())
    if post.size < 2:
        raise ConfigurationError("the link over MPI needs two processes or more: start them with the site's launcher")
    return post


def join(limits: Limits = LIMITS) -> MpiHead | MpiNode:
    """Start MPI, and give the end of the link that is this process's. ConfigurationError as in `start`."""
    post = start()
    return MpiHead(post, limits) if post.rank == HEAD else MpiNode(post, limits)


def _mpi() -> Any:
    try:
        import mpi4py

        mpi4py.rc.threads = False
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise ConfigurationError(f"the link over MPI needs mpi4py and an MPI library on the nodes: {error}") from error
    return MPI


def _from_head(text: bytes) -> Iterator[HeadMessage]:
    try:
        message = decode(text)
    except MessageNotUnderstood as error:
        log.warning("something that no head says is passed over: %s", error)
        return
    if isinstance(message, HeadMessage):
        yield message
