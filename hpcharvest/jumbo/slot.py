"""One payload's process: started, asked to stop, killed, reaped."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hpcharvest.errors import MessageNotUnderstood, UnsafeName
from hpcharvest.jumbo import folder, kin, pilot
from hpcharvest.jumbo.pool import Place
from hpcharvest.jumbo.verdict import Ending, Stop
from hpcharvest.messenger.protocol import Task
from hpcharvest.model.states import PayloadResult

NOT_ITS_DOING: Final = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EIO, errno.ESTALE})
"""Why a process may fail to start although nothing is wrong with the payload; nor is a missing launcher or engine."""


@dataclass(slots=True, kw_only=True)
class Slot:
    """A payload's process, and the place that it takes."""

    task: Task
    place: Place
    mark: kin.Mark
    process: subprocess.Popen[bytes]
    started_at: float
    """Wall seconds."""
    launched: bool = False
    """Whether the process is a launcher, which starts the payload."""
    stop: Stop | None = None
    """Why we stop it; the first reason counts."""

    @property
    def node(self) -> str:
        """The names of its nodes, separated by commas."""
        return ",".join(self.place.nodes)

    def reap(self, now: float) -> Ending:
        """Bury a process that ended, and what it left behind in its process group. `now`: wall seconds."""
        pid = self.process.pid
        kin.end_group(pid)
        _, status, usage = os.wait4(pid, 0)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        return Ending(
            code=self.process.returncode,
            started_at=self.started_at,
            ended_at=now,
            cpu_s=usage.ru_utime + usage.ru_stime,
            max_rss_kb=usage.ru_maxrss,
        )


def start(
    task: Task, argv: Sequence[str], environment: Mapping[str, str], stdin: int
) -> subprocess.Popen[bytes] | Stop:
    """Start a payload in its own folder and session; a Stop says why there is no process."""
    if not task.argv:
        return Stop(PayloadResult.FAILED, "the payload cannot be started: its command is empty")
    try:
        stdout, stderr = _prepare(task)
    except (UnsafeName, MessageNotUnderstood) as error:
        return Stop(PayloadResult.FAILED, str(error))
    except OSError as error:
        return Stop(PayloadResult.NOT_RUN, f"the payload's folder cannot be made: {error}")
    try:
        return subprocess.Popen(
            argv,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            cwd=task.folder,
            env=_environment(task, environment),
            close_fds=False,  # ours are all close-on-exec; so vfork(2) is used
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        launched = len(argv) > len(task.argv) or task.contained
        ours = isinstance(error, OSError) and (launched or error.errno in NOT_ITS_DOING)
        result = PayloadResult.NOT_RUN if ours else PayloadResult.FAILED
        return Stop(result, f"the payload cannot be started: {error}")
    finally:
        os.close(stdout)
        os.close(stderr)


def _prepare(task: Task) -> tuple[int, int]:
    """Make the folder, with all that the payload looks for in it; give descriptors for stdout and stderr."""
    streams = folder.prepare(task)
    try:
        if task.job_text is not None:
            pilot.equip(Path(task.folder), task.job, task.job_text, task.links)
    except (OSError, UnsafeName, MessageNotUnderstood):
        for one in streams:
            os.close(one)
        raise
    return streams


def _environment(task: Task, own: Mapping[str, str]) -> Mapping[str, str]:
    if task.job_text is None:
        return own
    return pilot.environment(own, task.env, task.folder, Path(task.folder).name)
