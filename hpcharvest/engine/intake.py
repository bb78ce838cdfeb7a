"""Fetching: how many jobs to ask PanDA for, and what becomes of its answer.

The answer is made durable before it is parsed, so nothing that PanDA handed out can be lost with this process. A job
that cannot be understood is taken in as failed, with the reason, and reported like any other.
"""

from __future__ import annotations

import logging
import socket
from functools import partial
from queue import SimpleQueue

from hpcharvest.clock import Clock
from hpcharvest.config.schema import Configuration, Queue
from hpcharvest.engine import event_tasks
from hpcharvest.engine.effects import Hands, Kind
from hpcharvest.engine.events import AnswerKept, Event, Fetched, FetchFailed
from hpcharvest.engine.launch import why_never
from hpcharvest.engine.turn import Turn
from hpcharvest.errors import HarvestError, PandaError
from hpcharvest.model.facts import KillAsked
from hpcharvest.model.ids import Attempt, JobId
from hpcharvest.model.job import Job, JobSpec
from hpcharvest.model.states import JobState
from hpcharvest.model.words import counted
from hpcharvest.panda.client import PandaClient
from hpcharvest.panda.wire import DecodedAnswer, RefusedJob, decode_jobs
from hpcharvest.store.changes import Answer
from hpcharvest.store.database import Database

logger = logging.getLogger(__name__)

NOT_UNDERSTOOD_CODE = 1319
FEW = 8
"""Fewer jobs than this are not worth a request while a queue is nearly full."""


class Intake:
    """Asks PanDA for jobs, one request at a time for each queue."""

    def __init__(
        self,
        *,
        configuration: Configuration,
        client: PandaClient,
        database: Database,
        hands: Hands,
        events: SimpleQueue[Event],
        clock: Clock,
    ) -> None:
        self._queues = {name: queue for name, queue in configuration.queues.items() if queue.enabled}
        self._known_queues = configuration.queues
        self._interval_s = configuration.panda.fetch_interval_s
        self._client = client
        self._hands = hands
        self._events = events
        self._clock = clock
        self._next = dict.fromkeys(self._queues, 0.0)
        self._asked: dict[str, int] = {}
        self._next_answer = database.answers.last_id() + 1
        self._held = {name: database.jobs.unfinished_count(name) for name in self._queues}
        self._node = socket.gethostname()
        self.stopped = False

    @property
    def asked_all(self) -> bool:
        """Whether every queue was asked at least once, and has nothing more to give for now."""
        return self.next_at() > 0

    def next_at(self) -> float:
        """Steady seconds when a queue is to be asked next; 0 for at once, infinity if there is room for none."""
        asking = [
            at for name, at in self._next.items() if self._wanted(name) and not self._hands.holds(("fetch", name))
        ]
        return float("inf") if self.stopped else min(asking, default=float("inf"))

    def begun(self, queue: str) -> None:
        """Note that there is a job of our own in this queue."""
        if queue in self._held:
            self._held[queue] += 1

    def finished(self, queue: str) -> None:
        """Note that a job of this queue came to its end."""
        if queue in self._held:
            self._held[queue] -= 1

    def ask(self) -> None:
        """Ask PanDA for jobs where there is room and it is time."""
        now = self._clock.steady()
        for name, queue in self._queues.items():
            wanted = self._wanted(name)
            key = ("fetch", name)
            if self.stopped or now < self._next[name] or not wanted or self._hands.holds(key):
                continue
            self._next[name] = now + self._interval_s
            self._asked[name] = wanted
            self._hands.carry_out(Kind.FETCH, key, partial(self._fetch, name, queue, wanted))

    def _wanted(self, name: str) -> int:
        """Say how many jobs there is room for; 0 if they are too few to ask for."""
        queue = self._queues[name]
        wanted = min(queue.fetch_chunk, queue.max_jobs - self._held[name])
        return wanted if wanted >= min(FEW, queue.max_jobs, queue.fetch_chunk) else 0

    def keep(self, event: Fetched, turn: Turn) -> None:
        """Make an answer durable; it is to be parsed when that is committed."""
        if event.body is not None:
            answer = Answer(id=self._next_answer, queue=event.queue, at=event.at, body=event.body, job=event.job)
            self._next_answer += 1
            turn.changes.answers.append(answer)

    def failed(self, event: FetchFailed) -> None:
        """Say that PanDA could not be asked."""
        logger.warning("fetching jobs for %s: %s; will ask again", event.queue, event.error)

    def parse(self, event: AnswerKept, turn: Turn) -> None:
        """Take in the jobs of a durable answer."""
        answer = event.answer
        try:
            queue = self._known_queues.get(answer.queue)
            decoded = decode_jobs(answer.body, with_text=queue is not None and queue.payload.speaks_files)
        except PandaError as error:
            logger.warning("answer %s for %s cannot be read, and is kept: %s", answer.id, answer.queue, error)
        else:
            taken = self._take_in(answer, decoded, turn)
            # From here on nothing can fail, so that what is counted is counted once.
            self._held[answer.queue] = self._held.get(answer.queue, 0) + taken
            if len(decoded.jobs) + len(decoded.refused) >= self._asked.get(answer.queue, 0):
                self._next[answer.queue] = 0.0  # there may be more
        turn.changes.answers_read.append(answer.id)

    def _take_in(self, answer: Answer, decoded: DecodedAnswer, turn: Turn) -> int:
        """Take in what is new in an answer; give the number of jobs that are to be harvested."""
        taken, never = 0, 0
        queue = self._known_queues.get(answer.queue)
        known = turn.database.jobs.known([spec.panda_id for spec in decoded.jobs])
        for spec in decoded.jobs:
            if spec.panda_id in turn.changes.new_jobs:
                continue  # two answers in one turn, of which the second was a redelivery
            seen = known.get(spec.panda_id)
            if seen is not None and not self._again(spec, seen[0], seen[1], turn):
                continue
            earlier = turn.database.jobs.get(spec.panda_id) if seen is not None else None
            job = self._job(spec, answer, queue, earlier)
            turn.receive(job)
            if job.state.final:
                logger.error("job %s fails at once: %s", job.id, job.error)
                never += 1
            else:
                taken += 1
        for refused in decoded.refused:
            self._refuse(refused, answer, turn)
        said = counted(len(decoded.jobs) + len(decoded.refused), "job")
        logger.info("answer %s for %s: %s, %d refused", answer.id, answer.queue, said, len(decoded.refused) + never)
        return taken

    def _again(self, spec: JobSpec, known_attempt: int, state: JobState, turn: Turn) -> bool:
        """Whether a job that we know begins a new life: PanDA made another attempt of it, and the last one is over.

        If the last one is not over, it is stopped, as PanDA will hear no more of it; the new attempt is left to PanDA's
        own time-out, after which it comes again.
        """
        if spec.attempt_nr <= known_attempt:
            logger.info("job %s was handed out again; we have it", spec.panda_id)
            return False
        if not state.final:
            logger.warning("job %s was handed out as attempt %s while we have another", spec.panda_id, spec.attempt_nr)
            turn.tell(KillAsked(job=spec.panda_id, by="PanDA, which made another attempt", at=turn.now))
        return state.final

    def _job(self, spec: JobSpec, answer: Answer, queue: Queue | None, earlier: Job | None) -> Job:
        """Make our record of a job; one that can never run here is a failed one at once."""
        now = self._clock.wall()
        judge = event_tasks.why_never if spec.event_service else why_never
        reason = judge(spec, queue) if queue else f"the queue {answer.queue} is configured no more"
        return Job(
            spec=spec,
            queue=answer.queue,
            state=JobState.FAILED if reason else JobState.RECEIVED,
            since=now,
            received_at=answer.at,
            attempt=earlier.attempt if earlier else Attempt(0),  # folders of an earlier life are not used again
            error=reason,
            error_code=NOT_UNDERSTOOD_CODE if reason else 0,
        )

    def _refuse(self, refused: RefusedJob, answer: Answer, turn: Turn) -> None:
        known = turn.job(refused.panda_id) if refused.panda_id is not None else None
        newer = known is None or (known.state.final and (refused.attempt_nr or 0) > known.spec.attempt_nr)
        if refused.panda_id is None or not newer:
            logger.error("a job in answer %s for %s is no job: %s", answer.id, answer.queue, refused.reason)
            return
        logger.error("job %s cannot be understood: %s", refused.panda_id, refused.reason)
        spec = JobSpec(
            panda_id=JobId(refused.panda_id),
            attempt_nr=-1 if refused.attempt_nr is None else refused.attempt_nr,
            transformation="",
            job_pars="",
        )
        now = self._clock.wall()
        turn.receive(
            Job(
                spec=spec,
                queue=answer.queue,
                state=JobState.FAILED,
                since=now,
                received_at=answer.at,
                error=refused.reason,
                error_code=NOT_UNDERSTOOD_CODE,
            )
        )

    def _fetch(self, name: str, queue: Queue, wanted: int) -> None:
        try:
            body = self._client.acquire(
                name,
                wanted,
                prod_source_label=queue.prod_source_label,
                node=self._node,
                computing_element=queue.computing_element,
                resource_type=queue.resource_type,
            )
        except HarvestError as error:
            self._events.put(FetchFailed(queue=name, error=error))
        else:
            self._events.put(Fetched(queue=name, at=self._clock.wall(), body=body))
