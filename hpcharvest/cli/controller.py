"""Whether a controller runs, as far as its lease tells from here."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from hpcharvest.cli.page import Record, Span
from hpcharvest.engine.lease import Holder, dead, read
from hpcharvest.engine.why import duration


class Life(StrEnum):
    """What a lease tells."""

    NONE = "none"
    """Nobody holds it: no controller runs."""
    ALIVE = "alive"
    """Its process is there (this machine), or it was renewed in time (another one)."""
    SILENT = "silent"
    """It was not renewed in time, but nobody knows its holder dead."""
    DEAD = "dead"
    """Its process is gone: no controller runs, and the next one takes over at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Controller:
    """A lease, as seen from here. `age_s`: since it was renewed, by the file server's clock and ours."""

    life: Life
    holder: Holder | None = None
    age_s: float = 0.0

    @property
    def runs(self) -> bool:
        """Whether a controller runs, as far as anybody knows."""
        return self.life in {Life.ALIVE, Life.SILENT}

    @property
    def sentence(self) -> str:
        """What people should know."""
        if self.holder is None:
            return "no controller runs"
        who = f"process {self.holder.pid} on {self.holder.host}"
        renewed = f"its lease was renewed {duration(self.age_s)} ago"
        return {
            Life.ALIVE: f"{who} is the controller; {renewed}",
            Life.SILENT: f"{who} was the controller and may be gone: {renewed}, which lasts {self.holder.lease_s:g} s",
            Life.DEAD: f"no controller runs: {who} is gone, and left its lease behind",
        }[self.life]

    def record(self) -> Record:
        """Give the fields for a page."""
        known = self.holder
        return {
            "controller": self.life.value,
            "host": known.host if known else None,
            "process": known.pid if known else None,
            "lease_age_s": Span(self.age_s) if known else None,
            "lease_s": Span(known.lease_s) if known else None,
        }


def look(lease: Path, now: float) -> Controller:
    """Read a lease at `now` (wall seconds). Raises StorageUnavailable if the file cannot be read or is no lease."""
    holder = read(lease)
    if holder is None:
        return Controller(life=Life.NONE)
    try:
        age_s = max(0.0, now - lease.stat().st_mtime)
    except FileNotFoundError:
        return Controller(life=Life.NONE)
    return Controller(life=_life(holder, age_s), holder=holder, age_s=age_s)


def _life(holder: Holder, age_s: float) -> Life:
    if dead(holder):
        return Life.DEAD
    return Life.ALIVE if age_s <= holder.lease_s else Life.SILENT
