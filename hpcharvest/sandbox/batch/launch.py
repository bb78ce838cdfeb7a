"""Starting a job's wrapper, and finding one again that an earlier daemon started."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from hpcharvest.sandbox.batch import processes
from hpcharvest.sandbox.batch.processes import Family, Leader

if TYPE_CHECKING:
    from hpcharvest.sandbox.batch.job import Job
    from hpcharvest.sandbox.batch.spool import Spool

# The traps let the wrapper survive what is sent to all of the job; unlike "ignore", the script does not inherit them.
# Its own stderr is closed to the job's: a shell likes to remark on children that a signal killed.
WRAPPER = """\
trap : HUP INT QUIT USR1 USR2 ALRM TERM
exec 3>&2 2>/dev/null
(exec "$1" "$2" 2>&3 3>&-)
code=$?
printf '%s\\n' "$code" >"$4.new" && "$3" -f "$4.new" "$4"
exit "$code"
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """A job's wrapper as the daemon holds it: a pidfd to watch, and the child if it is ours."""

    family: Family
    leader: Leader
    pidfd: int
    child: subprocess.Popen[bytes] | None

    def reap(self) -> int | None:
        """Close the pidfd of an ended wrapper; give the signal that killed it, where that can be known."""
        os.close(self.pidfd)
        code = None if self.child is None else self.child.wait()
        return -code if code is not None and code < 0 else None


def tag_of(job: Job, spool: Spool) -> str:
    """Give the value that every process of the job carries in its environment."""
    return f"{job.id}+{spool.token}"


def launch(job: Job, spool: Spool, cores_per_node: int) -> Run:
    """Start the script of a job that has its nodes, in a session of its own.

    OSError means that nothing was started: the folder is gone, or an output file cannot be opened.
    """
    tag = tag_of(job, spool)
    script, code_file = spool.work(job.id) / "script", spool.exit_code_file(job)
    tools = [_tool("bash"), str(script), _tool("mv"), str(code_file)]
    with _open(job, job.output or "batch-%j.out") as output:
        error = _open(job, job.error) if job.error and job.error != job.output else None
        try:
            child = subprocess.Popen(
                ["/bin/sh", "-c", WRAPPER, f"hpcharvest-batch-{job.id}", *tools],
                cwd=job.cwd,
                env=spool.environment(job.id) | _variables(job, tag, cores_per_node),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=error or subprocess.STDOUT,
                start_new_session=True,
            )
        finally:
            if error:
                error.close()
    about = processes.stat(child.pid)
    if about is None:
        raise OSError(f"job {job.id} vanished while it was started: is /proc mounted?")
    leader = Leader(pid=child.pid, start_ticks=about.start_ticks)
    return Run(family=Family(tag=tag, leader=leader), leader=leader, pidfd=os.pidfd_open(child.pid), child=child)


def adopt(job: Job, spool: Spool) -> Run | None:
    """Find the wrapper that another daemon started for this job; None if it has ended or never was."""
    tag = tag_of(job, spool)
    if job.pid is not None and job.start_ticks is not None:
        leader: Leader | None = Leader(pid=job.pid, start_ticks=job.start_ticks)
    elif spool.exit_code(job) is None:
        leader = processes.oldest(tag)  # that daemon died between the start and the record of it
    else:
        leader = None
    if leader is None or not processes.is_running(leader):
        return None
    try:
        pidfd = os.pidfd_open(leader.pid)
    except ProcessLookupError:
        return None
    if not processes.is_running(leader):
        os.close(pidfd)
        return None
    return Run(family=Family(tag=tag, leader=leader), leader=leader, pidfd=pidfd, child=None)


# The deadline is rounded down to whole seconds: the arithmetic of a shell knows no others.
def _variables(job: Job, tag: str, cores_per_node: int) -> dict[str, str]:
    return {
        processes.TAG_VARIABLE: tag,
        "HPCHARVEST_BATCH_JOBID": str(job.id),
        "HPCHARVEST_BATCH_NODELIST": ",".join(job.nodes),
        "HPCHARVEST_BATCH_NNODES": str(len(job.nodes)),
        "HPCHARVEST_BATCH_CORES_PER_NODE": str(cores_per_node),
        "HPCHARVEST_BATCH_RESTART": str(job.restart_count),
        "HPCHARVEST_BATCH_DEADLINE": str(int(job.deadline or 0)),
    }


def _open(job: Job, name: str) -> IO[bytes]:
    path = Path(job.cwd) / name.replace("%j", str(job.id))
    return path.open("ab" if job.restart_count else "wb")


def _tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise FileNotFoundError(f"{name} is not in the PATH of the daemon")
    return found
