"""A head's end of two links at once: of the nodes that speak over MPI, and of the one that is not a rank itself."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from hpcharvest.jumbo.links.link import HeadLink
from hpcharvest.jumbo.links.messages import HeadMessage, Hello, NodeMessage
from hpcharvest.jumbo.links.mpi import LONGEST_PAUSE_S, SHORTEST_PAUSE_S
from hpcharvest.jumbo.links.pause import Pause

log = logging.getLogger(__name__)


class BothHead:
    """A `HeadLink` made of two. A node is where it said Hello last."""

    def __init__(self, *links: HeadLink) -> None:
        self._links = links
        self._of: dict[str, HeadLink] = {}
        self._pause = Pause(SHORTEST_PAUSE_S, LONGEST_PAUSE_S)
        self.look_s = 0.0
        """Seconds until `receive` is to be called again, as nothing rings: longer while nothing comes."""

    def fileno(self) -> int:
        """There is none that rings for both."""
        return -1

    def receive(self) -> Sequence[tuple[str, NodeMessage | None]]:
        """Take what came, with the node's name; None: its end is gone."""
        came = [one for link in self._links for one in self._from(link)]
        if came:
            self._pause.reset()
        self.look_s = self._pause.next()
        return came

    def send(self, node: str, message: HeadMessage) -> None:
        """Send as soon as the node takes it; to a node that is gone, nothing happens."""
        if node in self._of:
            self._of[node].send(node, message)

    def drop(self, node: str) -> None:
        """Hang up on a node."""
        if node in self._of:
            self._of.pop(node).drop(node)

    def close(self) -> None:
        """Hang up on everybody."""
        for link in self._links:
            link.close()

    def _from(self, link: HeadLink) -> Iterator[tuple[str, NodeMessage | None]]:
        for node, message in link.receive():
            if isinstance(message, Hello):
                self._move(node, link)
            if self._of.get(node) is not link:
                continue
            if message is None:
                del self._of[node]
            yield node, message

    def _move(self, node: str, link: HeadLink) -> None:
        older = self._of.get(node, link)
        if older is not link:
            log.warning("%s speaks over another link now", node)
            older.drop(node)
        self._of[node] = link
