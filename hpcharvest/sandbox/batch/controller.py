"""The daemon's head: keeps the jobs, carries out decisions and commands. It never waits."""

from __future__ import annotations

import logging
import os
import signal
import time
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from hpcharvest.sandbox.batch import launch, processes
from hpcharvest.sandbox.batch.admission import admit
from hpcharvest.sandbox.batch.errors import RefusedError
from hpcharvest.sandbox.batch.job import LIVE, Job, State
from hpcharvest.sandbox.batch.outcome import ending_for, outcome
from hpcharvest.sandbox.batch.placement import Node, free_nodes
from hpcharvest.sandbox.batch.processes import Family
from hpcharvest.sandbox.batch.scheduler import Due, decide

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hpcharvest.sandbox.batch.launch import Run
    from hpcharvest.sandbox.batch.placement import Start
    from hpcharvest.sandbox.batch.settings import Settings
    from hpcharvest.sandbox.batch.spool import Spool

    Watch = Callable[[int, Callable[[], None]], None]
    Unwatch = Callable[[int], object]

log = logging.getLogger(__name__)


class Controller:
    """All jobs of one cluster. `watch` and `unwatch` tie a pidfd to what happens when that process ends."""

    def __init__(self, *, spool: Spool, settings: Settings, watch: Watch, unwatch: Unwatch) -> None:
        self._spool = spool
        self._settings = settings
        self._watch = watch
        self._unwatch = unwatch
        self._jobs, self._torn, self._highest = spool.load()
        self._down = spool.down()
        self._runs: dict[int, Run] = {}
        self._waiting: dict[int, str] = {}
        for job in [job for job in self._jobs.values() if job.state is State.RUNNING]:
            self._recover(job)

    @property
    def running(self) -> bool:
        """Whether any job still has processes."""
        return bool(self._runs)

    def tick(self, now: float) -> float | None:
        """Do all that is due at `now`; give when to come again, or None for "when something happens"."""
        while True:
            decision = decide(self._jobs.values(), self._nodes(), now, self._settings.retention_s)
            self._waiting = decision.placement.waiting
            if not decision.due and not decision.placement.starts:
                return decision.wake_at
            for what, job_id in decision.due:
                self._carry_out(what, self._jobs[job_id], now)
            for start in decision.placement.starts:
                self._start(start, now)

    # Commands; each raises RefusedError if it cannot be.

    def submit(self, submission: dict[str, Any], user: int) -> int:
        """Take a job in and put it on disk; give its id."""
        job = admit(
            submission,
            job_id=self._highest + 1,
            user=user,
            now=time.time(),
            settings=self._settings,
            jobs=self._jobs.values(),
        )
        self._spool.add(job, submission["script"], submission["environment"])
        self._highest = job.id
        self._jobs[job.id] = job
        log.info("job %s (%s): accepted, %s nodes", job.id, job.name, job.nodes_wanted)
        return job.id

    def status(self, ids: Iterable[int] | None, history_s: float | None) -> list[dict[str, Any]]:
        """Tell about all jobs, or about these; finished ones only if they ended in the last `history_s`."""
        wanted = None if ids is None else set(ids)
        since = 0.0 if history_s is None else time.time() - history_s
        return [
            job.view() | ({"reason": self._waiting[job.id]} if job.id in self._waiting else {})
            for job in self._jobs.values()
            if (wanted is None or job.id in wanted) and (job.end_time is None or job.end_time >= since)
        ]

    def cancel(self, ids: Iterable[int]) -> None:
        """Cancel these jobs; those that ended already stay as they are, unknown ones are refused at the end."""
        unknown = []
        for job_id in ids:
            if (job := self._jobs.get(job_id)) is not None:
                self._cancel(job)
            else:
                unknown.append(str(job_id))
        if unknown:
            raise RefusedError(f"no such job: {', '.join(unknown)}")

    def cancel_all(self) -> None:
        """Cancel whatever is pending or running."""
        self.cancel([job.id for job in self._jobs.values() if job.state in LIVE])

    def preempt(self, job_id: int, mode: str | None) -> None:
        """Take a running job from its nodes, back to the queue ("requeue") or for good ("cancel")."""
        job = self._jobs.get(job_id)
        if job is None or job.state is not State.RUNNING:
            raise RefusedError(f"job {job_id} is not running")
        endings = {"requeue": State.PENDING, "cancel": State.PREEMPTED, None: ending_for(job, State.PREEMPTED)}
        if mode not in endings:
            raise RefusedError(f"preemption mode {mode!r} is neither 'requeue' nor 'cancel'")
        self._end(job, endings[mode], "preempted")

    def node(self, name: str, *, up: bool) -> None:
        """Take a node away, and at once every process of the jobs on it, or bring it back."""
        if name not in self._settings.node_names:
            raise RefusedError(f"no such node: {name}")
        changed = self._down - {name} if up else self._down | {name}
        self._spool.save_down(changed)
        self._down = changed
        log.info("node %s is %s", name, "up" if up else "down")
        for job in [] if up else [job for job in self._jobs.values() if name in job.nodes]:
            if job.state is State.RUNNING:
                self._end(job, ending_for(job, State.NODE_FAIL), f"node {name} failed", grace_s=0.0)

    def info(self) -> dict[str, Any]:
        """Tell about nodes, queues, limits and spool files that could not be read."""
        holder = {name: job.id for job in self._jobs.values() if job.state is State.RUNNING for name in job.nodes}
        free = set(free_nodes(self._jobs.values(), self._nodes()))
        cores = self._settings.cores_per_node
        limits = asdict(self._settings)
        return {
            "pid": os.getpid(),
            "queues": [{"name": name, "max_walltime_s": limit} for name, limit in limits.pop("queues").items()],
            "limits": limits,
            "nodes": [
                {
                    "name": node.name,
                    "state": "up" if node.up else "down",
                    "cores": cores,
                    "free": cores if node.name in free else 0,
                    "job": holder.get(node.name),
                }
                for node in self._nodes()
            ],
            "torn": self._torn,
        }

    def _nodes(self) -> tuple[Node, ...]:
        return tuple(Node(name=name, up=name not in self._down) for name in self._settings.node_names)

    def _save(self, job: Job) -> Job:
        self._spool.save(job)
        self._jobs[job.id] = job
        return job

    def _cancel(self, job: Job) -> None:
        if job.state is State.PENDING:
            self._save(job.move(State.CANCELLED, reason="cancelled while pending", end_time=time.time()))
            log.info("job %s: cancelled while pending", job.id)
        elif job.state is State.RUNNING:
            self._end(job, State.CANCELLED, "cancelled")

    def _start(self, start: Start, now: float) -> None:
        job = self._save(self._jobs[start.job_id].move(State.RUNNING, nodes=start.nodes, start_time=now, reason=""))
        try:
            run = launch.launch(job, self._spool, self._settings.cores_per_node)
        except OSError as error:
            log.warning("job %s: could not be started: %s", job.id, error)
            self._save(job.move(State.FAILED, reason=f"could not be started: {error}", end_time=now, exit_code=1))
            return
        self._save(replace(job, pid=run.leader.pid, start_ticks=run.leader.start_ticks))
        self._hold(job.id, run)
        log.info("job %s: running on %s as process %s", job.id, ",".join(job.nodes), run.leader.pid)

    def _hold(self, job_id: int, run: Run) -> None:
        self._runs[job_id] = run
        self._watch(run.pidfd, lambda: self._ended(job_id))

    def _ended(self, job_id: int) -> None:
        run = self._runs.pop(job_id)
        self._unwatch(run.pidfd)
        self._kill_rest(job_id, run.family)  # before the wrapper is reaped, which frees its id
        killed_by = run.reap()
        job = self._jobs[job_id]
        found = self._spool.exit_code(job)
        self._conclude(outcome(job, code=found and found[0], killed_by=killed_by, now=time.time()))

    def _recover(self, job: Job) -> None:
        run = launch.adopt(job, self._spool)
        if run is not None:
            self._save(replace(job, pid=run.leader.pid, start_ticks=run.leader.start_ticks))
            self._hold(job.id, run)
            log.info("job %s: adopted as process %s", job.id, run.leader.pid)
            return
        self._kill_rest(job.id, Family(tag=launch.tag_of(job, self._spool)))
        code, when = self._spool.exit_code(job) or (None, time.time())
        self._conclude(outcome(job, code=code, found=False, now=when))

    def _conclude(self, job: Job) -> None:
        self._save(job)
        log.info("job %s: %s, exit code %s %s", job.id, job.state, job.exit_code, job.reason)

    def _carry_out(self, what: Due, job: Job, now: float) -> None:
        match what:
            case Due.FORGET:
                self._spool.forget(job.id, self._highest)
                del self._jobs[job.id]
            case Due.END:
                self._end(job, State.TIMEOUT, f"walltime of {job.walltime_s:g} s is over")
            case Due.WARN:
                self._save(replace(job, warned=True))
                processes.signal_all(self._runs[job.id].family, job.warn_signal or 0, group_only=True)
                log.info("job %s: warned with signal %s", job.id, job.warn_signal)
            case Due.KILL:
                self._save(replace(job, killed=True))
                processes.signal_all(self._runs[job.id].family, signal.SIGKILL)
                log.info("job %s: killed %.1f s after its grace", job.id, now - (job.kill_at or now))

    def _end(self, job: Job, ending: State, reason: str, grace_s: float | None = None) -> None:
        """Begin to end a running job; a later and stronger wish may only shorten its grace or stop its requeue."""
        kill_at = time.time() + (self._settings.kill_grace_s if grace_s is None else grace_s)
        if job.ending is not None:
            stopped = ending is State.CANCELLED and job.ending is State.PENDING
            if stopped:
                job = replace(job, ending=ending, reason=reason)
            self._save(replace(job, kill_at=min(kill_at, job.kill_at or kill_at)))
            return
        self._save(replace(job, ending=ending, reason=reason, kill_at=kill_at))
        if grace_s != 0:
            processes.signal_all(self._runs[job.id].family, signal.SIGTERM)
        log.info("job %s: is being ended: %s", job.id, reason)

    def _kill_rest(self, job_id: int, family: Family) -> None:
        if not processes.kill_all(family):
            log.warning("job %s: some of its processes could not be killed", job_id)
