"""Ranges done by a service that asks for them, with real processes: an AthenaMP of our own with four sub-workers."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcharvest.jumbo.slots import lines, service
from hpcharvest.jumbo.slots.callable import callable_slot
from hpcharvest.jumbo.slots.command import OUT_OF_MEMORY
from hpcharvest.jumbo.slots.service import STOPPED_WITH_IT, ServiceSlot
from hpcharvest.messenger.ranges import Channel, PayloadKind
from tests.services import athenamp
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

CHANNELS = list(Channel)
TWELVE = [leased(index) for index in range(12)]


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path / "slot") as one:
        yield one


def athena(here: Bench, *behaviours: str, channel: Channel = Channel.SOCKET, cores: int = 4) -> ServiceSlot:
    pipes = ["pipes"] if channel is Channel.PIPES else []
    argv = [sys.executable, athenamp.__file__, *pipes, *behaviours]
    return here.keep(
        ServiceSlot(event_task(here.folder, *argv, kind=PayloadKind.SERVICE, channel=channel, cores=cores), here.place)
    )


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("behaviours", [[], ["chat"], ["comma"]])
def test_a_service_does_ranges_and_ends_when_there_are_no_more(
    here: Bench, channel: Channel, behaviours: list[str]
) -> None:
    slot = athena(here, *behaviours, channel=channel)
    drive(slot, lambda _: slot.room == 4)
    outcomes = until_told(slot, *TWELVE)
    assert sorted(one.leased.index for one in outcomes) == list(range(12))
    for outcome in outcomes:
        good = done(outcome)
        number = good.leased.range.start
        assert Path(good.output).read_text() == f"/data/in.root {number} {number}\n"
        assert good.cpu_s == 1.5
    assert until_over(slot) == []
    assert here.processes == {}
    assert all(path.suffix == ".done" for path in here.folder.iterdir())


def test_an_error_of_one_range_leaves_the_others_alone(here: Bench) -> None:
    outcomes = until_told(athena(here, "err:cannot read /tmp/x77/f.root at 0x7f1"), *TWELVE[:4])
    by_index = {one.leased.index: one for one in outcomes}
    assert failed(by_index[0]) == failed(by_index[2]) == "ERR_ATHENAMP_PROCESS: cannot read f.root at #"
    done(by_index[1])
    done(by_index[3])
    assert sorted(here.logs) == [0, 2]


@pytest.mark.parametrize("behaviour", ["lie", "outside"])
def test_an_output_that_is_not_there_or_elsewhere_is_none(here: Bench, behaviour: str) -> None:
    assert "output" in failed(until_told(athena(here, behaviour), leased(0))[0])


@pytest.mark.parametrize("channel", CHANNELS)
def test_a_service_that_ends_early_has_not_done_what_it_had_and_is_started_again(here: Bench, channel: Channel) -> None:
    outcomes = until_told(athena(here, "slow", "die:1", channel=channel), *TWELVE[:6])
    assert {failed(one) for one in outcomes} == {"the payload ended with exit code 3"}


def test_a_service_that_ends_well_with_ranges_in_hand_has_not_done_them(here: Bench) -> None:
    text = "read x; exit 0"
    argv = ["/bin/sh", "-c", f'echo "Ready for events"; {text}']
    slot = here.keep(
        ServiceSlot(event_task(here.folder, *argv, kind=PayloadKind.SERVICE, channel=Channel.PIPES), here.place)
    )
    assert failed(until_told(slot, leased(0))[0]) == "the payload ended with exit code 0"


def test_last_words_count(here: Bench) -> None:
    text = 'echo "Ready for events"; read x; echo hi >out.root; printf "out.root,ID:9-7-1-0-1,CPU:1,WALL:1"'
    slot = here.keep(
        ServiceSlot(
            event_task(here.folder, "/bin/sh", "-c", text, kind=PayloadKind.SERVICE, channel=Channel.PIPES), here.place
        )
    )
    assert Path(done(until_told(slot, leased(0))[0]).output).read_text() == "hi\n"


def test_stopping_one_range_stops_its_neighbours_without_a_fault_of_theirs(here: Bench) -> None:
    slot = athena(here, "slow")
    drive(slot, lambda _: len(slot.held) == 4, *TWELVE[:4])
    slot.stop([leased(2)], "hung", time.monotonic())
    outcomes = drive(slot, lambda found: len(found) >= 4)
    by_index = {one.leased.index: failed(one, ours=True) for one in outcomes}
    assert by_index == {0: STOPPED_WITH_IT, 1: STOPPED_WITH_IT, 2: "hung", 3: STOPPED_WITH_IT}
    assert slot.room == 0
    drive(slot, lambda _: slot.room == 4)


def test_a_service_that_ignores_everything_is_killed(tmp_path: Path) -> None:
    with bench(tmp_path / "slot", grace_s=0.2) as here:
        slot = athena(here, "deaf", "slow")
        drive(slot, lambda _: len(slot.held) == 4, *TWELVE[:4])
        slot.finish(time.monotonic())
        slot.stop(slot.held, "leaving", time.monotonic())
        outcomes = drive(slot, lambda _: slot.over)
        assert [failed(one, ours=True) for one in outcomes] == ["leaving"] * 4
        end = time.monotonic() + 5
        while here.processes and time.monotonic() < end:
            time.sleep(0.01)
        assert here.processes == {}


def test_a_service_that_never_asks_is_stopped_and_told_of(here: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "START_LIMIT_S", 0.1)
    slot = athena(here, "mute")
    outcome = drive(slot, any, leased(0))[0]
    assert failed(outcome) == "the payload was stopped: it kept silent for too long, before it asked for a range"


@pytest.mark.parametrize(
    ("argv", "error"),
    [
        (["/bin/sh", "-c", "echo no libGo.so >&2; exit 5"], "the payload ended with exit code 5: no libGo.so, before"),
        (["/nowhere/athena.py"], "the payload cannot be started: No such file or directory, before"),
    ],
)
def test_a_service_that_never_comes_to_work_fails_ranges_less_and_less_often(
    here: Bench, argv: list[str], error: str
) -> None:
    slot = here.keep(ServiceSlot(event_task(here.folder, *argv, kind=PayloadKind.SERVICE), here.place))
    began = time.monotonic()
    outcomes = until_told(slot, leased(0), leased(1))
    assert all(failed(one).startswith(error.partition(", before")[0]) for one in outcomes)
    assert time.monotonic() - began >= 0.1 + 0.2
    assert slot.room == 0
    assert slot.next_event() > time.monotonic() + 0.3


def test_out_of_memory_is_named(here: Bench) -> None:
    text = 'echo "Ready for events"; read x; while [ ! -e go ]; do sleep 0.01; done; kill -9 $$'
    slot = here.keep(
        ServiceSlot(
            event_task(here.folder, "/bin/sh", "-c", text, kind=PayloadKind.SERVICE, channel=Channel.PIPES), here.place
        )
    )
    drive(slot, lambda _: bool(slot.held), leased(0))
    here.oom += 1
    (here.folder / "1" / "go").touch()
    assert failed(drive(slot, any)[0]) == OUT_OF_MEMORY


def test_a_long_scratch_is_no_trouble_for_the_socket(tmp_path: Path) -> None:
    with bench(tmp_path / ("x" * 120) / "slot") as here:
        done(until_told(athena(here), leased(0))[0])


def shouting(here: Bench, *argv: str, channel: Channel = Channel.PIPES) -> ServiceSlot:
    return here.keep(ServiceSlot(event_task(here.folder, *argv, kind=PayloadKind.SERVICE, channel=channel), here.place))


@pytest.mark.parametrize("word", ["y", "Ready for events"])
def test_a_payload_that_shouts_without_end_does_not_hold_the_others_nor_fill_the_memory(here: Bench, word: str) -> None:
    slot = shouting(here, "yes", word)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    longest, until = 0.0, time.monotonic() + 3
    while time.monotonic() < until:
        began = time.monotonic()
        slot.serve(began)
        longest = max(longest, time.monotonic() - began)
    assert longest < 2.5, "others wait for their turn"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000, "KB"
    assert slot.room <= 2


def test_a_payload_that_connects_without_end_is_heard_no_more_than_it_may_be(here: Bench) -> None:
    script = "import os, socket, time\nheld = []\nwhile len(held) < 300:\n one = socket.socket(socket.AF_UNIX)\n"
    script += f" one.connect(os.environ['{service.CHANNEL_VARIABLE}'])\n held.append(one)\nopen('all', 'w')\n"
    slot = shouting(here, sys.executable, "-c", f"{script}time.sleep(600)", channel=Channel.SOCKET)
    drive(slot, lambda _: bool(list(here.folder.glob("**/all"))))
    assert len(slot.filenos()) <= 2 + service.OTHER_SPEAKERS + 1


def test_a_line_that_is_made_to_be_hard_to_read_is_read_at_once() -> None:
    began = time.monotonic()
    assert lines.read("ERR_" + "A" * 300_000) is None
    assert time.monotonic() - began < 1


def test_a_function_is_imported_once_and_called_with_each_range(here: Bench, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import os, pathlib\n"
        "pathlib.Path('imported').open('a').write('once\\n')\n"
        "def work(one):\n"
        "    if one['startEvent'] == 3: raise ValueError(f'no such event {one[\"startEvent\"]}')\n"
        "    path = pathlib.Path(one['output'])\n"
        "    told = os.getpid(), one['seed'], one['PandaID'], pathlib.Path('imported').read_text()\n"
        "    path.write_text(' '.join(map(str, told)))\n"
        "    return path\n"
    )
    here.env["PYTHONPATH"] = str(tmp_path)
    slot = here.keep(callable_slot(event_task(here.folder, "mine:work", kind=PayloadKind.CALLABLE), here.place))
    outcomes = until_told(slot, *TWELVE[:4])
    texts = [Path(done(outcomes[index]).output).read_text().split() for index in (0, 1, 3)]
    assert failed(outcomes[2]) == "ERR_VALUEERROR: no such event #"
    assert texts[0][0] == texts[1][0]
    assert texts[0][1] != texts[1][1]
    assert all(words[2:] == ["7", "once"] for words in texts)
    assert texts[2][0] != texts[0][0], "after a failure there is a fresh process"
    assert until_over(slot) == []


def test_a_function_that_cannot_be_imported_is_told_of(here: Bench) -> None:
    slot = here.keep(callable_slot(event_task(here.folder, "nowhere:work", kind=PayloadKind.CALLABLE), here.place))
    assert "No module named 'nowhere'" in failed(until_told(slot, leased(0))[0])
