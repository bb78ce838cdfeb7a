"""The ranges of one job set, and what is to follow when all of them are done."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from hpcharvest.sandbox.definition import MergeStep
from hpcharvest.sandbox.jobs import InputFile
from hpcharvest.sandbox.ledger import JobEntry
from hpcharvest.sandbox.ranges import Range
from hpcharvest.sandbox.states import EventState


@dataclass(kw_only=True, slots=True)
class Pool:
    """All ranges of the set, those that nobody has, and the job that it was made of."""

    entry: JobEntry
    step: MergeStep | None = None
    members: list[Range] = field(default_factory=list)
    ready: deque[Range] = field(default_factory=deque)
    merged: bool = False
    """Its merge job was made, or cannot be."""

    @property
    def due(self) -> bool:
        """Whether its merge step is to follow now: every range is done, or will never be, and one is done at least."""
        states = {one.state for one in self.members}
        over = states <= {EventState.DONE, EventState.FATAL}
        return self.step is not None and not self.merged and over and EventState.DONE in states


def slices(entry: JobEntry, n_ranges: int, events: int, first_file: int) -> Iterator[Range]:
    """Cut a job's inputs into so many ranges of so many events, spread evenly; files are numbered from `first_file`."""
    job = json.loads(entry.wire)
    names, guids, scopes = (job[key].split(",") for key in ("inFiles", "GUID", "scopeIn"))
    files = [InputFile(lfn, 0, "", guid, scope) for lfn, guid, scope in zip(names, guids, scopes, strict=True)]
    for at, file in enumerate(files):
        count = n_ranges * (at + 1) // len(files) - n_ranges * at // len(files)
        for process in range(1, count + 1):
            yield Range(
                task_id=entry.task_id,
                jobset_id=entry.jobset_id,
                file_id=first_file + at,
                process=process,
                start=(process - 1) * events + 1,
                last=process * events,
                lfn=file.lfn,
                guid=file.guid,
                scope=file.scope,
            )
