"""Payloads that speak panda-harvester's files, as real processes, served by a small loop that stands for a node's."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from hpcharvest.clock import ManualClock
from hpcharvest.jumbo.access.point import Pace
from hpcharvest.jumbo.access.worker import Setting
from hpcharvest.jumbo.slots import files
from hpcharvest.jumbo.slots.files import Share
from hpcharvest.jumbo.slots.slot import Done, Failed, Leased, Outcome
from hpcharvest.messenger.ranges import EventTask, PayloadKind
from hpcharvest.model.event_range import EventRange
from hpcharvest.model.ids import Attempt, JobId
from hpcharvest.model.states import PayloadResult

YODA = Path(__file__).parent.parent / "services" / "yoda.py"
SERIAL = itertools.count(1)
PATIENCE_S = 60.0
FIRST, SECOND = JobId(101), JobId(102)


def a_range(job: JobId, number: int) -> Leased:
    name = f"7-{job}-55-1-{number}"
    return Leased(number, EventRange(id=name, start=number, last=number, lfn="EVNT.root", guid="g", scope="mc"))


class Node:
    """What a node's agent does with slots: give what they have room for, serve them, take their outputs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.access = folder / "access.1"
        self.slots: Mapping[JobId, Share] = {}
        self.left: dict[JobId, list[Leased]] = {}
        self.outcomes: list[Outcome] = []
        self.contents: dict[str, bytes] = {}
        self.more_may_come = False
        self.turns = itertools.count()

    def start(
        self,
        jobs: Mapping[JobId, int] | None = None,
        /,
        *,
        change: dict[str, Any] | None = None,
        of_task: dict[str, Any] | None = None,
        **habits: Any,
    ) -> None:
        jobs = jobs or {FIRST: 12}
        self.left = {job: [a_range(job, number) for number in range(1, count + 1)] for job, count in jobs.items()}
        tasks = [
            EventTask(
                job=job,
                attempt=Attempt(1),
                task_id=7,
                kind=PayloadKind.FILES,
                argv=(sys.executable, str(YODA), json.dumps(habits)),
                folder=str(self.folder),
                inputs={"EVNT.root": "/data/EVNT.root"},
                job_text=json.dumps({"PandaID": job, "inFiles": "EVNT.root", "GUID": "ab-cd", "jobsetID": 3}),
            )
            for job in jobs
        ]
        setting = Setting(
            folder=str(self.access),
            environment=dict(os.environ),
            mark=f"files-{os.getpid()}-{next(SERIAL)}/0/ranges/n1/0.1",
            pace=Pace(per_s=1000.0, burst=1000.0),
            grace_s=0.5,
            quickest_s=0.01,
            slowest_s=0.05,
            gather_s=0.02,
        )
        tasks = [dataclasses.replace(task, **(of_task or {})) for task in tasks]
        self.slots = files.start(tasks, dataclasses.replace(setting, **(change or {})), time.monotonic())

    def turn(self) -> None:
        now = time.monotonic()
        for job, slot in self.slots.items():
            if slot.next_event() <= now or next(self.turns) % 10 == 0:  # now and then, as ends of children ring
                self.take(slot.serve(now))
            while slot.room and self.left[job]:
                slot.give(self.left[job].pop(0), now)
            if not (self.left[job] or self.more_may_come):
                slot.finish(now)

    def take(self, outcomes: Sequence[Outcome]) -> None:
        for one in outcomes:
            self.outcomes.append(one)
            if isinstance(one, Done):
                self.contents[one.output] = Path(one.output).read_bytes()
                Path(one.output).unlink()

    def run(self, until: Callable[[], object] | None = None) -> None:
        end = time.monotonic() + PATIENCE_S
        while not all(slot.over for slot in self.slots.values()):
            assert time.monotonic() < end, "the payload does not end"
            self.turn()
            if until is not None and until():
                return
            time.sleep(0.005)
        assert all(slot.next_event() == float("inf") and not slot.held for slot in self.slots.values())

    @property
    def done(self) -> list[Leased]:
        return [told.leased for told in self.outcomes if isinstance(told, Done)]

    @property
    def failed(self) -> list[Failed]:
        return [told for told in self.outcomes if isinstance(told, Failed)]

    def numbers(self, *, ours: bool) -> list[int]:
        return sorted(told.leased.index for told in self.failed if told.ours is ours)

    def diary(self, word: str) -> list[str]:
        lines = (self.access / "diary").read_text().splitlines()
        return [line.partition(" ")[2] for line in lines if line.startswith(f"{word} ")]

    def assert_each_range_has_one_outcome(self, jobs: Mapping[JobId, int]) -> None:
        told = Counter(outcome.leased.range.id for outcome in self.outcomes)
        left = Counter(one.range.id for some in self.left.values() for one in some)
        assert told + left == Counter(a_range(job, n + 1).range.id for job, count in jobs.items() for n in range(count))


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path)
    yield made
    end = time.monotonic() + PATIENCE_S
    while not all(slot.over for slot in made.slots.values()) and time.monotonic() < end:
        for slot in made.slots.values():
            slot.stop(slot.held, "the test is over", time.monotonic())
            slot.serve(time.monotonic())
        time.sleep(0.01)


def test_a_payload_asks_gets_tells_and_ends(node: Node) -> None:
    node.start()
    node.run()
    assert sorted(one.index for one in node.done) == list(range(1, 13))
    assert node.failed == []
    assert sorted(content.decode() for content in node.contents.values()) == sorted(node.diary("did"))
    assert node.diary("job") == [f"{FIRST} 7 /data/EVNT.root"]
    assert all(isinstance(one, Done) and one.cpu_s in {0.0, 2.0} and 0 <= one.wall_s < 60 for one in node.outcomes)
    assert (node.access / "EVNT.root").readlink() == Path("/data/EVNT.root")
    assert 'File ID="ab-cd"' in (node.access / "PoolFileCatalog_H.xml").read_text()
    assert not (node.access / "worker_requestevents.json").exists()


def test_what_the_payload_said_of_the_job_is_kept(node: Node) -> None:
    node.start(end="kill_worker")
    assert node.slots[FIRST].said() is None
    node.run()
    said = node.slots[FIRST].said()
    assert said is not None
    assert (said.result, said.metadata, said.attributes.values["nEvents"]) == (
        PayloadResult.DONE,
        '{"resource": {}}',
        12,
    )


@pytest.mark.parametrize("unread", ["wait", "merge"])
@pytest.mark.parametrize("clumsy", [0.0, 0.1])
def test_files_that_are_written_in_place_lose_nothing(node: Node, clumsy: float, unread: str) -> None:
    node.start(clumsy=clumsy, unread=unread, batch=3)
    node.run()
    assert sorted(one.index for one in node.done) == list(range(1, 13))
    assert node.failed == []


def test_a_dump_that_the_payload_itself_overwrote_gives_its_ranges_back(node: Node) -> None:
    node.start({FIRST: 30}, unread="overwrite", batch=1, change={"quickest_s": 0.1, "slowest_s": 0.2})
    node.run()
    node.assert_each_range_has_one_outcome({FIRST: 30})
    assert node.numbers(ours=False) == []


def test_dumps_are_acknowledged_by_their_time(node: Node) -> None:
    node.start(batch=4)
    node.run()
    taken = sorted(path.name for path in node.access.glob("event_status.dump.json.read.*"))
    assert len(taken) == 3
    assert all(re.fullmatch(r".*\.read\.\d{4}-\d\d-\d\d_\d\d\.\d\d\.\d\d\.\d{6}", name) for name in taken)
    assert not (node.access / "event_status.dump.json").exists()


def test_several_jobs_of_one_worker_are_fed_each_in_its_folder(node: Node) -> None:
    jobs = {FIRST: 7, SECOND: 9}
    node.start(jobs, jobs=2, batch=3)
    node.run()
    node.assert_each_range_has_one_outcome(jobs)
    assert node.failed == []
    assert Counter(one.range.id.split("-")[1] for one in node.done) == {str(FIRST): 7, str(SECOND): 9}
    assert len(set(node.diary("given"))) == len(node.diary("given")) == 16
    assert (node.access / str(SECOND) / "HPCJobs.json").exists()
    assert not (node.access / "JobsEventRanges.json").exists()


def test_a_job_that_is_never_asked_for_is_never_started(node: Node) -> None:
    node.start({FIRST: 3, SECOND: 3})
    node.run()
    assert {one.range.id.split("-")[1] for one in node.done} == {str(FIRST)}
    assert len(node.left[SECOND]) == 3
    assert not (node.access / str(SECOND)).exists()


def test_what_the_payload_says_is_believed_only_as_far_as_it_is_so(node: Node) -> None:
    node.start(fail=[2], fatal=[3], lie=[4], spoil=[5])
    node.run()
    node.assert_each_range_has_one_outcome({FIRST: 12})
    errors = {one.leased.index: one for one in node.failed}
    assert sorted(errors) == [2, 3, 4, 5]
    assert not any(one.ours for one in errors.values())
    assert [one.leased.index for one in node.failed if one.fatal] == [3]
    assert errors[4].error.endswith("its output is not there")
    assert errors[5].error.endswith("another checksum")


@pytest.mark.parametrize("checksum", ["ad:", "md:"])
def test_checksums_are_understood_by_their_prefix(node: Node, checksum: str) -> None:
    node.start(checksum=checksum, spoil=[5])
    node.run()
    assert len(node.done) == 11
    assert node.numbers(ours=False) == [5]


def test_an_archive_that_the_payload_made_is_unpacked_range_by_range(node: Node) -> None:
    node.start(zip=True, batch=6, fail=[2])
    node.run()
    assert node.numbers(ours=False) == [2]
    assert sorted(one.index for one in node.done) == [1, *range(3, 13)]
    assert sorted(content.decode() for content in node.contents.values()) == sorted(node.diary("did"))
    assert not list(node.access.glob("zip.*[0-9]"))


def test_a_crash_is_answered_for_by_the_range_that_ran(node: Node) -> None:
    node.start(crash=[7], batch=5)
    node.run()
    node.assert_each_range_has_one_outcome({FIRST: 12})
    assert node.numbers(ours=False) == [7]
    assert node.failed[0].error == "the payload died of signal 11 (SIGSEGV)"
    assert sorted(one.index for one in node.done) == [1, 2, 3, 4, 5]


def test_ranges_that_a_restarted_payload_forgot_are_given_back(node: Node) -> None:
    node.start({FIRST: 20}, again=6, batch=4, unread="overwrite", change={"quickest_s": 0.1, "slowest_s": 0.2})
    node.run()
    node.assert_each_range_has_one_outcome({FIRST: 20})
    assert node.numbers(ours=False) == []
    assert len(node.done) >= 4


@pytest.mark.parametrize("deaf", [False, True])
def test_a_range_that_is_killed_is_never_finished_whatever_the_payload_says(node: Node, deaf: bool) -> None:
    node.start(hang=[8], batch=5, deaf=deaf)
    node.run(until=lambda: len(node.done) == 5 and len(node.diary("did")) == 7)
    slot = node.slots[FIRST]
    slot.stop(slot.held[:1], "it hangs", time.monotonic())
    assert slot.room == 0
    node.run()
    assert sorted(one.index for one in node.done) == [1, 2, 3, 4, 5]
    assert node.numbers(ours=True) == [6, 7, 8, 9, 10]
    assert {one.error for one in node.failed} == {"it hangs"}
    assert deaf or list(node.access.glob("killed.*")), "the payload did say that they are finished"


def test_ranges_that_wait_are_given_back_without_harm_to_the_payload(node: Node) -> None:
    node.more_may_come = True
    node.start({FIRST: 5}, batch=5, change={"gather_s": 600.0})
    slot, kept = node.slots[FIRST], a_range(FIRST, 6)
    node.run(until=lambda: len(node.done) == 5 and slot.room == 5)
    slot.give(kept, time.monotonic())
    assert (slot.held, slot.room) == ([kept], 4)
    slot.stop([kept], "recalled", time.monotonic())
    node.run(until=lambda: node.failed)
    assert [(one.leased, one.error, one.ours) for one in node.failed] == [(kept, "recalled", True)]
    node.more_may_come = False
    node.run()
    assert len(node.done) == 5
    assert node.slots[FIRST].said() is not None


def test_a_payload_without_a_heartbeat_is_hung(node: Node) -> None:
    node.start(beat=0.05, hang=[7], batch=5, deaf=True, of_task={"heartbeat_s": 0.5})
    node.run()
    assert {one.error for one in node.failed} == {"the payload's heartbeat stopped"}
    assert sorted(one.index for one in node.done) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("end", ["kill_worker", "kill_worker.json", "FINISHED"])
def test_a_payload_that_says_that_it_is_at_its_end_is_ended(node: Node, end: str) -> None:
    node.start({FIRST: 4}, end=end, linger=600.0, deaf=True)
    node.run()
    assert len(node.done) == 4
    assert node.failed == []


@pytest.mark.parametrize(
    ("argv", "error"),
    [
        (("/nowhere/payload",), "the payload cannot be started: No such file or directory"),
        ((), "the payload cannot be started: its command is empty"),
        (("false",), "the payload ended with exit code 1 and never asked for ranges"),
        (("true",), "the payload ended with exit code 0 and never asked for ranges"),
    ],
)
def test_a_payload_that_can_do_nothing_costs_one_range_which_says_why(
    node: Node, tmp_path: Path, argv: tuple[str, ...], error: str
) -> None:
    task = EventTask(job=FIRST, attempt=Attempt(1), kind=PayloadKind.FILES, argv=argv, folder=str(tmp_path))
    setting = Setting(
        folder=str(node.access),
        environment=dict(os.environ),
        mark=f"files-{os.getpid()}-{next(SERIAL)}/0/ranges/n1/0.1",
        pace=Pace(per_s=1000.0),
        quickest_s=0.01,
    )
    node.slots = files.start([task], setting, time.monotonic())
    node.left = {FIRST: [a_range(FIRST, 1), a_range(FIRST, 2)]}
    end = time.monotonic() + PATIENCE_S
    while not node.slots[FIRST].over:
        assert time.monotonic() < end
        node.turn()
        time.sleep(0.01)
    assert [(one.error, one.ours) for one in node.failed] == [(error, False)]
    assert len(node.left[FIRST]) == 1


def test_an_access_point_that_was_used_before_is_set_aside(node: Node) -> None:
    node.access.mkdir()
    (node.access / "event_status.dump.json").write_text("precious")
    node.start()
    node.run()
    (stale,) = node.folder.glob("access.1.stale-*")
    assert (stale / "event_status.dump.json").read_text() == "precious"


def test_the_shared_file_system_is_asked_for_an_operation_a_second_and_no_more(node: Node) -> None:
    pace = Counted(per_s=20.0, burst=20.0)
    node.start({FIRST: 40}, batch=10, change={"pace": pace, "quickest_s": 0.001, "slowest_s": 0.01})
    began = time.monotonic()
    node.run()
    assert len(node.done) == 40
    assert pace.spent <= 20.0 + 20.0 * (time.monotonic() - began) + 15, "on average, but for the last look"


def test_a_wall_clock_that_goes_back_by_days_does_no_harm(node: Node) -> None:
    node.start({FIRST: 10}, batch=2, change={"clock": Backwards()}, of_task={"heartbeat_s": 30.0}, beat=0.05)
    node.run()
    assert len(node.done) == 10
    assert len(list(node.access.glob("event_status.dump.json.read.*"))) == 5


class Backwards(ManualClock):
    def wall(self) -> float:
        self.now -= 86_400.5
        return 1_800_000_000.0 + self.now


class Counted(Pace):
    def __init__(self, *, per_s: float, burst: float) -> None:
        super().__init__(per_s=per_s, burst=burst)
        self.spent = 0

    def spend(self, operations: int, now: float) -> None:
        self.spent += operations
        super().spend(operations, now)
