"""What a node told its head and what was not acknowledged yet, in order: bookkeeping in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Sequence

from hpcharvest.jumbo.links.messages import Archived, Row, Told
from hpcharvest.jumbo.node.outputs import Shut
from hpcharvest.model.ids import JobId


class Unheard:
    """Numbered messages, each kept until it is acknowledged."""

    def __init__(self) -> None:
        self._number = 0
        self._waiting: deque[Told | Archived] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Told | Archived]:
        return iter(self._waiting)

    def told(
        self, job: JobId, *, done: Sequence[Row] = (), failed: Sequence[Row] = (), back: Sequence[int] = ()
    ) -> Told:
        """Make the next message, of outcomes."""
        self._number += 1
        made = Told(number=self._number, job=job, done=list(done), failed=list(failed), back=list(back))
        self._waiting.append(made)
        return made

    def archived(self, shut: Shut) -> Archived:
        """Make the next message, of an archive."""
        self._number += 1
        made = Archived(
            number=self._number,
            job=shut.job,
            name=shut.name,
            size=shut.size,
            adler32=shut.adler32,
            ranges=list(shut.ranges),
        )
        self._waiting.append(made)
        return made

    def heard(self, number: int) -> list[Told | Archived]:
        """Take out what is acknowledged by this number."""
        taken = []
        while self._waiting and self._waiting[0].number <= number:
            taken.append(self._waiting.popleft())
        return taken

    def taken_again(self, job: JobId, indices: Collection[int]) -> None:
        """Say no more that these were returned: the head must know it, as it gave them out again."""
        for one in self._waiting:
            if isinstance(one, Told) and one.job == job and (one.back or one.failed):
                one.back = [index for index in one.back if index not in indices]
                one.failed = [row for row in one.failed if row[0] not in indices]
