"""The law of the fence: however starts of a batch job and a controller interleave, die, or lose answers of the storage,
at most one outcome of a payload counts, none after a close, and none that was confirmed is lost."""

import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from hpcharvest.errors import StorageUnavailable
from hpcharvest.jumbo.pen import Pen, standing
from hpcharvest.messenger.journal import Journal
from hpcharvest.messenger.protocol import PayloadEnded, Record, RunnerLeft, RunnerStarted, Segment, Writer
from hpcharvest.model.ids import Attempt, JobId
from hpcharvest.model.job import PayloadOutcome
from hpcharvest.model.states import PayloadResult

JOBS = (JobId(1), JobId(2), JobId(3))
RESTARTS = (0, 0, 1, 2)


class Died(Exception):
    """The actor's process was killed."""


class Actor:
    """A thread that goes on only when it is told to, and only to its next act on the storage."""

    def __init__(self, act: Callable[["Actor"], None]) -> None:
        self._go, self._back = threading.Semaphore(0), threading.Semaphore(0)
        self._act = act
        self.fate = "go"
        self.over = False
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def pause(self) -> None:
        self._back.release()
        self._go.acquire()
        if self.fate == "die":
            raise Died

    def step(self, fate: str) -> None:
        if self.over:
            return
        self.fate = fate
        self._go.release()
        self._back.acquire()

    def _run(self) -> None:
        self._go.acquire()
        try:
            if self.fate != "die":
                self._act(self)
        except Died:
            pass
        finally:
            self.over = True
            self._back.release()


class SteppedJournal(Journal):
    """A journal whose user rests before and after every link; the storage may fail before or after it."""

    def __init__(self, folder: Path, actor: Actor) -> None:
        super().__init__(folder)
        self._actor = actor

    def publish(self, number: int, records: Sequence[Record], writer: Writer, restart: int = 0) -> bool:
        self._actor.pause()
        if self._actor.fate == "fail":
            raise StorageUnavailable("nothing was done")
        won = super().publish(number, records, writer, restart)
        self._actor.pause()
        if self._actor.fate == "fail":
            raise StorageUnavailable("the answer was lost")
        return won


@dataclass
class Story:
    """What the actors believe afterwards."""

    folder: Path
    confirmed: list[PayloadEnded] = field(default_factory=list)
    read: list[Segment] = field(default_factory=list)
    closed: bool = False

    def runner(self, restart: int) -> Callable[[Actor], None]:
        def act(actor: Actor) -> None:
            pen = Pen(SteppedJournal(self.folder, actor), restart=restart, flush_s=0)
            try:
                standing = pen.take_start(RunnerStarted(at=0, batch_id="1", nodes=("n",), restart=restart))
            except StorageUnavailable:
                return
            for job in JOBS:
                if (job, Attempt(1)) in standing.done or pen.fenced:
                    continue
                outcome = PayloadOutcome(result=PayloadResult.DONE, node=f"start {restart} of {threading.get_ident()}")
                record = PayloadEnded(at=0, job=job, attempt=Attempt(1), outcome=outcome)
                if self._say(pen, record):
                    self.confirmed.append(record)
            if not pen.fenced:
                self._say(pen, RunnerLeft(at=0, reason="done"))

        return act

    def _say(self, pen: Pen, record: Record) -> bool:
        pen.add(record, now=0)
        while pen.due is not None and not pen.fenced:
            pen.flush(now=0)
        return not pen.fenced

    def controller(self, actor: Actor) -> None:
        journal = SteppedJournal(self.folder, actor)
        for _ in range(2):
            actor.pause()
            self.read += journal.read_from(len(self.read))
            if self.read and self.read[-1].closes:
                break
        while not self.closed:
            try:
                self.read += journal.close(len(self.read), by="law", at=0)
            except StorageUnavailable:
                continue
            self.closed = True


STEPS = st.tuples(
    st.integers(0, len(RESTARTS)), st.sampled_from([1, 2, 3, 12]), st.sampled_from(["go"] * 6 + ["fail", "die"])
)


@settings(max_examples=200, deadline=None)
@given(steps=st.lists(STEPS, min_size=4, max_size=25), controller_ends=st.booleans())
def test_at_most_one_outcome_counts_and_none_that_was_confirmed_is_lost(
    steps: list[tuple[int, int, str]], controller_ends: bool
) -> None:
    with tempfile.TemporaryDirectory() as name:
        story = Story(Path(name))
        actors = [Actor(story.runner(restart)) for restart in RESTARTS] + [Actor(story.controller)]
        for who, count, fate in steps:
            for _ in range(count - 1):
                actors[who].step("go")
            actors[who].step(fate)
        while controller_ends and not actors[-1].over:
            actors[-1].step("go")
        for actor in actors:
            actor.step("die")
            actor.thread.join()
        check(story)


def check(story: Story) -> None:
    segments = Journal(story.folder).read_from(0)
    files = sorted(path.name for path in story.folder.glob("[0-9]*"))
    assert files == [f"{segment.number:08d}.json" for segment in segments], "something follows the close, or a gap"
    restarts = [record.restart for one in segments for record in one.records if isinstance(record, RunnerStarted)]
    assert restarts == sorted(set(restarts)), "a start took what a start like it, or a later one, had"
    outcomes = [record for one in segments for record in one.records if isinstance(record, PayloadEnded)]
    assert len({(one.job, one.attempt) for one in outcomes}) == len(outcomes), "an outcome counts twice"
    assert all(record in outcomes for record in story.confirmed), "a confirmed outcome is lost"
    if story.closed:
        assert story.read == segments, "the controller did not read what counts"
        assert segments[-1].closes


def test_the_next_head_of_the_same_start_may_take_over_and_an_earlier_one_may_not() -> None:
    def told(restart: int, life: int) -> Segment:
        record = RunnerStarted(at=0, batch_id="1", nodes=("n",), restart=restart, life=life)
        return Segment(number=0, writer=Writer.RUNNER, restart=restart, records=(record,))

    assert standing([told(1, 0)], 1, 1).may_start
    assert standing([told(1, 3)], 2, 0).may_start
    assert not standing([told(1, 1)], 1, 1).may_start
    assert not standing([told(2, 0)], 1, 5).may_start
