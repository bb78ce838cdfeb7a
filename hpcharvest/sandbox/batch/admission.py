"""May this job in, and what becomes of it: from a submission to a record, or a refusal. Pure."""

from __future__ import annotations

import math
import signal
from typing import TYPE_CHECKING, Any

from hpcharvest.sandbox.batch.errors import RefusedError
from hpcharvest.sandbox.batch.job import LIVE, Job

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hpcharvest.sandbox.batch.settings import Settings

WARNINGS = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGALRM,
    signal.SIGTERM,
    signal.SIGCONT,
)


def parse_warning(text: str) -> tuple[int, float]:
    """Read "USR1@60", "SIGUSR1@60" or "10@60": the signal's number and the seconds before the end."""
    name, found, seconds = text.partition("@")
    by_name = {number.name: number for number in WARNINGS} | {str(int(number)): number for number in WARNINGS}
    chosen = by_name.get(name) or by_name.get(f"SIG{name}")
    try:
        before_s = float(seconds)
    except ValueError:
        before_s = -1.0
    if not found or chosen is None or not 0 <= before_s < math.inf:
        known = ", ".join(number.name[3:] for number in WARNINGS)
        raise RefusedError(f"signal {text!r} is not NAME@SECONDS with a name of {known}")
    return int(chosen), before_s


def admit(
    submission: dict[str, Any], *, job_id: int, user: int, now: float, settings: Settings, jobs: Iterable[Job]
) -> Job:
    """Give the record of a new job; RefusedError says why there cannot be one.

    With `oversize` it may want more nodes than there are, and waits for ever, as some batch systems let it.
    """
    queue = submission.get("queue") or next(iter(settings.queues))
    nodes = int(submission.get("nodes", 1))
    if queue not in settings.queues:
        raise RefusedError(f"no queue {queue!r}; there are {', '.join(settings.queues)}")
    if nodes < 1 or (nodes > settings.nodes and not submission.get("oversize")):
        raise RefusedError(f"{nodes} nodes asked for; this cluster has {settings.nodes}")
    walltime_s = _walltime(submission.get("walltime"), queue, settings)
    warn_signal, warn_before_s = None, 0.0
    if submission.get("signal"):
        warn_signal, warn_before_s = parse_warning(submission["signal"])
    limit = settings.max_jobs_per_user
    if limit is not None and sum(job.user == user and job.state in LIVE for job in jobs) >= limit:
        raise RefusedError(f"job limit reached: user {user} has {limit} jobs pending or running")
    return Job(
        id=job_id,
        user=user,
        queue=queue,
        nodes_wanted=nodes,
        walltime_s=walltime_s,
        cwd=submission["cwd"],
        submit_time=now,
        name=submission.get("name") or submission.get("script_name", ""),
        comment=submission.get("comment") or "",
        output=submission.get("output"),
        error=submission.get("error"),
        priority=int(submission.get("priority", 0)),
        requeue=bool(submission.get("requeue", False)),
        warn_signal=warn_signal,
        warn_before_s=warn_before_s,
    )


def _walltime(asked: float | None, queue: str, settings: Settings) -> float:
    limit = settings.queues[queue]
    walltime_s = limit if asked is None else float(asked)
    if not 0 < walltime_s <= limit:
        raise RefusedError(f"walltime {walltime_s:g} s; queue {queue!r} gives more than 0 and at most {limit:g} s")
    return walltime_s
