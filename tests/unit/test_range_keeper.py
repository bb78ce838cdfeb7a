"""The thread that writes what a node does: durable before it is told, and never in the way of the slots."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from hpcharvest.clock import SystemClock
from hpcharvest.errors import StorageUnavailable
from hpcharvest.jumbo.node import keeper as module
from hpcharvest.jumbo.node import logs
from hpcharvest.jumbo.node.keeper import Keeper
from hpcharvest.jumbo.node.outputs import Kept, Shut
from hpcharvest.jumbo.salvage import salvage
from hpcharvest.jumbo.slots.slot import Done, Leased
from hpcharvest.messenger.ranges import ARCHIVES, NODES, ArchiveClosed, EventTask
from tests.services.range_slots import JOB, event_task, leased


@contextmanager
def opened(folder: Path, task: EventTask | None = None, flush_s: float = 0.01) -> Iterator[Keeper]:
    for name in (ARCHIVES, NODES, "scratch"):
        (folder / name).mkdir(exist_ok=True)
    one = Keeper(folder, "n1", 0, tasks=[task or event_task(folder)], clock=SystemClock(), flush_s=flush_s)
    try:
        yield one
    finally:
        one.close(30.0)


def output(folder: Path, index: int, size: int = 100) -> Done:
    path = folder / "scratch" / f"{index}"
    path.write_bytes(b"x" * size)
    return Done(leased=leased(index), output=str(path), cpu_s=1.0, wall_s=1.0)


def taken(keeper: Keeper, enough: Callable[[list[Kept | Shut]], object]) -> list[Kept | Shut]:
    found: list[Kept | Shut] = []
    end = time.monotonic() + 30
    while not enough(found):
        assert time.monotonic() < end, found
        found += keeper.take(0.0)
        time.sleep(0.002)
    return found


def is_busy(keeper: Keeper) -> bool:
    return not keeper.idle


def done_in(found: list[Kept | Shut]) -> list[int]:
    return [row[0] for one in found if isinstance(one, Kept) for row in one.done]


def shut_in(found: list[Kept | Shut]) -> list[Shut]:
    return [one for one in found if isinstance(one, Shut)]


def test_outputs_are_kept_and_then_gone_from_the_node(tmp_path: Path) -> None:
    with opened(tmp_path) as keeper:
        for index in range(5):
            keeper.add_done(JOB, output(tmp_path, index))
        keeper.add_failed(JOB, leased(9), "bad")
        assert is_busy(keeper)
        found = taken(keeper, lambda found: len(done_in(found)) == 5)
        assert done_in(found) == list(range(5))
        assert [row for one in found if isinstance(one, Kept) for row in one.failed] == [[9, "bad"]]
        assert list((tmp_path / "scratch").iterdir()) == []
        keeper.seal(JOB)
        keeper.settle(JOB, [0, 1, 2, 3, 4, 9], [1])
        (shut,) = shut_in(taken(keeper, shut_in))
        assert [row[0] for row in shut.ranges] == [0, 2, 3, 4]
        assert not is_busy(keeper)
    assert [path.name for path in (tmp_path / ARCHIVES).iterdir()] == [shut.name]


@pytest.mark.parametrize("name", ["../../a", "x" * 240, "é" * 5000, "a\ud800b", "a\0b", "\n", ""])
def test_a_range_of_any_name_holds_no_other_one(tmp_path: Path, name: str) -> None:
    strange = Leased(1, replace(leased(1).range, id=name))
    with opened(tmp_path, event_task(tmp_path, output="{startEvent}.out")) as keeper:
        keeper.add_done(JOB, replace(output(tmp_path, 1), leased=strange))
        keeper.add_done(JOB, output(tmp_path, 2))
        keeper.add_failed(JOB, replace(strange, index=3), f"bad {name}")
        taken(keeper, lambda found: done_in(found) == [1, 2])
    (closed,) = [one for one in salvage(tmp_path, "n1", ()) if isinstance(one, ArchiveClosed)]
    assert [one.id for one in closed.ranges] == [name, leased(2).range.id]
    assert [path.name for path in (tmp_path / ARCHIVES).iterdir() if path.name == closed.name]


def test_an_archive_is_closed_when_it_is_old_and_all_in_it_was_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SHORTEST_AGE_S", 0.0)
    with opened(tmp_path, event_task(tmp_path, archive_age_s=0.05)) as keeper:
        keeper.add_done(JOB, output(tmp_path, 0))
        taken(keeper, done_in)
        time.sleep(0.2)
        assert keeper.take(0.0) == []
        assert keeper.idle
        keeper.settle(JOB, [0], [])
        assert len(shut_in(taken(keeper, shut_in))) == 1


def test_an_archive_is_closed_when_it_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHORTEST_AGE_S", 0.0)
    monkeypatch.setattr(module, "REST_S", 0.0)
    with opened(tmp_path, event_task(tmp_path, archive_bytes=3000)) as keeper:
        found: list[Kept | Shut] = []
        for index in range(6):
            keeper.add_done(JOB, output(tmp_path, index, 1000))
            found += taken(keeper, done_in)
            keeper.settle(JOB, [index], [])
        found += taken(keeper, lambda more: len(shut_in(found + more)) == 3)
    shut = shut_in(found)
    assert [len(one.ranges) for one in shut] == [2, 2, 2]


def test_a_slow_storage_holds_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, released = os.fsync, threading.Event()

    def slow(handle: int) -> None:
        assert released.wait(30)
        real(handle)

    monkeypatch.setattr(os, "fsync", slow)
    monkeypatch.setattr(module, "MOST_WAITING", 50)
    with opened(tmp_path) as keeper:
        began = time.monotonic()
        for index in range(100):
            keeper.add_done(JOB, output(tmp_path, index))
        assert keeper.take(0.0) == []
        assert keeper.full
        assert time.monotonic() - began < 5
        released.set()
        assert sorted(done_in(taken(keeper, lambda found: len(done_in(found)) == 100))) == list(range(100))
        assert not keeper.full


def test_a_storage_that_does_not_play_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real, errors = os.fsync, iter([OSError(5, "Input/output error"), OSError(28, "No space left on device")])

    def shaky(handle: int) -> None:
        error = next(errors, None)
        if error:
            raise error
        real(handle)

    monkeypatch.setattr(module, "FIRST_PAUSE_S", 0.02)
    with opened(tmp_path) as keeper:
        monkeypatch.setattr(os, "fsync", shaky)
        keeper.add_done(JOB, output(tmp_path, 0))
        assert done_in(taken(keeper, done_in)) == [0]
    told = [record.getMessage() for record in caplog.records]
    assert "Input/output error" in told[0]
    assert "No space left" in told[1]


def test_what_waits_is_written_when_the_keeper_is_closed(tmp_path: Path) -> None:
    with opened(tmp_path, flush_s=30.0) as keeper:
        keeper.add_done(JOB, output(tmp_path, 0))
        taken(keeper, done_in)
        keeper.add_done(JOB, output(tmp_path, 1))
        assert keeper.take(0.0) == []
    (one,) = salvage(tmp_path, None, ())
    assert isinstance(one, ArchiveClosed)
    assert len(one.ranges) == 2


def test_logs_of_failed_ranges_are_cut_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MOST", 2)
    said = tmp_path / "said"
    said.write_bytes(b"begin" + b"x" * logs.LOG_BYTES)
    with opened(tmp_path) as keeper:
        for index in range(4):
            keeper.keep_log(JOB, leased(index), str(said))
        keeper.keep_log(JOB, leased(7), "/nowhere")
        keeper.discard(str(tmp_path / "scratch"))
    names = sorted(path.name for path in (tmp_path / "failed").iterdir())
    assert names == ["9-7-1-0-1.n1.log", "9-7-1-1-1.n1.log"]
    assert (tmp_path / "failed" / names[0]).read_bytes() == b"x" * logs.LOG_BYTES
    assert not (tmp_path / "scratch").exists()


def test_a_folder_that_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailable, match=r"n1\.0\.jsonl"):
        Keeper(tmp_path, "n1", 0, tasks=[], clock=SystemClock())


def break_down() -> None:
    raise LookupError("for a test")


def test_a_keeper_that_breaks_down_takes_the_node_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", broken.append)
    with opened(tmp_path) as keeper:
        keeper._command(break_down)
        with pytest.raises(RuntimeError, match="broke down"):
            taken(keeper, lambda _: False)
        os.close(keeper._storing._spool._handle)
    assert len(broken) == 1


def test_the_file_system_is_asked_for_few_names(tmp_path: Path) -> None:
    """At most one operation on names a second, in the long run; appending is none."""
    asked: list[str] = []
    watching = threading.Event()

    def hear(what: str, arguments: tuple[object, ...]) -> None:
        if watching.is_set() and what in {"open", "os.rename", "os.remove", "os.mkdir", "os.listdir", "os.scandir"}:
            path = str(arguments[0])
            if path.startswith(str(tmp_path)) and "/scratch" not in path:
                asked.append(f"{what} {path}")

    sys.addaudithook(hear)
    with opened(tmp_path, event_task(tmp_path, archive_age_s=0.1)) as keeper:
        watching.set()
        began = time.monotonic()
        index = 0
        while time.monotonic() - began < 11.0:
            keeper.add_done(JOB, output(tmp_path, index))
            keeper.settle(JOB, done_in(list(keeper.take(0.0))), [])
            index += 1
            time.sleep(0.01)
        watching.clear()
    assert index > 100
    assert len(asked) <= 11, asked
