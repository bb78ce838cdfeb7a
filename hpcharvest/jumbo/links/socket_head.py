"""The head's end of the link over TCP.

It listens and tells where in the allocation's folder (`notice`); nodes come, prove themselves (`handshake`), and say
Hello. Whoever does not is hung up on, and nobody else notices.
"""

from __future__ import annotations

import errno
import logging
import secrets
import select
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from hpcharvest.clock import Clock
from hpcharvest.errors import MessageNotUnderstood, StorageUnavailable
from hpcharvest.jumbo.links import address, forks, handshake, notice
from hpcharvest.jumbo.links.channel import Channel, Limits
from hpcharvest.jumbo.links.handshake import Challenge
from hpcharvest.jumbo.links.messages import HeadMessage, Hello, NodeMessage, decode, encode
from hpcharvest.jumbo.links.notice import Notice

log = logging.getLogger(__name__)

EVENTS: Final = 512
"""Connections that are served in one call, and new ones that are taken; the others have their turn in the next."""
BACKLOG: Final = 65_535
"""As many as the kernel allows: all the nodes of a large machine may come at once."""
DEAF_S: Final = 1.0
"""For so long new ones are left waiting when there is no room for them."""
FULL: Final = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
LIMITS: Final = Limits()


class _Peer:
    """Somebody who connected: a stranger, until there is a node's name."""

    def __init__(self, channel: Channel, challenge: Challenge, serial: int, deadline: float) -> None:
        self.channel = channel
        self.challenge: Challenge | None = challenge
        self.serial = serial
        self.deadline = deadline
        self.node = ""
        self.asked_for = select.EPOLLIN


class SocketHead:
    """The head's end, a `HeadLink`.

    What it says beside that: a node that was dropped, or that came again on another connection, is not told as gone.
    Those who did not say Hello in time are hung up on at the next `receive`.
    """

    def __init__(
        self, path: Path, *, host: str, incarnation: int, nodes: int, clock: Clock, limits: Limits = LIMITS
    ) -> None:
        """Listen on `host`, an address in digits, and post it at `path`. `nodes`: how many are expected.

        ConfigurationError: there is no listening on that address. StorageUnavailable: it could not be posted.
        """
        address.allow_files(nodes)
        self._listener = address.listen(host, BACKLOG)
        self._clock = clock
        self._limits = limits
        self._secret = secrets.token_bytes(notice.SECRET_BYTES)
        self._incarnation = incarnation
        self._serial = 0
        self._peers: dict[int, _Peer] = {}
        self._strangers: dict[int, _Peer] = {}
        self._nodes: dict[str, _Peer] = {}
        self._epoll = select.epoll()
        self._epoll.register(self._listener, select.EPOLLIN)
        self._deaf_until = 0.0
        forks.watch(self)
        port = self._listener.getsockname()[1]
        try:
            notice.post(path, Notice(host=host, port=port, incarnation=incarnation, secret=self._secret.hex()))
        except StorageUnavailable:
            self.close()
            raise
        log.info("head %s listens for nodes at %s, port %s", incarnation, host, port)

    def fileno(self) -> int:
        """Give a descriptor that becomes readable when there is something to do."""
        return self._epoll.fileno()

    def receive(self) -> Sequence[tuple[str, NodeMessage | None]]:
        """Take what came, with the node's name; None: its end is gone."""
        came: list[tuple[str, NodeMessage | None]] = []
        for descriptor, events in self._epoll.poll(0, EVENTS):
            if descriptor in self._peers:
                self._serve(self._peers[descriptor], events, came)
        now = self._clock.steady()
        self._accept(now)
        for peer in list(self._strangers.values()):
            if now < peer.deadline:
                break  # they are in the order in which they came
            log.info("hanging up on somebody who did not say Hello in time")
            self._remove(peer)
        return came

    def send(self, node: str, message: HeadMessage) -> None:
        """Send as soon as the node takes it; to a node that is gone, nothing happens."""
        if node in self._nodes:
            self._say(self._nodes[node], encode(message))

    def drop(self, node: str) -> None:
        """Hang up on a node."""
        if node in self._nodes:
            self._remove(self._nodes[node])

    def close(self) -> None:
        """Hang up on everybody. What was posted stays: by now it may be the next head's."""
        for peer in list(self._peers.values()):
            self._remove(peer)
        self._epoll.close()
        self._listener.close()

    def forget(self) -> None:
        """Close all descriptors, in a forked child."""
        for peer in self._peers.values():
            peer.channel.forget()
        self._peers.clear()
        self._epoll.close()
        self._listener.close()

    def _serve(self, peer: _Peer, events: int, came: list[tuple[str, NodeMessage | None]]) -> None:
        if events & select.EPOLLOUT:
            peer.channel.flush()
            self._watch(peer)
        if not events & ~select.EPOLLOUT:
            return
        try:
            lines = peer.channel.receive()
            for line in lines or ():
                self._hear(peer, line, came)
        except MessageNotUnderstood as error:
            log.warning("hanging up on %s: %s", peer.node or "a stranger", error)
            lines = None
        if lines is None:
            if self._nodes.get(peer.node) is peer:
                came.append((peer.node, None))
            self._remove(peer)

    def _hear(self, peer: _Peer, line: bytes, came: list[tuple[str, NodeMessage | None]]) -> None:
        if peer.challenge is not None:
            self._say(peer, peer.challenge.answer(line))
            peer.challenge = None
            peer.channel.lines.limit = self._limits.line_bytes
            return
        message = decode(line)
        if not isinstance(message, NodeMessage):
            raise MessageNotUnderstood(f"{type(message).__name__} is nothing that a node says")
        if isinstance(message, Hello):
            self._introduce(peer, message)
        if peer.node:
            came.append((peer.node, message))

    def _introduce(self, peer: _Peer, hello: Hello) -> None:
        if not isinstance(hello.node, str) or not hello.node or peer.node not in {"", hello.node}:
            raise MessageNotUnderstood(f"{hello.node!r:.80} cannot be its name")
        other = self._nodes.get(hello.node, peer)
        if other.serial > peer.serial:
            raise MessageNotUnderstood(f"node {hello.node} has come again since")
        peer.node = hello.node
        self._strangers.pop(peer.channel.fileno(), None)
        if other is not peer:
            self._remove(other)
        self._nodes[hello.node] = peer

    def _say(self, peer: _Peer, line: bytes) -> None:
        peer.channel.send(line)
        self._watch(peer)

    def _watch(self, peer: _Peer) -> None:
        wanted = select.EPOLLIN | (select.EPOLLOUT if peer.channel.waits else 0)
        if wanted != peer.asked_for:
            self._epoll.modify(peer.channel, wanted)
            peer.asked_for = wanted

    def _remove(self, peer: _Peer) -> None:
        descriptor = peer.channel.fileno()
        self._epoll.unregister(descriptor)
        peer.channel.close()
        del self._peers[descriptor]
        self._strangers.pop(descriptor, None)
        if self._nodes.get(peer.node) is peer:
            del self._nodes[peer.node]

    def _accept(self, now: float) -> None:
        if now < self._deaf_until:
            return
        if self._deaf_until:
            self._deaf_until = 0.0
            self._epoll.register(self._listener, select.EPOLLIN)
        for _ in range(EVENTS):
            try:
                connection, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:  # of the one that came, which is forgotten; or there is no more room
                if error.errno in FULL:
                    self._make_room(error, now)
                return
            self._serial += 1
            channel = Channel(connection, self._limits, handshake.LONGEST)
            challenge = Challenge(self._secret, self._incarnation)
            peer = _Peer(channel, challenge, self._serial, now + self._limits.greeting_s)
            self._peers[channel.fileno()] = self._strangers[channel.fileno()] = peer
            self._epoll.register(channel, select.EPOLLIN)
            self._say(peer, challenge.opening)

    def _make_room(self, error: OSError, now: float) -> None:
        """Hang up on who has been a stranger for longest; or listen no more for a while."""
        log.warning("no room for one more node: %s", error)
        if self._strangers:
            self._remove(next(iter(self._strangers.values())))
        else:
            self._epoll.unregister(self._listener)
            self._deaf_until = now + DEAF_S
