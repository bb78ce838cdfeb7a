"""A cluster for a demonstration, a benchmark or a test: its daemon is started, and everything is gone at the end."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from hpcharvest.sandbox.batch import client, processes
from hpcharvest.sandbox.batch.errors import BatchError, UnreachableError
from hpcharvest.sandbox.batch.job import LIVE
from hpcharvest.sandbox.batch.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterable
    from os import PathLike
    from types import TracebackType

_POLL_S = 0.01
_START_S = 120.0


class Cluster:
    """One embedded batch system in a spool folder, its daemon a detached process.

    As a context manager it starts the daemon, and at the end cancels all jobs and stops it. The thin wrappers raise
    `RefusedError` for a no and `UnreachableError` while the daemon is away. Times are seconds.
    """

    def __init__(self, spool: Path, settings: Settings | None = None) -> None:
        self.spool = spool
        self.settings = settings or Settings(nodes=4, cores_per_node=2)
        self._daemon: subprocess.Popen[bytes] | None = None

    @property
    def command(self) -> list[str]:
        """The argv that every command to this cluster begins with."""
        return [sys.executable, "-m", "hpcharvest.sandbox.batch", "--spool", str(self.spool)]

    @property
    def log(self) -> Path:
        """Where the daemon's log lines go."""
        return self.spool / "daemon.log"

    @property
    def daemon_pid(self) -> int | None:
        """The daemon's process id, None if it does not run."""
        return self._daemon.pid if self._daemon and self._daemon.poll() is None else None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start the daemon and wait until it answers; UnreachableError if it does not come up."""
        self.spool.mkdir(mode=0o700, parents=True, exist_ok=True)
        ready = self.spool / "ready"
        ready.unlink(missing_ok=True)
        with self.log.open("ab") as log:
            self._daemon = subprocess.Popen(
                [*self.command, "serve", "--ready-file", str(ready), *_options(self.settings)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        give_up_at = time.monotonic() + _START_S
        while not ready.exists():
            if self._daemon.poll() is not None or time.monotonic() > give_up_at:
                self.kill_daemon()
                raise UnreachableError(f"the daemon in {self.spool} did not come up; its log: {self.log}")
            time.sleep(_POLL_S)

    def stop(self) -> None:
        """End the daemon as SIGTERM does: running jobs go on, and `start` finds them again."""
        if self._daemon is not None:
            self._daemon.terminate()
            self._daemon.wait()

    def kill_daemon(self) -> None:
        """End the daemon as a crash does."""
        if self._daemon is not None:
            self._daemon.kill()
            self._daemon.wait()

    def close(self) -> None:
        """Cancel all jobs and end the daemon; kills what is left where the daemon cannot do it any more."""
        try:
            client.ask(self.spool, {"op": "stop", "cancel": True}, timeout_s=10 + self.settings.kill_grace_s)
            if self._daemon is not None:
                self._daemon.wait(timeout=10)
        except (BatchError, subprocess.TimeoutExpired):
            self.kill_daemon()
        token = self.spool / "token"
        if token.exists():
            processes.kill_spool(token.read_text(encoding="ascii"))

    def submit(self, script: str | PathLike[str], **wishes: Any) -> int:
        """Submit a script file, with the wishes of `client.submission`; give the job's id."""
        job_id: int = client.ask(self.spool, client.submission(script, **wishes))
        return job_id

    def status(self, ids: Iterable[int] | None = None, history_s: float | None = None) -> list[dict[str, Any]]:
        """Tell about all jobs, or those given, as `status --json` does."""
        wanted = None if ids is None else list(ids)
        jobs: list[dict[str, Any]] = client.ask(self.spool, {"op": "status", "ids": wanted, "history_s": history_s})
        return jobs

    def wait(self, job_id: int, *, states: Iterable[str] = (), timeout_s: float = 180.0) -> dict[str, Any]:
        """Wait until a job is in one of these states, or has ended if none are given; give what is told of it.

        TimeoutError if that does not happen in time, LookupError if there is no such job.
        """
        wanted = frozenset(states)
        give_up_at = time.monotonic() + timeout_s
        while True:
            found = self.status([job_id])
            if not found:
                raise LookupError(f"no such job: {job_id}")
            state = found[0]["state"]
            if state in wanted or (not wanted and state not in LIVE):
                return found[0]
            if time.monotonic() > give_up_at:
                raise TimeoutError(f"job {job_id} is still {state} after {timeout_s:g} s")
            time.sleep(_POLL_S)

    def cancel(self, *job_ids: int) -> None:
        """Cancel jobs."""
        client.ask(self.spool, {"op": "cancel", "ids": list(job_ids)})

    def preempt(self, job_id: int, mode: str | None = None) -> None:
        """Take a running job from its nodes; `mode` is "requeue" or "cancel", by default the job's own."""
        client.ask(self.spool, {"op": "preempt", "id": job_id, "mode": mode})

    def node_down(self, name: str) -> None:
        """Lose a node and the jobs on it."""
        client.ask(self.spool, {"op": "node", "name": name, "up": False})

    def node_up(self, name: str) -> None:
        """Bring a node back."""
        client.ask(self.spool, {"op": "node", "name": name, "up": True})

    def info(self) -> dict[str, Any]:
        """Tell about nodes, queues, limits and torn spool files."""
        info: dict[str, Any] = client.ask(self.spool, {"op": "info"})
        return info


def _options(settings: Settings) -> list[str]:
    options = {
        "--nodes": settings.nodes,
        "--cores-per-node": settings.cores_per_node,
        "--kill-grace": settings.kill_grace_s,
        "--max-jobs-per-user": settings.max_jobs_per_user,
        "--retention": settings.retention_s,
    }
    given = [part for name, value in options.items() if value is not None for part in (name, str(value))]
    return given + [part for name, limit in settings.queues.items() for part in ("--queue", f"{name}={limit}")]
