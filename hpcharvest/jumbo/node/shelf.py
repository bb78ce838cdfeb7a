"""The archives of one job on a node: one that is open, and those that wait until the head has heard of all in them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from hpcharvest.jumbo.node.archive import Archive, archive_name
from hpcharvest.jumbo.node.members import Entry
from hpcharvest.jumbo.node.spool import HeardLine, Line, VoidLine
from hpcharvest.messenger.ranges import EventTask


@dataclass(slots=True, kw_only=True)
class Volume:
    """An archive, and what is in it."""

    archive: Archive
    since: float
    """Steady seconds."""
    entries: list[Entry] = field(default_factory=list)
    unheard: dict[int, Entry] = field(default_factory=dict)
    """By index: what the head has not acknowledged."""
    void: list[Entry] = field(default_factory=list)

    @property
    def counted(self) -> list[Entry]:
        """Give what counts, as far as is known."""
        void = {one.member.offset for one in self.void}
        return [one for one in self.entries if one.member.offset not in void]


class Shelf:
    """One job's archives. No effects but those of the archives."""

    def __init__(
        self,
        task: EventTask,
        make_archive: Callable[[str], Archive],
        unique: Callable[[], str],
        shortest_age_s: float = 0.0,
    ) -> None:
        """Begin. `shortest_age_s`: an archive is open at least so long, however full."""
        self.task = task
        self._shortest_age_s = shortest_age_s
        self._make, self._unique = make_archive, unique
        self._open: Volume | None = None
        self._sealed: list[Volume] = []

    def volume(self, first_range: str, now: float) -> Volume:
        """Give the open one, made if there is none. StorageUnavailable: it cannot be made."""
        if self._open is None:
            archive = self._make(archive_name(first_range, self._unique()))
            self._open = Volume(archive=archive, since=now)
        return self._open

    def settle(self, indices: Collection[int], void: Collection[int]) -> list[Line]:
        """Learn what was acknowledged, and what of it is void; give what is to be noted."""
        lines: list[Line] = []
        rest = set(indices)
        for volume in self._volumes():
            heard = [volume.unheard.pop(index) for index in indices if index in volume.unheard]
            rest.difference_update(one.index for one in heard)
            fresh = [one for one in heard if one.index in void]
            if fresh:
                volume.void += fresh
                offsets = tuple(one.member.offset for one in fresh)
                lines.append(VoidLine(job=self.task.job, archive=volume.archive.name, offsets=offsets))
        if rest:
            lines.append(HeardLine(job=self.task.job, failed=tuple(sorted(rest))))
        return lines

    def seal(self) -> None:
        """Put nothing more into what is open."""
        if self._open is not None:
            self._sealed.append(self._open)
            self._open = None

    def seal_if_due(self, now: float) -> None:
        """Seal what is full or old enough."""
        if self._open is None:
            return
        full = self._open.archive.size >= self.task.archive_bytes
        if now >= self._open.since + (self._shortest_age_s if full else self._age_s):
            self.seal()

    def closable(self) -> Volume | None:
        """Give an archive of which the head has heard all; None: there is none."""
        return next((one for one in self._sealed if not one.unheard), None)

    def remove(self, volume: Volume) -> None:
        """Take a closed one off the shelf."""
        self._sealed.remove(volume)

    def due(self) -> float | None:
        """Steady seconds when the open one is old enough; None: there is none."""
        return None if self._open is None else self._open.since + self._age_s

    def close(self) -> None:
        """Let go of all archives, as they are."""
        for volume in self._volumes():
            volume.archive.close()

    @property
    def _age_s(self) -> float:
        return max(self.task.archive_age_s, self._shortest_age_s)

    def _volumes(self) -> list[Volume]:
        return [*self._sealed, *([self._open] if self._open else [])]
