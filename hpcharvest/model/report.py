"""Something that we owe to PanDA: the newest status of a job."""

from __future__ import annotations

from dataclasses import dataclass

from hpcharvest.model.ids import JobId
from hpcharvest.model.states import JobState, ReportState


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The newest status of one job. A newer one takes an older one's place, so that there is one a job at the most."""

    job: JobId
    serial: int
    """Grows with every report of the job: an acknowledgement of an older one does not settle a newer one."""
    status: JobState
    """Our state; `panda.wire` translates it together with the job's record."""
    final: bool
    state: ReportState = ReportState.OWED
    since: float = 0.0
    """Wall seconds when it became owed."""
    tries: int = 0
    not_before: float = 0.0
    problem: str = ""
    """The server's words, if it refused it."""
