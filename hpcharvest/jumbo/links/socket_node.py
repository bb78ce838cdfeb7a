"""A node's end of the link over TCP.

It looks for the head, proves itself, and looks for the next one when that is gone: soon, and then less and less often.
"""

from __future__ import annotations

import logging
import math
import random
import select
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from hpcharvest.errors import MessageNotUnderstood
from hpcharvest.jumbo.links import address, forks, handshake, notice
from hpcharvest.jumbo.links.channel import Channel, Limits
from hpcharvest.jumbo.links.handshake import Visit
from hpcharvest.jumbo.links.messages import HeadMessage, NodeMessage, decode, encode
from hpcharvest.jumbo.links.notice import Notice
from hpcharvest.jumbo.links.pause import Pause

log = logging.getLogger(__name__)

SHORTEST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 5.0
"""Also: a connection that lasted as long was a good one, and after it is lost the pauses begin anew."""
LOOK_S: Final = 1.0
"""At most one look at the shared file system in so many seconds."""
LIMITS: Final = Limits()
_BOTH: Final = select.EPOLLIN | select.EPOLLOUT


class SocketNode:
    """A `NodeLink`. `path`: where heads post themselves. `chance`: gives numbers from 0 to 1, so that nodes differ."""

    def __init__(self, path: Path, *, chance: Callable[[], float] = random.random, limits: Limits = LIMITS) -> None:
        self._path = path
        self._chance = chance
        self._limits = limits
        self._epoll = select.epoll()
        self._channel: Channel | None = None
        self._visit: Visit | None = None
        self._made = False
        self._asked_for = _BOTH
        self._fresh = False
        self._since = 0.0
        self._due = -math.inf
        """When to connect, or to give a head up that has not proven itself."""
        self._pause = Pause(SHORTEST_PAUSE_S, LONGEST_PAUSE_S)
        self._notice: Notice | None = None
        self._looked_at = -math.inf
        self._problem = ""
        forks.watch(self)

    def fileno(self) -> int:
        """Give a descriptor that becomes readable when there is something to do; always the same."""
        return self._epoll.fileno()

    def receive(self, now: float) -> Sequence[HeadMessage]:
        """Take what came; connect (again) if it is time to."""
        if self._channel is None and now >= self._due:
            self._dial(now)
        came: list[HeadMessage] = []
        for _, events in self._epoll.poll(0, 1):
            if self._channel is not None:
                self._serve(self._channel, events, now, came)
        if self._channel is not None and now >= self.next_event():
            self._hang_up("it did not prove itself in time", now)
        return came

    def fresh(self) -> bool:
        """Whether it has connected since this was asked last."""
        fresh, self._fresh = self._fresh, False
        return fresh

    @property
    def connected(self) -> bool:
        """Whether there is a head, proven, at the other end, as far as one knows."""
        return self._channel is not None and self._visit is None

    def next_event(self) -> float:
        """Steady seconds when `receive` is to be called although nothing came."""
        return math.inf if self.connected else self._due

    def send(self, message: NodeMessage) -> None:
        """Send if there is a head."""
        if self._channel is not None and self.connected:
            self._channel.send(encode(message))
            self._watch(self._channel)

    def close(self) -> None:
        """Hang up, after a last try to send what is left."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        self._due = math.inf
        self._epoll.close()

    def forget(self) -> None:
        """Close all descriptors, in a forked child."""
        if self._channel is not None:
            self._channel.forget()
            self._channel = None
        self._epoll.close()

    def _dial(self, now: float) -> None:
        found = self._look(now)
        try:
            connection = address.dial(found.host, found.port) if found is not None else None
        except OSError as error:
            self._tell(f"the head cannot be reached: {error}")
            connection = None
        if found is None or connection is None:
            self._due = now + self._pause.next(self._chance())
            return
        self._channel = Channel(connection, self._limits, handshake.LONGEST)
        self._visit = Visit(found.key)
        self._made = False
        self._asked_for = _BOTH
        self._due = now + self._limits.greeting_s
        self._epoll.register(self._channel, _BOTH)

    def _look(self, now: float) -> Notice | None:
        """Read what the head posted, unless that was done just now."""
        if now >= self._looked_at + LOOK_S:
            self._looked_at = now
            try:
                self._notice = notice.read(self._path)
            except (OSError, MessageNotUnderstood) as error:
                self._notice = None
                self._tell(f"no head can be found: {error}")
        return self._notice

    def _serve(self, channel: Channel, events: int, now: float, came: list[HeadMessage]) -> None:
        if not self._made:
            failure = channel.failure()
            if failure:
                self._hang_up(failure, now)
                return
            self._made = True
        if events & select.EPOLLOUT:
            channel.flush()
        self._watch(channel)
        try:
            lines = channel.receive()
            for line in lines or ():
                self._hear(channel, line, now, came)
        except MessageNotUnderstood as error:
            self._hang_up(str(error), now)
        else:
            if lines is None:
                self._hang_up("the connection ended", now)

    def _hear(self, channel: Channel, line: bytes, now: float, came: list[HeadMessage]) -> None:
        if self._visit is None:
            message = decode(line)
            if not isinstance(message, HeadMessage):
                raise MessageNotUnderstood(f"{type(message).__name__} is nothing that a head says")
            came.append(message)
            return
        answer = self._visit.hear(line)
        if answer is not None:
            channel.send(answer)
            return
        self._visit = None
        self._fresh = True
        self._since = now
        self._problem = ""
        channel.lines.limit = self._limits.line_bytes
        if self._notice is not None:
            log.info("connected to head %s at %s", self._notice.incarnation, self._notice.host)

    def _watch(self, channel: Channel) -> None:
        wanted = _BOTH if channel.waits else select.EPOLLIN
        if wanted != self._asked_for:
            self._epoll.modify(channel, wanted)
            self._asked_for = wanted

    def _hang_up(self, reason: str, now: float) -> None:
        self._tell(f"hanging up on the head: {reason}")
        if self.connected and now - self._since >= LONGEST_PAUSE_S:
            self._pause.reset()
        if self._channel is not None:
            self._epoll.unregister(self._channel)
            self._channel.close()
            self._channel = None
        self._visit = None
        self._due = now + self._pause.next(self._chance())

    def _tell(self, problem: str) -> None:
        """Log what is wrong: once, however often it is tried."""
        if problem != self._problem:
            log.info("%s; it is tried again", problem)
            self._problem = problem
