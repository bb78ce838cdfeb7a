"""What is durable when everything is killed: archives and spools cut at every byte, and salvaged."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from hpcharvest.clock import ManualClock
from hpcharvest.errors import StorageUnavailable
from hpcharvest.jumbo.node import members, spool
from hpcharvest.jumbo.node.archive import Archive
from hpcharvest.jumbo.node.outputs import Shut
from hpcharvest.jumbo.node.shelf import Shelf
from hpcharvest.jumbo.node.spool import FailedLine, Spool, VoidLine
from hpcharvest.jumbo.node.storing import Flop, Storing
from hpcharvest.jumbo.salvage import salvage
from hpcharvest.jumbo.slots.slot import Done
from hpcharvest.messenger.protocol import Record
from hpcharvest.messenger.ranges import ARCHIVES, NODES, ArchiveClosed, RangesFailed
from tests.services.range_slots import JOB, event_task, leased

WALL = ManualClock(5.0)


class Node:
    """A node's storing, without its thread."""

    def __init__(self, folder: Path, name: str = "n1", life: int = 0) -> None:
        for one in (ARCHIVES, NODES, "scratch"):
            (folder / one).mkdir(parents=True, exist_ok=True)
        self.folder, self.name = folder, name
        self.serial = 0
        self.spool = Spool(spool.spool_path(folder, name, life))
        self.shelf = Shelf(event_task(folder), lambda one: Archive(folder / ARCHIVES, one), self.unique)
        self.storing = Storing(self.spool, {JOB: self.shelf})

    def unique(self) -> str:
        self.serial += 1
        return f"{self.name}-{self.serial}"

    def output(self, index: int, text: str = "") -> Done:
        path = self.folder / "scratch" / f"{self.name}.{index}"
        path.write_text(text or f"output {index}\n" * (index + 1))
        os.utime(path, (1_000_000, 1_000_000))
        return Done(leased=leased(index), output=str(path), cpu_s=1.0 + index, wall_s=2.0)

    def do(self, *indices: int) -> None:
        self.storing.store([(JOB, self.output(index)) for index in indices], [], 0.0)

    def fail(self, index: int) -> None:
        self.storing.store([(JOB, Flop(leased=leased(index), error="bad"))], [], 0.0)

    def hear(self, *indices: int, void: tuple[int, ...] = ()) -> None:
        self.storing.note(self.shelf.settle(indices, void))

    def close(self) -> Shut | None:
        self.shelf.seal()
        volume = self.shelf.closable()
        assert volume is not None
        return self.storing.close(JOB, volume)

    def die(self) -> None:
        self.shelf.close()
        self.spool.close()

    @property
    def part(self) -> Path:
        (found,) = (self.folder / ARCHIVES).glob("*.part")
        return found


def found(folder: Path, *told: str, node: str | None = None, ranges: tuple[str, ...] = ()) -> tuple[Record, ...]:
    return salvage(folder, node, told, told_ranges=ranges, clock=WALL)


def read(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    assert file is not None
    return file.read()


def indices_in(folder: Path, records: tuple[Record, ...]) -> list[int]:
    """Read the salvaged archives with Python's own tarfile, and tell which ranges are in them, and right."""
    indices: list[int] = []
    for one in records:
        assert isinstance(one, ArchiveClosed)
        path = folder / ARCHIVES / one.name
        content = path.read_bytes()
        assert (len(content), f"{zlib.adler32(content):08x}") == (one.size, one.adler32)
        with tarfile.open(path) as tar:
            names = tar.getnames()
            manifest = json.loads(read(tar, names[-1]))
            assert names[-1] == members.MANIFEST
            assert [row["name"] for row in manifest["ranges"]] == names[:-1]
            assert [row["eventRangeID"] for row in manifest["ranges"]] == [done.id for done in one.ranges]
            for row in manifest["ranges"]:
                index = int(row["eventRangeID"].split("-")[3])
                text = read(tar, row["name"])
                assert text == f"output {index}\n".encode() * (index + 1)
                assert (row["size"], row["adler32"]) == (len(text), f"{zlib.adler32(text):08x}")
                indices.append(index)
    return indices


def test_what_is_in_the_spool_is_salvaged_and_again_the_same(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.do(0, 1)
    node.do(2)
    node.die()
    first = found(tmp_path)
    assert indices_in(tmp_path, first) == [0, 1, 2]
    assert found(tmp_path) == first
    (one,) = first
    assert isinstance(one, ArchiveClosed)
    assert one.name.startswith("EventService_premerge_9-7-1-0-1.n1-")
    assert [done.cpu_s for done in one.ranges] == [1.0, 2.0, 3.0]
    assert found(tmp_path, one.name) == ()


def test_a_spool_that_is_cut_anywhere_gives_the_ranges_of_its_whole_lines(tmp_path: Path) -> None:
    node = Node(tmp_path)
    for index in range(3):
        node.do(index)
    node.die()
    (path,) = spool.spools(tmp_path)
    text = path.read_bytes()
    for cut in range(len(text) + 1):
        path.write_bytes(text[:cut])
        whole = sum(1 for end in (i for i, byte in enumerate(text, 1) if byte == 10) if end - 1 <= cut)
        assert indices_in(tmp_path, found(tmp_path)) == list(range(whole)), cut


def test_an_archive_that_is_cut_anywhere_gives_the_members_that_are_whole(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.do(0, 1)
    node.die()
    text = node.part.read_bytes()
    ends = [one.member.data_at + one.member.size for one in node.shelf._volumes()[0].entries]
    for cut in range(len(text) + 1):
        node.part.write_bytes(text[:cut])
        assert indices_in(tmp_path, found(tmp_path)) == [index for index, end in enumerate(ends) if end <= cut], cut


def test_a_member_that_is_damaged_is_left_out(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.do(0, 1, 2)
    node.die()
    text = bytearray(node.part.read_bytes())
    text[node.shelf._volumes()[0].entries[1].member.data_at] ^= 1
    node.part.write_bytes(text)
    assert indices_in(tmp_path, found(tmp_path)) == [0, 2]


def test_what_does_not_count_is_not_salvaged(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.do(0, 1, 2)
    node.hear(0, 1, void=(1,))
    node.die()
    assert indices_in(tmp_path, found(tmp_path)) == [0, 2]
    assert indices_in(tmp_path, found(tmp_path, ranges=("9-7-1-0-1",))) == [2]


def test_a_range_that_two_nodes_have_is_salvaged_once(tmp_path: Path) -> None:
    for name, indices in ("n1", (0, 1)), ("n2", (1, 2)):
        node = Node(tmp_path, name)
        node.do(*indices)
        node.die()
    assert indices_in(tmp_path, found(tmp_path)) == [0, 1, 2]
    assert indices_in(tmp_path, found(tmp_path, node="n2")) == [1, 2]
    assert salvage(tmp_path, "n2", (), life=1, clock=WALL) == ()


def test_an_archive_that_was_closed_and_not_told_of_is_told_of_as_it_is(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.do(0, 1)
    node.hear(0, 1)
    shut = node.close()
    node.die()
    assert shut is not None
    (one,) = records = found(tmp_path)
    assert isinstance(one, ArchiveClosed)
    assert (one.name, one.size, one.adler32) == (shut.name, shut.size, shut.adler32)
    assert indices_in(tmp_path, records) == [0, 1]
    assert found(tmp_path, shut.name) == ()


def test_an_archive_that_is_closed_has_nothing_that_does_not_count(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.do(0, 1, 2)
    node.hear(0, 1, 2, void=(0, 2))
    shut = node.close()
    node.die()
    assert shut is not None
    assert [row[0] for row in shut.ranges] == [1]
    assert indices_in(tmp_path, found(tmp_path)) == [1]
    assert [path.name for path in (tmp_path / ARCHIVES).iterdir()] == [shut.name]


def test_an_archive_with_nothing_that_counts_is_gone(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.do(0)
    node.hear(0, void=(0,))
    assert node.close() is None
    node.die()
    assert list((tmp_path / ARCHIVES).iterdir()) == []
    assert found(tmp_path) == ()


class Killed(BaseException):
    """What stands for a kill."""


def killed_at(patch: pytest.MonkeyPatch, call: int) -> None:
    """Let the system call of this number, of those that change a file system, be the last; half of a write is done."""
    calls = itertools.count()
    write = os.write

    def mortal(real: Callable[..., object]) -> Callable[..., object]:
        def act(*arguments: object) -> object:
            number = next(calls)
            if number == call and real is write:
                handle, data = arguments
                assert isinstance(handle, int)
                assert isinstance(data, memoryview)
                write(handle, data[: len(data) // 2])
            if number >= call:
                raise Killed
            return real(*arguments)

        return act

    for name in ("write", "fsync", "open", "replace", "unlink", "ftruncate"):
        patch.setattr(os, name, mortal(getattr(os, name)))


def test_a_kill_at_any_moment_of_storing_loses_nothing_that_was_told(tmp_path: Path) -> None:
    for call in range(60):
        node = Node(tmp_path / f"{call}")
        node.do(0)
        batch = [(JOB, node.output(index)) for index in (1, 2)]
        told = False
        with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Killed):
            killed_at(patch, call)
            node.storing.store(batch, [], 0.0)
            told = True
        node.die()
        assert indices_in(node.folder, found(node.folder)) in ([[0, 1, 2]] if told else [[0], [0, 1], [0, 1, 2]]), call
        if told:
            assert call > 8
            return
    pytest.fail("the storing never came to its end")


@pytest.mark.parametrize("void", [(), (1,)], ids=["whole", "written again"])
def test_a_kill_at_any_moment_of_closing_loses_nothing(tmp_path: Path, void: tuple[int, ...]) -> None:
    for call in range(60):
        node = Node(tmp_path / f"{call}")
        node.do(0, 1, 2)
        node.hear(0, 1, 2, void=void)
        over = False
        with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Killed):
            killed_at(patch, call)
            node.close()
            over = True
        node.die()
        assert indices_in(node.folder, found(node.folder)) == [index for index in range(3) if index not in void], call
        if over:
            assert call > 5
            return
    pytest.fail("the closing never came to its end")


def test_a_failure_is_told_of_if_nobody_has_heard_of_it(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.fail(0)
    node.fail(1)
    node.hear(1)
    node.fail(2)
    node.do(2)
    node.die()
    closed, failures = found(tmp_path)
    assert isinstance(closed, ArchiveClosed)
    assert indices_in(tmp_path, (closed,)) == [2]
    assert isinstance(failures, RangesFailed)
    assert [(one.id, one.error, one.node) for one in failures.ranges] == [("9-7-1-0-1", "bad", "n1")]
    assert found(tmp_path, closed.name, ranges=("9-7-1-0-1",)) == ()


def test_a_node_without_files_has_nothing_to_salvage(tmp_path: Path) -> None:
    assert found(tmp_path) == ()
    (tmp_path / NODES).mkdir()
    (tmp_path / NODES / "n1.x.jsonl").write_text("{}")
    assert found(tmp_path) == ()


def test_an_archive_whose_file_is_gone_gives_nothing(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.do(0)
    node.die()
    node.part.unlink()
    assert found(tmp_path) == ()


def test_a_living_node_goes_on_while_it_is_salvaged_by_mistake(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.do(0, 1)
    records = found(tmp_path, node="n1")
    node.do(2)
    node.hear(0, 1, 2, void=(0, 1))
    shut = node.close()
    node.die()
    assert shut is not None
    assert [row[0] for row in shut.ranges] == [2]
    assert indices_in(tmp_path, records) == [0, 1]


def test_what_a_crash_cut_short_does_not_spoil_what_follows(tmp_path: Path) -> None:
    path = tmp_path / "n.0.jsonl"
    path.write_bytes(b'{"kind":"void","job":7,"arch')
    one = Spool(path)
    one.append([VoidLine(job=JOB, archive="a", offsets=(0,))])
    one.append([])
    one.close()
    assert list(spool.read(path)) == [VoidLine(job=JOB, archive="a", offsets=(0,))]


def test_a_line_of_another_kind_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "n.0.jsonl"
    path.write_text(
        '{"kind":"song"}\n[]\n{"kind":"failed","job":7,"index":1,"id":"i","error":"e"}\n{"kind":"failed"}\n'
    )
    assert list(spool.read(path)) == [FailedLine(job=JOB, index=1, id="i", error="e")]


@pytest.mark.parametrize("name", ["x" * 240, "ä" * 90, "plain"])
def test_names_of_any_length_come_out_as_they_went_in(tmp_path: Path, name: str) -> None:
    archive = Archive(tmp_path, "a.tar")
    (tmp_path / "out").write_bytes(b"x" * 1000)
    member = archive.append(str(tmp_path / "out"), name)
    archive.sync()
    entry = members.Entry(index=0, id="i", cpu_s=0.0, wall_s=0.0, member=member)
    archive.finish(7, [entry], shorter=False)
    archive.publish()
    with tarfile.open(tmp_path / "a.tar") as tar:
        assert tar.getnames() == [name, members.MANIFEST]
    assert member.end % members.BLOCK == 0


def test_a_batch_is_stored_whole_or_not_at_all_and_then_again(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.do(0)
    before = node.part.read_bytes()
    with pytest.MonkeyPatch.context() as patch:

        def full(_handle: int) -> None:
            raise OSError(28, "No space left on device")

        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageUnavailable, match="No space left"):
            node.do(1, 2)
    assert (tmp_path / "scratch" / "n1.1").exists()
    node.do(1, 2)
    assert node.part.read_bytes().startswith(before)
    node.die()
    assert indices_in(tmp_path, found(tmp_path)) == [0, 1, 2]


def test_an_output_that_vanished_is_a_failure_and_leaves_no_trace(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.do(0)
    gone = node.output(1)
    Path(gone.output).unlink()
    (kept,) = node.storing.store([(JOB, gone), (JOB, node.output(2))], [], 0.0)
    assert [row[0] for row in kept.done] == [2]
    assert kept.failed == ([1, "its output was not there when it was to be archived"],)
    node.die()
    closed, _ = found(tmp_path)
    assert indices_in(tmp_path, (closed,)) == [0, 2]
