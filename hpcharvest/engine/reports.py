"""The outbox: what PanDA is owed, sent in bulk, exactly once where it counts.

A final report is marked as *sending*, and the mark is committed, before it is given to the network. If its answer is
lost, or we die, PanDA is asked what it thinks of the job before the report is repeated. Others are repeated freely.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from hpcharvest.clock import Clock
from hpcharvest.config.schema import Configuration
from hpcharvest.engine import lifecycle
from hpcharvest.engine.effects import Hands, Kind
from hpcharvest.engine.events import Event, FateKnown, ReportsAnswered, ReportsFailed
from hpcharvest.engine.mirror import Mirror
from hpcharvest.engine.turn import Turn
from hpcharvest.errors import AnswerLost, HarvestError, ServerUnreachable
from hpcharvest.model.facts import KillAsked
from hpcharvest.model.ids import JobId
from hpcharvest.model.job import Job
from hpcharvest.model.report import Report
from hpcharvest.model.states import ReportState
from hpcharvest.panda.client import PandaClient, UpdateAnswer
from hpcharvest.panda.wire import encode_update, settled

logger = logging.getLogger(__name__)

SEND, ASK = "send reports", "ask for the fate of reports"
SUSPECT = 2
"""So many tries make a report one that goes alone."""
CHUNKS = 5
"""Requests that one batch is sent in at the most."""

Sent = tuple[tuple[JobId, int], ...]


@dataclass(frozen=True, slots=True)
class Letter:
    """A report with the job it is about."""

    job: Job
    report: Report


class Reports:
    """Sends what is owed, one batch at a time."""

    def __init__(
        self,
        *,
        configuration: Configuration,
        client: PandaClient,
        hands: Hands,
        events: SimpleQueue[Event],
        clock: Clock,
    ) -> None:
        self._panda = configuration.panda
        self._patience = configuration.controller.patience
        self._harvester_id = configuration.controller.harvester_id
        self._client = client
        self._hands = hands
        self._events = events
        self._clock = clock
        self._next_send = 0.0
        # Who died with a request under way may have left it with the server, which may still be at work on it.
        self._next_question = clock.steady() + self._patience.retry_first_s
        self._in_flight: set[JobId] = set()
        self._batch: list[Letter] = []

    def next_at(self, mirror: Mirror) -> float:
        """Steady seconds when something is to be sent or asked; infinity if nothing is owed."""
        unsure = mirror.sending - self._in_flight and not self._hands.holds(ASK)
        return min(self._next_question if unsure else float("inf"), self._send_at(mirror))

    def _send_at(self, mirror: Mirror) -> float:
        """Steady seconds when something is to be sent. What is under way ends with an event: until then, nothing is."""
        if self._hands.holds(SEND):
            return float("inf")
        now = self._clock.wall()
        owed = (
            one.not_before - now if lifecycle.waits(one.not_before, now, self._patience) else 0.0
            for one in mirror.reports.values()
            if one.state is ReportState.OWED and one.job not in self._in_flight
        )
        soonest = float("inf")
        for pause in owed:
            soonest = min(soonest, pause)
            if not pause:
                break
        return max(self._next_send, self._clock.steady() + soonest)

    def pick(self, turn: Turn) -> None:
        """Choose the next batch; its final reports are marked in this very turn."""
        now = self._clock.steady()
        if now < self._next_send or self._hands.holds(SEND) or self._batch:
            return
        room = self._panda.update_chunk * CHUNKS
        for report in turn.mirror.reports.values():
            if len(self._batch) >= room:
                break
            self._take(report, turn)
        if self._batch:
            self._next_send = now + self._panda.report_interval_s

    def send(self) -> None:
        """Give the chosen batch to the network; called when its marks are committed."""
        if not self._batch:
            return
        letters, self._batch = self._batch, []
        self._hands.carry_out(Kind.REPORT, SEND, lambda: self._post(letters))

    def settle(self, turn: Turn) -> None:
        """Ask PanDA for the fate of final reports whose answer was lost."""
        now = self._clock.steady()
        unsure = [turn.mirror.reports[job] for job in turn.mirror.sending - self._in_flight]
        if unsure and now >= self._next_question and not self._hands.holds(ASK):
            self._next_question = now + self._patience.retry_first_s
            asked = tuple((report.job, report.serial) for report in unsure[: self._panda.update_chunk * CHUNKS])
            self._hands.carry_out(Kind.REPORT, ASK, lambda: self._ask(asked))

    def answered(self, event: ReportsAnswered, turn: Turn) -> None:
        """Take PanDA's answers: what is settled, what must be repeated, which jobs it wants stopped."""
        for (job, serial), answer in zip(event.sent, event.answers, strict=True):
            self._in_flight.discard(job)
            report = turn.report(job)
            if report is None or report.serial < serial:
                continue
            if answer.accepted and report.serial == serial:
                turn.settle(report)
            elif report.serial == serial:
                self._not_accepted(report, answer, turn)
            if answer.stop and report.serial == serial and not report.final:
                turn.tell(KillAsked(at=turn.now, job=job, by="PanDA"))

    def failed(self, event: ReportsFailed, turn: Turn) -> None:
        """Keep what was not sent; of what may have arrived, the final ones are asked after."""
        if not event.sent:
            return
        logger.warning("%d reports were not acknowledged: %s; will try again", len(event.sent), event.error)
        # Whose answer was lost may have been sent well enough: that speaks neither for nor against the report itself.
        tried = 0 if isinstance(event.error, ServerUnreachable | AnswerLost) else 1
        self._next_send = self._next_question = self._clock.steady() + self._patience.retry_first_s
        for job, serial in event.sent:
            self._in_flight.discard(job)
            report = turn.report(job)
            if report is not None and report.serial == serial and not (event.unsure and report.final):
                turn.owe_again(report, state=ReportState.OWED, tries=report.tries + tried)

    def fate_known(self, event: FateKnown, turn: Turn) -> None:
        """Settle the reports that arrived, owe the others again."""
        for job, serial in event.asked:
            report = turn.report(job)
            if report is None or report.serial != serial or job not in event.arrived:
                continue
            if event.arrived[job]:
                turn.settle(report)
            else:
                turn.owe_again(report, state=ReportState.OWED, tries=report.tries + 1)

    def _take(self, report: Report, turn: Turn) -> None:
        """Put a report into the batch, if it is due and nothing of its job is on its way."""
        if report.state is ReportState.SENDING or report.job in self._in_flight:
            return
        if lifecycle.waits(report.not_before, turn.now, self._patience):
            return
        if report.job in turn.changes.reports:
            return  # superseded in this turn; the newer one goes with the next batch
        job = turn.job(report.job)
        if job is None:
            logger.error("a report is owed about job %s, which nobody knows", report.job)
            turn.settle(report)
            return
        if report.final:
            turn.owe_again(report, state=ReportState.SENDING)
        self._in_flight.add(report.job)
        self._batch.append(Letter(job, report))

    def _not_accepted(self, report: Report, answer: UpdateAnswer, turn: Turn) -> None:
        """Try again later; what the server will never take is tried as rarely as can be, and shown to operators."""
        tries = report.tries + 1
        wait = lifecycle.backoff(self._patience, tries) if answer.transient else self._patience.retry_max_s
        level = logging.WARNING if answer.transient else logging.ERROR
        logger.log(
            level, "PanDA did not take the report of job %s as %s: %s", report.job, report.status, answer.message
        )
        turn.owe_again(
            report, state=ReportState.OWED, tries=tries, not_before=turn.now + wait, problem=answer.message[:500]
        )

    def _post(self, letters: list[Letter]) -> None:
        """Send a batch, request by request, so that one lost answer leaves the others sure.

        When the server is not there, or does not answer, the rest waits: each request could take its whole time-out.
        """
        chunks = list(_chunks(letters, self._panda.update_chunk))
        for number, chunk in enumerate(chunks):
            sent = _named(chunk)
            try:
                answers = self._client.update_jobs([self._worded(letter) for letter in chunk])
            except (ServerUnreachable, AnswerLost) as error:
                unsure = isinstance(error, AnswerLost)
                self._events.put(ReportsFailed(sent=sent, unsure=unsure, error=error))
                rest = [letter for later in chunks[number + 1 :] for letter in later]
                self._events.put(ReportsFailed(sent=_named(rest), unsure=False, error=error))
                return
            except HarvestError as error:
                self._events.put(ReportsFailed(sent=sent, unsure=True, error=error))
            except Exception as error:
                # A report that cannot be worded must not keep its neighbours from being sent: next time it goes alone.
                logger.exception("%d reports could not be sent", len(chunk))
                self._events.put(ReportsFailed(sent=sent, unsure=True, error=HarvestError(repr(error))))
            else:
                self._events.put(ReportsAnswered(sent=sent, answers=answers))

    def _worded(self, letter: Letter) -> dict[str, Any]:
        return encode_update(letter.job, letter.report, harvester_id=self._harvester_id, batch_id=self._harvester_id)

    def _ask(self, asked: Sent) -> None:
        try:
            statuses = self._client.job_statuses([job for job, _ in asked])
        except HarvestError as error:
            logger.warning("cannot ask what became of %d final reports: %s; will ask again", len(asked), error)
            return
        arrived = {job: settled(status.status) for job, status in statuses.items()}
        self._events.put(FateKnown(arrived=arrived, asked=asked))


def _named(letters: list[Letter]) -> Sent:
    return tuple((letter.report.job, letter.report.serial) for letter in letters)


def _chunks(letters: list[Letter], size: int) -> Iterator[list[Letter]]:
    """Split a batch into requests; a report that failed twice goes alone, as it may be what the others failed for."""
    suspects = [one for one in letters if one.report.tries >= SUSPECT]
    others = [one for one in letters if one.report.tries < SUSPECT]
    yield from (others[start : start + size] for start in range(0, len(others), size))
    yield from ([one] for one in suspects)
