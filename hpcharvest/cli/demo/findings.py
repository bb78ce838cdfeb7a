"""What the audits of a demonstration compare and find."""

from __future__ import annotations

from typing import NamedTuple


class Content(NamedTuple):
    """What identifies the content of a file: bytes, and adler32 as eight hexadecimal digits."""

    size: int
    adler32: str

    def shown(self) -> str:
        """Give it for people."""
        return f"{self.size} bytes {self.adler32}"


class Disagreement(NamedTuple):
    """Something that is not as it must be; `job` is None if no single job is concerned."""

    job: int | None
    what: str
