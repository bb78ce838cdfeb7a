"""Ranges done by a process each, with real processes."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcharvest.jumbo import kin
from hpcharvest.jumbo.slots.command import OUT_OF_MEMORY, CommandSlot
from tests.services.range_slots import (
    Bench,
    bench,
    done,
    drive,
    event_task,
    failed,
    leased,
    until_over,
    until_told,
)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path / "slot") as one:
        yield one


def script(here: Bench, text: str, *, output: str = "{LFN}.{eventRangeID}", engine_failure: int = 0) -> CommandSlot:
    task = event_task(
        here.folder, "/bin/sh", "-c", text, "sh", "{output}", "{PFN}", output=output, engine_failure=engine_failure
    )
    return here.keep(CommandSlot(task, here.place))


def test_a_range_is_done_when_its_process_ended_well_and_left_its_output(here: Bench) -> None:
    outcome = done(until_told(script(here, 'echo "$2" >"$1"'), leased(0))[0])
    assert Path(outcome.output).read_text() == "/data/in.root\n"
    assert outcome.wall_s > 0
    assert outcome.cpu_s > 0


def test_words_are_filled_in_and_never_read_by_a_shell(here: Bench) -> None:
    words = ("$(id)", "{startEvent}-{lastEvent}", "`id`;", "{other}", "{PandaID}{taskID}{GUID}{scope}")
    task = event_task(here.folder, "/bin/sh", "-c", 'f=$1; shift; printf "%s|" "$@" >"$f"', "sh", "{output}", *words)
    outcome = done(until_told(here.keep(CommandSlot(task, here.place)), leased(4))[0])
    assert Path(outcome.output).read_text() == "$(id)|5-5|`id`;|{other}|79Gs|"


def test_what_was_filled_in_is_not_filled_in_again(here: Bench) -> None:
    task = event_task(here.folder, "/bin/sh", "-c", 'printf %s "$2" >"$1"', "sh", "{output}", "{LFN}")
    outcome = done(until_told(here.keep(CommandSlot(task, here.place)), leased(0, lfn="{seed}"))[0])
    assert Path(outcome.output).read_text() == "{seed}"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("echo bad news in /tmp/$$/x.root at 12:30:01 >&2; exit 3", "exit code 3: bad news in x.root at #"),
        ("kill -11 $$", "the payload died of signal 11 (SIGSEGV)"),
        ("true", "the payload ended well, but did not leave its output"),
        ('mkdir "$1"', "the payload ended well, but did not leave its output"),
        ('ln -s /etc/passwd "$1"', "the payload ended well, but did not leave its output"),
        ('echo >"$1"; exit 1', "the payload ended with exit code 1"),
    ],
)
def test_a_range_fails_in_words_that_another_node_would_use_too(here: Bench, text: str, error: str) -> None:
    assert failed(until_told(script(here, text), leased(0))[0]).endswith(error)


def test_a_failed_range_leaves_its_log_and_no_folder(here: Bench) -> None:
    until_told(script(here, "echo out; echo err >&2; exit 1"), leased(5))
    assert here.logs == {5: "out\nerr\n"}
    assert list(here.folder.iterdir()) == []


def test_a_range_that_was_being_stopped_is_never_done(here: Bench) -> None:
    slot = script(here, 'trap "echo >\\"$1\\"; exit 0" TERM; : >"$1".began; while :; do sleep 0.01; done')
    drive(slot, lambda _: bool(list(here.folder.rglob("*.began"))), leased(0))
    slot.stop(slot.held, "the end is near", time.monotonic())
    assert failed(drive(slot, any)[0], ours=True) == "the end is near"


def test_a_range_that_does_not_hear_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    with bench(tmp_path / "slot", grace_s=0.2) as here:
        text = 'trap "" TERM; setsid sh -c "trap \\"\\" TERM; sleep 600 & wait" & : >"$1"; sleep 600'
        slot = script(here, text)
        drive(slot, lambda _: len(here.processes) >= 4, leased(0))
        slot.stop([leased(1)], "not this one", time.monotonic())
        slot.stop(slot.held, "hung", time.monotonic())
        assert failed(drive(slot, any)[0], ours=True) == "hung"
        end = time.monotonic() + 5
        while here.processes and time.monotonic() < end:
            time.sleep(0.01)
        assert here.processes == {}


def test_what_a_good_range_left_behind_is_swept_up_and_the_next_is_left_alone(here: Bench) -> None:
    gone = "setsid sh -c 'echo >gone; exec sleep 600' </dev/null >/dev/null 2>&1 &"
    slot = script(here, f'{gone} until [ -e gone ]; do sleep 0.01; done; echo >"$1"; [ "$2" ] || sleep 600')
    done(until_told(slot, leased(0))[0])
    drive(slot, lambda _: bool(slot.held) and len(here.processes) >= 4, leased(1, lfn="none"))
    assert here.sweep.sweep(here.processes) == 1
    assert slot.held
    assert here.sweep.end_all() >= 2
    drive(slot, any)


def test_an_output_whose_name_leads_out_is_refused(here: Bench) -> None:
    assert "lead out" in failed(until_told(script(here, 'echo >"$1"', output="../{eventRangeID}"), leased(0))[0])


def test_a_program_that_is_not_there_fails_the_range(here: Bench) -> None:
    slot = here.keep(CommandSlot(event_task(here.folder, "/nowhere/payload"), here.place))
    assert failed(until_told(slot, leased(0))[0]) == "the payload cannot be started: No such file or directory"


def test_a_scratch_that_cannot_be_written_is_not_the_ranges_fault(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with bench(tmp_path / "file" / "slot") as here:
        assert "its folder cannot be made" in failed(until_told(script(here, "true"), leased(0))[0], ours=True)


def test_a_container_that_its_engine_could_not_start_is_not_the_ranges_fault(here: Bench) -> None:
    slot = script(here, "echo no image >&2; exit 125", engine_failure=125)
    assert failed(until_told(slot, leased(0))[0], ours=True) == "its container could not be started: no image"


@pytest.mark.parametrize("how", ["kill -9 $$", "exit 137"])
def test_out_of_memory_is_named_when_the_kernel_counted_one_more(here: Bench, how: str) -> None:
    slot = script(here, f"while [ ! -e go ]; do sleep 0.01; done; {how}")
    drive(slot, lambda _: bool(slot.held), leased(0))
    here.oom += 1
    (here.folder / "1" / "go").touch()
    assert failed(drive(slot, any)[0]) == OUT_OF_MEMORY
    assert "signal 9" in failed(until_told(script(here, "kill -9 $$"), leased(1))[0])


def test_a_payload_that_dies_at_once_is_not_started_in_a_spin(here: Bench) -> None:
    slot = script(here, "exit 1")
    began = time.monotonic()
    outcomes = until_told(slot, *(leased(index) for index in range(5)))
    assert len(outcomes) == 5
    assert time.monotonic() - began >= 0.1 + 0.2 + 0.4 + 0.8
    assert slot.next_event() > time.monotonic() + 0.5


def test_a_slot_ends_when_it_has_nothing_to_do(here: Bench) -> None:
    slot = script(here, 'echo >"$1"; sleep 0.2')
    drive(slot, lambda _: bool(slot.held), leased(0))
    assert not slot.over
    done(until_over(slot)[0])
    assert slot.room == 0


def test_no_descriptor_is_left_open(here: Bench) -> None:
    slot = script(here, 'echo >"$1"')
    until_told(slot, leased(0))
    before = sum(1 for _ in Path("/proc/self/fd").iterdir())
    until_told(slot, *(leased(index) for index in range(1, 6)))
    assert sum(1 for _ in Path("/proc/self/fd").iterdir()) == before


def test_many_are_stopped_with_one_look_at_all_processes(here: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[kin.Table] = []

    class Counted(kin.Table):
        def __init__(self) -> None:
            super().__init__()
            looks.append(self)

    slots = []
    for index in range(20):
        where = dataclasses.replace(here.place, folder=str(here.folder / f"{index}"))
        slots.append(here.keep(CommandSlot(event_task(here.folder, "sleep", "600"), where)))
        slots[-1].give(leased(index), time.monotonic())
    monkeypatch.setattr(kin, "Table", Counted)
    now = time.monotonic()
    for slot in slots:
        slot.stop(slot.held, "the end", now)
    assert len(looks) == 1
    assert all(failed(drive(slot, any)[0], ours=True) == "the end" for slot in slots)
