"""Small parts of a node: what is filled in, said, chosen and counted."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcharvest.errors import ConfigurationError, MessageNotUnderstood, UnsafeName
from hpcharvest.jumbo.links.messages import Lease, Slots
from hpcharvest.jumbo.node import lease, memory
from hpcharvest.jumbo.node.crew import Crew
from hpcharvest.jumbo.node.process import own_name
from hpcharvest.jumbo.node.unheard import Unheard
from hpcharvest.jumbo.slots import lines, place, words
from hpcharvest.jumbo.slots.pause import LONGEST_S, Pause
from hpcharvest.jumbo.slots.refused import RefusedSlot
from hpcharvest.jumbo.slots.slot import Slot
from hpcharvest.jumbo.slots.sweep import Sweep
from hpcharvest.messenger.ranges import PLACEHOLDERS, EventTask, PayloadKind
from hpcharvest.model.event_range import EventRange
from hpcharvest.model.ids import Attempt, JobId
from tests.services.range_slots import JOB, event_task, failed, leased

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1)


def test_every_placeholder_is_filled_in(tmp_path: Path) -> None:
    known = place.values(event_task(tmp_path), leased(3).range, "/out")
    assert known.keys() == set(PLACEHOLDERS)
    whole = place.filled("|".join(f"{{{name}}}" for name in PLACEHOLDERS), known)
    assert "{" not in whole
    assert place.filled("{nothing} {} {{LFN}}", known) == "{nothing} {} {in.root}"


@given(TEXT)
def test_a_seed_is_small_and_the_same_for_the_same_range(name: str) -> None:
    one = EventRange(id=name, start=1, last=1, lfn="a")
    assert 0 <= place.seed(one) < 900_000_000
    assert place.seed(one) == place.seed(EventRange(id=name, start=5, last=9, lfn="b"))


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("${TMPDIR:-/tmp}", "/local"),
        ("${SCRATCH:-/disk}", "/disk"),
        ("${TMPDIR}/a", "/local/a"),
        ("/x/../y", "/y"),
    ],
)
def test_a_scratch_is_what_the_node_has(text: str, meant: str) -> None:
    assert place.scratch(text, {"TMPDIR": "/local"}) == Path(meant)


@pytest.mark.parametrize("text", ["", "${NOWHERE}", "relative", "${NOWHERE:-x}"])
def test_a_scratch_that_is_not_absolute_is_refused(text: str) -> None:
    with pytest.raises(UnsafeName, match="absolute"):
        place.scratch(text, {})


@given(path=TEXT, name=st.from_regex(r"\d+-\d+-\d+-\d+-\d+", fullmatch=True))
def test_an_output_is_read_whatever_its_path(path: str, name: str) -> None:
    path = f"/{path}".strip()
    assert lines.read(f"{path},ID:{name},CPU:1.5 s,WALL:2") == lines.Output(id=name, path=path, cpu_s=1.5)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("Ready for events\r", lines.Ready()),
        ("/a,ID:x,CPU:,WALL:", lines.Output(id="x", path="/a", cpu_s=0.0)),
        ("ERR_TE_RANGE 1-2-3: bad range", lines.Error(id="1-2-3", name="ERR_TE_RANGE", text="bad range")),
        ("ERR_TE_RANGE 1-2-3", lines.Error(id="1-2-3", name="ERR_TE_RANGE", text="")),
        (
            "ERR_ATHENAMP_PARSE \"u'LFN': u'a', u'eventRangeID': u'1-2-3'\": not found",
            lines.Error(id="1-2-3", name="ERR_ATHENAMP_PARSE", text=""),
        ),
        ("ERR_", None),
        ("No more events", None),
        ("/a,ID:x", None),
        ("", None),
    ],
)
def test_lines_of_athenamp_are_read(text: str, line: lines.Line | None) -> None:
    assert lines.read(text) == line


@given(TEXT)
def test_anything_is_a_line_or_none(text: str) -> None:
    line = lines.read(text)
    assert line is None or not isinstance(line, lines.Output) or ",ID:" in text


def test_ranges_are_told_on_one_line() -> None:
    text = lines.write([{"eventRangeID": "a\nb"}])
    assert text.count(b"\n") == 1
    assert json.loads(text) == [{"eventRangeID": "a\nb"}]


@pytest.mark.parametrize(
    ("said", "same"),
    [
        ("cannot open /scratch/n17/x/f.root: No such file", "cannot open f.root: No such file"),
        ("12:01:33 ERROR pid 1734 at 0x7f21ac", "# ERROR pid # at #"),
        ("range 1-2-3 of Athena_v21 on nid0042", "range range of Athena_v# on nid#"),
        ("\x1b[31m  bad \t", "[#m bad"),
        ("x" * 500, "x" * 200),
        ("ratio a/b of ./c/d", "ratio a/b of d"),
    ],
)
def test_the_same_cause_has_the_same_words(said: str, same: str) -> None:
    found = words.comparable(said, "1-2-3")
    assert found == same
    assert words.comparable(found) == found


def test_pauses_grow_up_to_a_limit_and_are_gone_with_a_success() -> None:
    pause = Pause()
    waits = []
    for _ in range(20):
        pause.failed(100.0)
        waits.append(round(pause.until - 100.0, 3))
    assert waits[:4] == [0.1, 0.2, 0.4, 0.8]
    assert waits[-1] == LONGEST_S
    pause.succeeded()
    assert pause.over(0.0)


def test_a_refused_slot_fails_ranges_less_and_less_often() -> None:
    slot: Slot = RefusedSlot("no such thing")
    now, times = 0.0, []
    for _ in range(5):
        slot.serve(now)
        assert slot.room == 1
        slot.give(leased(0), now)
        assert slot.next_event() == -math.inf
        assert failed(slot.serve(now)[0]) == "no such thing"
        assert slot.room == 0
        times.append(slot.next_event() - now)
        now = slot.next_event()
    assert times == sorted(times)
    slot.stop([], "x", now)
    slot.finish(now)
    assert slot.over
    assert (list(slot.held), list(slot.filenos()), slot.next_event()) == ([], [], math.inf)


@pytest.mark.parametrize(
    ("environment", "host", "own"),
    [
        ({"SLURMD_NODENAME": "n2"}, "x", "n2"),
        ({}, "n3", "n3"),
        ({}, "n3.site.org", "n3"),
        ({"PMI_RANK": "1"}, "x", "n2"),
        ({"PMIX_RANK": "", "PMI_RANK": "0"}, "x", "n1"),
    ],
)
def test_a_node_finds_its_name(environment: dict[str, str], host: str, own: str) -> None:
    assert own_name(["n1", "n2", "n3"], environment, host) == own
    assert own_name(["only"], environment, host) == "only"


def test_a_node_without_a_name_is_told() -> None:
    with pytest.raises(ConfigurationError, match="none of n1,n2"):
        own_name(["n1", "n2"], {"PMI_RANK": "7"}, "x")


def test_what_the_kernel_says_of_memory_is_read(tmp_path: Path) -> None:
    proc, groups = tmp_path / "proc", tmp_path / "groups"
    for folder in (proc / "5", proc / "self", groups / "a" / "b"):
        folder.mkdir(parents=True)
    (proc / "5" / "smaps_rollup").write_text("x [rollup]\nRss: 9 kB\nPss:    2048 kB\nPss_Dirty: 7 kB\n")
    (proc / "meminfo").write_text("MemTotal: 4096 kB\nMemFree: 1 kB\nMemAvailable:   1024 kB\n")
    (proc / "vmstat").write_text("oom_kill_x 9\noom_kill 3\n")
    (proc / "self" / "cgroup").write_text("1:cpu:/x\n0::/a/b\n")
    (groups / "a" / "b" / "memory.events").write_text("low 0\noom 5\noom_kill 2\n")
    assert memory.pss_mb([5, 6], proc) == 2.0
    assert memory.node_mb(proc) == {"memory_mb": 4.0, "memory_available_mb": 1.0}
    assert memory.oom_kills(proc, groups) == 5
    assert memory.oom_kills(tmp_path / "none", groups) == 0
    assert memory.node_mb()["memory_mb"] > 0


def test_slots_have_gpus_of_their_own() -> None:
    given: list[int] = []

    def make(_task: EventTask, gpus: int, _nodes: Sequence[str]) -> Slot:
        given.append(gpus)
        return RefusedSlot("x")

    task = EventTask(job=JobId(1), attempt=Attempt(1), kind=PayloadKind.COMMAND, argv=(), folder="/x", gpus=2)
    crew = Crew(task, make)
    crew.order(Slots(job=1, count=3, gpus=0b111010), 0.0)
    crew.fill(0.0)
    assert given == [0b1010, 0b110000]
    crew.order(Slots(job=1, count=2, gpus=0b001111), 0.0)
    crew.serve(0.0)
    crew.fill(0.0)
    assert given[2:] == [0b0101]


def test_leases_are_read_or_refused() -> None:
    files = {"f": ["in.root", "G", "s"]}
    read = lease.ranges(Lease(job=7, ranges=[[4, leased(4).range.id, 5, 5, "f"]], files=files))
    assert read == [leased(4)]
    for rows in ([[1]], [[1, "a", "x", 1, "f"]], [[1, "a", 1, 1, "g"]]):
        with pytest.raises(MessageNotUnderstood, match="job 7"):
            lease.ranges(Lease(job=7, ranges=rows, files=files))


def test_what_was_not_acknowledged_is_said_again_but_for_what_came_again() -> None:
    unheard = Unheard()
    unheard.told(JOB, done=[[1, 0.0, 0.0]])
    unheard.told(JOB, back=[2, 3], failed=[[4, "x"]])
    unheard.told(JobId(8), back=[2])
    unheard.taken_again(JOB, {2, 4})
    assert [(one.number, getattr(one, "back", None)) for one in unheard] == [(1, []), (2, [3]), (3, [2])]
    assert [one.number for one in unheard.heard(2)] == [1, 2]
    assert len(unheard) == 1


def test_a_sweep_knows_its_own_node_only() -> None:
    sweep = Sweep("tag", 1, "n1", 2)
    mark = sweep.next_mark()
    assert mark == "tag/1/ranges/n1/2.1"
    others = {1: mark, 2: "tag/1/ranges/n11/0.1", 3: "tag/1/7.1", 4: "tag/0/ranges/n1/0.4", 5: "tag/1/ranges"}
    assert sweep.of_this_node(others) == {1: mark, 4: "tag/0/ranges/n1/0.4"}
