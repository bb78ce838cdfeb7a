"""A node's process as a program, with a head in small at the other end of a real link."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tarfile
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from hpcharvest.jumbo.kin import marks_of
from hpcharvest.jumbo.salvage import salvage
from hpcharvest.messenger.mailbox import Mailbox
from hpcharvest.messenger.protocol import ExitCode, Manifest
from hpcharvest.messenger.ranges import ARCHIVES, ArchiveClosed, EventTask, PayloadKind
from hpcharvest.model.ids import AllocationId
from tests.services.range_head import SmallHead
from tests.services.range_slots import event_task
from tests.services.small_disk import as_seen_by, fill, on_small_disk

WRITE = 'echo "$2" >"$1"'
TAG = "tag"


def task_of(
    folder: Path, text: str = WRITE, *, archive_age_s: float = 300.0, archive_bytes: int = 256_000_000, tries: int = 2
) -> EventTask:
    words = ("/bin/sh", "-c", text, "sh", "{output}", "{eventRangeID}")
    return event_task(folder / "job", *words, archive_age_s=archive_age_s, archive_bytes=archive_bytes, tries=tries)


def lay_out(folder: Path, task: EventTask, *, heartbeat_s: float = 0.2) -> None:
    manifest = Manifest(
        allocation=AllocationId(1),
        tag=f"{TAG}-{folder.name}",
        cores_per_node=2,
        tasks=(),
        event_tasks=(task,),
        heartbeat_s=heartbeat_s,
        flush_s=0.05,
        kill_grace_s=1.0,
    )
    (folder / "job").mkdir()
    Mailbox(folder).write_manifest(manifest)


@contextmanager
def node(
    folder: Path, life: int = 0, *, around: Sequence[str] = (), names: str = "n1"
) -> Iterator[subprocess.Popen[bytes]]:
    words = [*around, sys.executable, "-m", "hpcharvest.jumbo.node", str(folder), names, f"{life}"]
    with (folder / "nodes.txt").open("ab") as said:
        process = subprocess.Popen(words, stdout=said, stderr=said, env={**os.environ, "SLURMD_NODENAME": "n1"})
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for pid in marks_of(f"{TAG}-{folder.name}"):
            os.kill(pid, signal.SIGKILL)


def members_of(folder: Path, head: SmallHead) -> dict[str, bytes]:
    """Check the archives that the head heard of, and give what is in them."""
    found: dict[str, bytes] = {}
    for name, told in head.archives.items():
        content = (folder / ARCHIVES / name).read_bytes()
        assert (len(content), f"{zlib.adler32(content):08x}") == (told.size, told.adler32)
        with tarfile.open(folder / ARCHIVES / name) as tar:
            for member in tar:
                file = tar.extractfile(member)
                assert file is not None
                assert member.name not in found or member.name == "manifest.json"
                found[member.name] = file.read()
    return found


def test_all_ranges_are_done_archived_and_told_once(tmp_path: Path) -> None:
    lay_out(tmp_path, task_of(tmp_path))
    head = SmallHead(tmp_path, 50, void=frozenset({3, 4}))
    with node(tmp_path, names="n0,n1") as process:
        head.serve(lambda: len(head.done) == 50)
        head.leave("all is done", 60.0)
        head.serve(lambda: head.byes)
        assert process.wait(30) == ExitCode.LEFT
    head.link.close()
    assert set(head.done.values()) == {1}
    assert head.counted == [index for index in range(50) if index not in {3, 4}]
    found = members_of(tmp_path, head)
    assert len(found) == 49
    assert found["in.root.9-7-1-7-1"] == b"9-7-1-7-1\n"
    assert list((tmp_path / "job" / "scratch").iterdir()) == []
    assert marks_of(f"{TAG}-{tmp_path.name}") == {}


def test_archives_are_closed_while_ranges_go_on(tmp_path: Path) -> None:
    lay_out(tmp_path, task_of(tmp_path, archive_age_s=0.2))
    head = SmallHead(tmp_path, 10_000)
    with node(tmp_path):
        head.serve(lambda: head.archives)
    head.link.close()
    members_of(tmp_path, head)
    assert set(head.counted) <= head.done.keys()


def test_a_failed_range_is_tried_again_and_its_log_is_kept(tmp_path: Path) -> None:
    text = f'echo "$2" >>{tmp_path}/tries; echo no way >&2; exit 9'
    lay_out(tmp_path, task_of(tmp_path, text, tries=2))
    head = SmallHead(tmp_path, 2)
    with node(tmp_path) as process:
        head.serve(lambda: len(head.failed) == 2)
        head.leave("done", 60.0)
        assert process.wait(30) == ExitCode.LEFT
    head.link.close()
    assert set(head.failed.values()) == {"the payload ended with exit code 9: no way"}
    assert sorted((tmp_path / "tries").read_text().split()) == ["9-7-1-0-1"] * 2 + ["9-7-1-1-1"] * 2
    logs = sorted(path.name for path in (tmp_path / "job" / "failed").iterdir())
    assert logs == ["9-7-1-0-1.n1.log", "9-7-1-1-1.n1.log"]
    assert (tmp_path / "job" / "failed" / logs[0]).read_text() == "no way\n"


def test_a_hung_range_is_killed_and_told_of_and_the_slot_goes_on(tmp_path: Path) -> None:
    text = 'case "$2" in *-0-1) sleep 600;; esac; echo >"$1"'
    lay_out(tmp_path, task_of(tmp_path, text))
    head = SmallHead(tmp_path, 6, limit_s=1.0)
    with node(tmp_path):
        head.serve(lambda: len(head.done) == 5 and head.failed)
    head.link.close()
    assert head.failed == {0: "hung: it took longer than it may"}


def test_ranges_that_are_killed_at_the_end_are_given_back_and_never_done(tmp_path: Path) -> None:
    text = 'trap "echo >\\"$1\\"; exit 0" TERM; echo >"$1"; while :; do sleep 0.02; done'
    lay_out(tmp_path, task_of(tmp_path, text))
    head = SmallHead(tmp_path, 8)
    with node(tmp_path) as process:
        head.serve(lambda: len(list(tmp_path.glob("job/scratch/*/*/*/out/*"))) == 2)
        head.leave("the end is near", 5.0)
        head.serve(lambda: head.byes)
        assert process.wait(30) == ExitCode.LEFT
    head.link.close()
    assert head.done == {}
    assert sorted(head.back) == sorted(set(head.back))
    assert set(head.back) == set(range(8)) - set(head.ready)
    assert list((tmp_path / ARCHIVES).iterdir()) == []


def test_what_a_killed_node_told_is_salvaged_and_its_payloads_end_with_its_next_life(tmp_path: Path) -> None:
    lay_out(tmp_path, task_of(tmp_path, f"{WRITE}; sleep 0.05"))
    head = SmallHead(tmp_path, 1000)
    with node(tmp_path) as process:
        head.serve(lambda: len(head.done) >= 20)
        process.kill()
        process.wait()
        records = salvage(tmp_path, "n1", head.archives, life=0)
        saved = {
            int(one.id.split("-")[3])
            for record in records
            if isinstance(record, ArchiveClosed)
            for one in record.ranges
        }
        assert set(head.done) <= saved
        assert salvage(tmp_path, "n1", [one.name for one in records if isinstance(one, ArchiveClosed)], life=0) == ()
        with node(tmp_path, life=1):
            head.serve(lambda: len(head.hellos) == 2)
            assert head.hellos[1].life == 1
            assert head.hellos[1].held == {}
            more = len(head.done)
            head.serve(lambda: len(head.done) > more + 10)
            earlier = [mark for mark in marks_of(f"{TAG}-{tmp_path.name}").values() if "/n1/0." in mark]
            assert earlier == []
    head.link.close()


def test_a_head_that_is_gone_is_waited_for_and_the_next_one_hears_all(tmp_path: Path) -> None:
    lay_out(tmp_path, task_of(tmp_path, f"{WRITE}; sleep 0.02"))
    first = SmallHead(tmp_path, 100, deaf=True)
    with node(tmp_path) as process:
        first.serve(lambda: len(first.done) >= 10)
        first.link.close()
        time.sleep(0.5)
        second = SmallHead(tmp_path, 100, incarnation=1)
        second.serve(lambda: len(second.done) == 100)
        second.leave("all is done", 60.0)
        second.serve(lambda: process.poll() is not None)
        assert process.returncode == ExitCode.LEFT
    second.link.close()
    assert set(first.done) <= set(second.hellos[0].held[str(7)])
    assert set(second.done.values()) == {1}
    assert second.counted == list(range(100))


def test_a_signal_to_leave_is_obeyed(tmp_path: Path) -> None:
    lay_out(tmp_path, task_of(tmp_path, f"{WRITE}; sleep 0.3"))
    head = SmallHead(tmp_path, 1000)
    with node(tmp_path) as process:
        head.serve(lambda: len(head.done) >= 4)
        process.send_signal(signal.SIGTERM)
        head.serve(lambda: process.poll() is not None)
        assert process.returncode == ExitCode.LEFT
    head.link.close()
    assert head.counted == sorted(head.done)
    assert head.byes[0].reason == "the process was told to leave by SIGTERM"


def test_the_memory_of_payloads_is_told_with_heartbeats(tmp_path: Path) -> None:
    lay_out(tmp_path, task_of(tmp_path, f"{WRITE}; sleep 2"))
    head = SmallHead(tmp_path, 100)
    with node(tmp_path):
        head.serve(lambda: any(beat.facts.get("payloads_pss_mb") for beat in head.beats))
    head.link.close()
    facts = next(beat.facts for beat in head.beats if beat.facts.get("payloads_pss_mb"))
    assert 0 < facts["largest_pss_mb"] <= facts["payloads_pss_mb"] < facts["memory_mb"]
    assert facts["memory_available_mb"] <= facts["memory_mb"]


def test_a_payload_that_cannot_be_served_here_fails_its_ranges(tmp_path: Path) -> None:
    task = event_task(tmp_path / "job", "x", kind=PayloadKind.MPI, tries=1)
    lay_out(tmp_path, task)
    head = SmallHead(tmp_path, 1)
    with node(tmp_path):
        head.serve(lambda: head.failed)
    head.link.close()
    assert head.failed == {0: "the site has no launcher to start programs of MPI with"}


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ([], ExitCode.USAGE),
        (["{folder}", "n1", "x"], ExitCode.USAGE),
        (["{folder}", "a,b", "0"], ExitCode.USAGE),
        (["{folder}/none", "n1", "0"], ExitCode.UNPUBLISHED),
    ],
)
def test_wrong_words_are_told(tmp_path: Path, words: list[str], code: ExitCode) -> None:
    lay_out(tmp_path, task_of(tmp_path))
    argv = [sys.executable, "-m", "hpcharvest.jumbo.node", *(word.format(folder=tmp_path) for word in words)]
    environment = {name: value for name, value in os.environ.items() if not re.match("SLURM|PMI|OMPI|PALS|ALPS", name)}
    assert subprocess.run(argv, env=environment, check=False, capture_output=True).returncode == code


def test_a_full_disk_holds_outcomes_back_until_there_is_room(tmp_path: Path) -> None:
    text = 'head -c 20000 /dev/zero >"$1"; sleep 0.05'
    lay_out(tmp_path, task_of(tmp_path, text, archive_age_s=0.5))
    head = SmallHead(tmp_path, 20)
    with node(tmp_path, around=on_small_disk(tmp_path / ARCHIVES, "1m")) as process:
        archives = as_seen_by(process.pid, tmp_path / ARCHIVES)
        head.serve(lambda: head.hellos)
        filler = fill(archives)
        words = tmp_path / "nodes.txt"
        head.serve(lambda: "No space left on device" in words.read_text())
        stuck = len(head.done)
        head.serve(lambda: not head.ready)
        assert len(head.done) == stuck < 20
        filler.unlink()
        head.serve(lambda: len(head.counted) == 20)
        for name, told in head.archives.items():
            content = (archives / name).read_bytes()
            assert (len(content), f"{zlib.adler32(content):08x}") == (told.size, told.adler32)
    head.link.close()
    assert set(head.done.values()) == {1}
