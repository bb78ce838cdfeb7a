"""The runner as a program that does event ranges: real payloads, real processes on virtual nodes, and real deaths."""

import collections
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tarfile
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from hpcharvest.jumbo import agents, kin
from hpcharvest.jumbo.salvage import salvage
from hpcharvest.messenger.mailbox import Mailbox
from hpcharvest.messenger.protocol import ExitCode, Manifest, PayloadEnded, Record, RunnerLeft, Task
from hpcharvest.messenger.ranges import ArchiveClosed, EventTask, Feed, PayloadKind, RangesFailed, RangesWanted
from hpcharvest.model.event_range import EventRange
from hpcharvest.model.ids import AllocationId, Attempt, JobId

SERIAL = itertools.count(1)
PATIENCE_S = 120.0
JOB = JobId(77)


def until(true: Callable[[], object], what: str, patience_s: float = PATIENCE_S) -> None:
    end = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.05)


def ranges(count: int, files: int = 3) -> tuple[EventRange, ...]:
    return tuple(
        EventRange(id=f"9-77-{number % files}-{number}-3", start=number, last=number, lfn=f"in.{number % files}")
        for number in range(1, count + 1)
    )


class Allocation:
    """A folder with a manifest and a feed, and the runners that are started in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tag = f"ranges-{os.getpid()}-{next(SERIAL)}"
        self.mailbox = Mailbox(folder / "allocation")
        self.tasks: list[Task] = []
        self.runners: list[subprocess.Popen[bytes]] = []
        self.fed: list[EventRange] = []
        self.files = 0

    def start(
        self,
        *argv: str,
        kind: PayloadKind = PayloadKind.COMMAND,
        nodes: str = "v1,v2",
        left_s: float = 0.0,
        **more: object,
    ) -> subprocess.Popen[bytes]:
        task = EventTask(
            job=JOB,
            attempt=Attempt(1),
            kind=kind,
            argv=argv,
            folder=str(self.folder / "job"),
            scratch=str(self.folder / "scratch"),
            inputs={f"in.{number}": f"/inputs/in.{number}" for number in range(3)},
            **more,  # type: ignore[arg-type]  # the caller knows
        )
        manifest = Manifest(
            allocation=AllocationId(1),
            tag=self.tag,
            cores_per_node=2,
            tasks=tuple(self.tasks),
            event_tasks=(task,),
            heartbeat_s=0.2,
            flush_s=0.05,
            margin_s=4.0,
            kill_grace_s=0.5,
        )
        return self._start(manifest, nodes, left_s)

    def _start(self, manifest: Manifest, nodes: str, left_s: float) -> subprocess.Popen[bytes]:
        (self.folder / "scratch").mkdir(exist_ok=True)
        (self.folder / "job").mkdir(exist_ok=True)
        self.mailbox.write_manifest(manifest)
        environment = os.environ | {
            "HPCHARVEST_NODES": nodes,
            "HPCHARVEST_VIRTUAL_NODES": "1",
            "HPCHARVEST_RESTART": "0",
            "HPCHARVEST_BATCH_ID": "7",
        }
        if left_s:
            environment["HPCHARVEST_DEADLINE"] = str(time.time() + left_s)
        command = [sys.executable, "-m", "hpcharvest.jumbo", str(self.mailbox.folder)]
        self.runners.append(subprocess.Popen(command, env=environment))
        return self.runners[-1]

    def feed(self, some: tuple[EventRange, ...], *, last: bool = True) -> None:
        self.mailbox.feed(Feed(job=JOB, number=self.files, first=len(self.fed), ranges=some, last=last))
        self.fed += some
        self.files += 1

    def records(self) -> list[Record]:
        return [record for segment in self.mailbox.read_segments(0) for record in segment.records]

    def archives(self, records: list[Record] | None = None) -> list[ArchiveClosed]:
        told = self.records() if records is None else records
        return [record for record in told if isinstance(record, ArchiveClosed)]

    def done(self, records: list[Record] | None = None) -> collections.Counter[str]:
        """Count each range that is in an archive, after looking whether it really is."""
        found: collections.Counter[str] = collections.Counter()
        for archive in self.archives(records):
            path = self.mailbox.folder / "archives" / archive.name
            content = path.read_bytes()
            assert (len(content), f"{zlib.adler32(content):08x}") == (archive.size, archive.adler32)
            with tarfile.open(path) as tar:
                told = {one["eventRangeID"]: one for one in json.load(content_of(tar, "manifest.json"))["ranges"]}
                assert told.keys() == {one.id for one in archive.ranges}
                for name, one in told.items():
                    assert content_of(tar, one["name"]).read().decode().split()[0] == name
            found.update(one.id for one in archive.ranges)
        return found

    def failed(self) -> dict[str, bool]:
        told = [record for record in self.records() if isinstance(record, RangesFailed)]
        return {one.id: one.fatal for record in told for one in record.ranges}

    def agents(self) -> set[int]:
        return {pid for pid in kin._bearers(kin.node_mark(self.tag, 0)) if "jumbo.node" in command_line(pid)}

    def head(self) -> int:
        children = Path(f"/proc/{self.runners[-1].pid}/task/{self.runners[-1].pid}/children").read_text().split()
        return int(children[0])

    def everybody(self) -> set[int]:
        runner = self.runners[-1].pid
        return {runner, self.head()} | kin.of_this_start(self.tag, 0)

    def clean_up(self) -> None:
        for runner in self.runners:
            runner.terminate()
            runner.wait()
        kin.send(kin.of_other_starts(self.tag, -1), signal.SIGKILL)


def content_of(tar: tarfile.TarFile, name: str) -> IO[bytes]:
    member = tar.extractfile(name)
    assert member is not None
    return member


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


@pytest.fixture
def allocation(tmp_path: Path) -> Iterator[Allocation]:
    made = Allocation(tmp_path)
    yield made
    made.clean_up()


WRITE = ("sh", "-c", 'echo "$1 $2 $3" > "$4"', "sh", "{eventRangeID}", "{startEvent}", "{PFN}", "{output}")


def slow(seconds: float) -> tuple[str, ...]:
    return ("sh", "-c", f'sleep {seconds}; echo "$1" > "$2"', "sh", "{eventRangeID}", "{output}")


def test_every_range_is_done_once_and_archived(allocation: Allocation) -> None:
    runner = allocation.start(*WRITE)
    allocation.feed(ranges(40))
    assert runner.wait(PATIENCE_S) == ExitCode.LEFT
    assert allocation.done() == collections.Counter(one.id for one in allocation.fed)
    assert isinstance(allocation.records()[-1], RunnerLeft)
    assert not list(allocation.folder.glob("scratch/*")), "nothing is left on the node"
    assert not list(allocation.mailbox.folder.glob("archives/*.part"))


def test_a_runner_asks_for_more_and_takes_what_comes_later(allocation: Allocation) -> None:
    runner = allocation.start(*WRITE)
    allocation.feed(ranges(5), last=False)
    until(lambda: any(isinstance(record, RangesWanted) for record in allocation.records()), "a wish for more")
    allocation.feed(ranges(30)[5:], last=True)
    assert runner.wait(PATIENCE_S) == ExitCode.LEFT
    assert allocation.done() == collections.Counter(one.id for one in allocation.fed)
    wanted = [record.total for record in allocation.records() if isinstance(record, RangesWanted)]
    assert wanted == sorted(set(wanted))


def test_what_fails_everywhere_is_fatal_and_what_fails_once_is_tried_again(allocation: Allocation) -> None:
    script = (
        'case "$2" in 7) echo broken >&2; exit 3;; 8) test -e "$4" || { : > "$4"; exit 9; };; esac; echo "$1" > "$3"'
    )
    once = str(allocation.folder / "once")
    runner = allocation.start("sh", "-c", script, "sh", "{eventRangeID}", "{startEvent}", "{output}", once)
    allocation.feed(ranges(40))
    assert runner.wait(PATIENCE_S) == ExitCode.LEFT
    assert allocation.failed() == {"9-77-1-7-3": True}
    assert allocation.done().keys() == {one.id for one in allocation.fed} - {"9-77-1-7-3"}


def test_ranges_fill_what_whole_jobs_leave_free(allocation: Allocation) -> None:
    for number in (1, 2):
        allocation.tasks.append(
            Task(
                job=JobId(number),
                attempt=Attempt(1),
                argv=("sleep", "1"),
                folder=str(allocation.folder / f"job{number}"),
                cores=1,
            )
        )
    runner = allocation.start(*slow(0.2))
    allocation.feed(ranges(12))
    assert runner.wait(PATIENCE_S) == ExitCode.LEFT
    assert len([record for record in allocation.records() if isinstance(record, PayloadEnded)]) == 2
    assert sum(allocation.done().values()) == 12


def test_a_killed_node_costs_what_it_had_in_flight_and_its_ranges_are_done_elsewhere(allocation: Allocation) -> None:
    runner = allocation.start(*slow(0.3))
    allocation.feed(ranges(40))
    until(lambda: len(allocation.agents()) == 2, "two nodes")
    time.sleep(2)
    os.kill(min(allocation.agents()), signal.SIGKILL)
    assert runner.wait(PATIENCE_S) == ExitCode.LEFT
    assert allocation.done() == collections.Counter(one.id for one in allocation.fed)


def test_a_killed_head_is_followed_by_another_and_nothing_counts_twice(allocation: Allocation) -> None:
    runner = allocation.start(*slow(0.3))
    allocation.feed(ranges(60))
    until(lambda: len(allocation.agents()) == 2, "two nodes")
    agents = allocation.agents()
    for _ in range(2):
        time.sleep(2)
        os.kill(allocation.head(), signal.SIGKILL)
    time.sleep(1)
    assert allocation.agents() == agents, "the nodes go on"
    assert runner.wait(PATIENCE_S) == ExitCode.LEFT
    assert allocation.done() == collections.Counter(one.id for one in allocation.fed)


def test_a_head_that_takes_over_leaves_its_nodes_in_peace_and_waits_until_they_have_tidied_up(
    allocation: Allocation,
) -> None:
    runner = allocation.start(*slow(agents.PATIENCE_S / 5))
    allocation.feed(ranges(28))
    until(lambda: len(allocation.agents()) == 2, "two nodes")
    time.sleep(1)
    os.kill(allocation.head(), signal.SIGKILL)
    assert runner.wait(PATIENCE_S) == ExitCode.LEFT
    assert allocation.done() == collections.Counter(one.id for one in allocation.fed)
    spools = sorted(path.name for path in (allocation.mailbox.folder / "nodes").iterdir())
    assert spools == ["v1.0.jsonl", "v2.0.jsonl"], "no node was started again"
    assert not list(allocation.folder.glob("scratch/*")), "nothing is left on the nodes"


@pytest.mark.parametrize("seed", range(3))
def test_when_everybody_is_killed_all_that_was_finished_is_salvaged(allocation: Allocation, seed: int) -> None:
    allocation.start(*slow(0.1))
    allocation.feed(ranges(200), last=False)
    until(lambda: len(allocation.agents()) == 2, "two nodes")
    time.sleep(random.Random(seed).uniform(1.5, 3.0))
    kin.send(allocation.everybody(), signal.SIGKILL)
    allocation.runners[-1].wait()
    told = allocation.records()
    names = {archive.name for archive in allocation.archives(told)}
    closed = allocation.mailbox.journal.close(len(allocation.mailbox.read_segments(0)), by="test", at=0)
    assert closed
    found = salvage(allocation.mailbox.folder, None, names)
    again = salvage(allocation.mailbox.folder, None, names)
    assert [one for one in found if isinstance(one, ArchiveClosed)]
    assert [(one.name, one.adler32) for one in allocation.archives(list(found))] == [
        (one.name, one.adler32) for one in allocation.archives(list(again))
    ]
    counted = allocation.done(told) + allocation.done(list(found))
    assert set(counted.values()) == {1}
    assert len(counted) >= 4


def test_the_runner_leaves_in_time_and_what_it_stopped_is_not_finished(allocation: Allocation) -> None:
    begun = time.monotonic()
    runner = allocation.start(*slow(0.5), left_s=12)
    allocation.feed(ranges(500), last=False)
    assert runner.wait(PATIENCE_S) == ExitCode.LEFT
    assert time.monotonic() - begun < 12
    counted = allocation.done()
    assert set(counted.values()) == {1}
    assert 5 <= len(counted) < 100
    assert not allocation.failed()


def test_who_is_told_to_leave_together_with_its_payloads_does_not_call_that_their_failure(
    allocation: Allocation,
) -> None:
    runner = allocation.start(*slow(20), tries=1)
    allocation.feed(ranges(8), last=False)
    until(lambda: len(list(allocation.folder.glob("scratch/*/*/*"))) == 4, "four ranges under way")
    time.sleep(0.5)
    kin.send(allocation.everybody(), signal.SIGTERM)
    assert runner.wait(PATIENCE_S) == ExitCode.LEFT
    assert not allocation.failed()
    spools = [path.read_text() for path in (allocation.mailbox.folder / "nodes").iterdir()]
    assert not any("failed" in text for text in spools)


def test_a_hung_range_is_killed_and_does_not_hold_the_rest(allocation: Allocation) -> None:
    script = 'test "$2" = 5 && sleep 600; echo "$1" > "$3"'
    runner = allocation.start(
        "sh", "-c", script, "sh", "{eventRangeID}", "{startEvent}", "{output}", range_walltime_s=1.5, tries=1
    )
    allocation.feed(ranges(20))
    assert runner.wait(PATIENCE_S) == ExitCode.LEFT
    assert allocation.failed().keys() == {"9-77-2-5-3"}
    assert sum(allocation.done().values()) == 19
