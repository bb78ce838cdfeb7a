"""How head and node find out that the other one knows the secret, without telling it: pure.

    head: hpcharvest-link 1 <incarnation> <nonce>
    node: <its own nonce> <proof for "node">
    head: <proof for "head">

A proof is the HMAC-SHA256, under the secret, of the role and of all three values, so that none serves twice or for the
other role. Before the last line the node says nothing of itself, and before the second the head hears nothing. What
follows is neither encrypted nor signed: the network inside a machine is trusted to bring bytes where they are sent.
"""

from __future__ import annotations

import hmac
import re
import secrets
from typing import Final

from hpcharvest.errors import MessageNotUnderstood

LONGEST: Final = 256
"""Bytes of the longest line here, which is all that a stranger is listened to."""
_NONCE: Final = r"[0-9a-f]{32}"
_OPENING: Final = re.compile(rf"hpcharvest-link 1 (\d{{1,9}}) ({_NONCE})")
_ANSWER: Final = re.compile(rf"({_NONCE}) ([0-9a-f]{{64}})")


class Challenge:
    """The head's side of one connection."""

    def __init__(self, secret: bytes, incarnation: int) -> None:
        self._secret = secret
        self._incarnation = str(incarnation)
        self._nonce = secrets.token_hex(16)

    @property
    def opening(self) -> bytes:
        """The line that the head says first."""
        return f"hpcharvest-link 1 {self._incarnation} {self._nonce}".encode("ascii")

    def answer(self, line: bytes) -> bytes:
        """Give the head's own proof to a node that proved itself. MessageNotUnderstood: it is a stranger."""
        found = _ANSWER.fullmatch(line.decode("latin-1"))
        if found is None:
            raise MessageNotUnderstood("somebody who does not speak as a node does")
        nonce, proof = found.groups()
        values = (self._incarnation, self._nonce, nonce)
        if not hmac.compare_digest(proof, _proof(self._secret, "node", *values)):
            raise MessageNotUnderstood("somebody who does not know this head's secret")
        return _proof(self._secret, "head", *values).encode("ascii")


class Visit:
    """The node's side of one connection."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._nonce = secrets.token_hex(16)
        self._awaited = ""

    def hear(self, line: bytes) -> bytes | None:
        """Give the line that answers this one; None: the head is proven. MessageNotUnderstood: it is a stranger."""
        if self._awaited:
            if not hmac.compare_digest(line, self._awaited.encode("ascii")):
                raise MessageNotUnderstood("something that does not know the secret of our head")
            return None
        found = _OPENING.fullmatch(line.decode("latin-1"))
        if found is None:
            raise MessageNotUnderstood("something that does not speak as a head does")
        values = (found[1], found[2], self._nonce)
        self._awaited = _proof(self._secret, "head", *values)
        return f"{self._nonce} {_proof(self._secret, 'node', *values)}".encode("ascii")


def _proof(secret: bytes, role: str, *values: str) -> str:
    return hmac.new(secret, " ".join((role, *values)).encode("ascii"), "sha256").hexdigest()
