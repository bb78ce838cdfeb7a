"""Lines out of a stream of bytes that comes in pieces. Each byte is looked at once, however small the pieces are."""

from __future__ import annotations

from hpcharvest.errors import MessageNotUnderstood


class Lines:
    """Puts lines together. `limit`: bytes of the longest one, without its end; it may be changed at any time."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._rest = bytearray()

    def feed(self, piece: bytes) -> list[bytes]:
        """Add a piece, and give the lines that are whole now, without their ends.

        MessageNotUnderstood: one is longer than the limit, or will be. The stream is of no use after that.
        """
        known = len(self._rest)
        self._rest += piece
        end = self._rest.rfind(b"\n", known)
        lines: list[bytes] = []
        if end >= 0:
            lines = bytes(self._rest[:end]).split(b"\n")
            del self._rest[: end + 1]
        if known + len(piece) > self.limit:
            self._check(max(len(self._rest), *map(len, lines), 0))
        return lines

    def _check(self, longest: int) -> None:
        if longest > self.limit:
            raise MessageNotUnderstood(f"a line of {longest} bytes or more, where {self.limit} are the most")
