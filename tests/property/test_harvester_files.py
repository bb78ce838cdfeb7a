"""The laws of panda-harvester's files: torn texts, texts without sense, and each range with one outcome."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcharvest.clock import SystemClock
from hpcharvest.errors import MessageNotUnderstood, TornMessage
from hpcharvest.jumbo.access.ledger import Ledger
from hpcharvest.jumbo.access.point import AccessPoint, Pace
from hpcharvest.jumbo.access.talk import Talk
from hpcharvest.jumbo.slots.slot import Done, Leased
from hpcharvest.messenger import harvester_files as names
from hpcharvest.messenger.harvester_files import Entry, Kind, Status
from hpcharvest.messenger.ranges import EventTask, PayloadKind
from hpcharvest.model.event_range import EventRange
from hpcharvest.model.ids import Attempt, JobId

JOB, OTHER = JobId(7), JobId(8)
READERS = (names.read_dump, names.read_range_request, names.read_attributes)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
rows = st.fixed_dictionaries(
    {},
    optional={
        "eventRangeID": st.sampled_from(["r", "s", ""]) | json_values,
        "eventStatus": st.sampled_from(["running", "finished", "failed", "fatal"]) | json_values,
        "path": st.sampled_from(["/a", "b"]) | json_values,
        "type": st.sampled_from(list(Kind)) | json_values,
        "fsize": st.integers() | json_values,
        "chksum": st.text(max_size=4) | json_values,
        "isZip": st.integers(0, 1) | json_values,
        "cpuConsumptionTime": st.floats() | json_values,
    },
)
dumps = st.dictionaries(st.sampled_from(["7", "8", "x"]), st.lists(rows, max_size=4) | json_values, max_size=3)


def a_range(number: int) -> Leased:
    return Leased(number, EventRange(id=f"5-7-1-1-{number}", start=number, last=number, lfn="f"))


def a_task(job: JobId = JOB) -> EventTask:
    return EventTask(job=job, attempt=Attempt(1), kind=PayloadKind.FILES, argv=("true",), folder="/a")


@given(value=st.dictionaries(st.text(max_size=5), json_values, max_size=4), data=st.data())
def test_a_text_that_is_cut_anywhere_is_torn_and_never_read_in_part(value: dict[str, Any], data: st.DataObject) -> None:
    text = json.dumps(value).encode()
    cut = text[: data.draw(st.integers(0, len(text) - 1))]
    for read in READERS:
        with pytest.raises(TornMessage):
            read(cut, "there")


@given(text=st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode()))
def test_whatever_is_read_there_is_an_answer_or_an_error_of_ours(text: bytes) -> None:
    for read in READERS:
        with contextlib.suppress(MessageNotUnderstood):
            assert read(text, "there") is not None
    assert names.read_job_request(text) >= 0
    assert isinstance(names.read_finished(text), str)


@given(value=dumps)
def test_a_dump_is_read_row_by_row_and_what_is_left_out_is_told(value: dict[str, Any]) -> None:
    dump = names.read_dump(json.dumps(value).encode(), "there")
    told = sum(len(rows) if type(rows) is list and name != "x" else 1 for name, rows in value.items())
    assert sum(map(len, dump.entries.values())) + len(dump.strange) == told
    for entries in dump.entries.values():
        for entry in entries:
            assert entry.status is not None or not entry.range
            assert entry.cpu_s >= 0


entries = st.builds(
    Entry,
    range=st.integers(0, 9).map(lambda number: a_range(number).range.id),
    status=st.sampled_from(Status),
    path=st.sampled_from(["", "/a", "/b", "/c"]),
    kind=st.sampled_from([None, *Kind]),
)
files = st.builds(Entry, path=st.sampled_from(["/a", "/z"]), kind=st.sampled_from(Kind))
steps = st.lists(
    st.tuples(st.just("ask"), st.integers(0, 5))
    | st.tuples(st.just("hand over"), st.none())
    | st.tuples(st.just("withdraw"), st.sets(st.integers(0, 9)))
    | st.tuples(st.just("hear"), st.lists(entries | files, max_size=6)),
    max_size=20,
)


@given(steps=steps, blame=st.booleans())
def test_each_range_that_is_given_comes_out_once(steps: list[tuple[str, Any]], blame: bool) -> None:
    ledger, fresh, out = Ledger(2), list(range(10)), Counter[int]()
    for now, (what, value) in enumerate(steps):
        if what == "ask":
            ledger.asked = value
            while ledger.room and fresh:
                ledger.give(a_range(fresh.pop()))
        elif what == "hand over":
            ledger.hand_over(float(now))
            assert (ledger.asked, ledger.waiting, ledger.room) == (0, [], 0)
        elif what == "withdraw":
            out.update(one.index for one in ledger.withdraw({a_range(number).range.id for number in value}))
        else:
            claims, failed = ledger.hear(value, float(now))
            out.update(one.index for claim in claims for one in claim.ranges)
            out.update(one.leased.index for one in failed)
            assert all(claim.path and 0 <= claim.wall_s <= now for claim in claims)
            assert len({claim.path for claim in claims}) == len(claims)
    out.update(one.leased.index for one in ledger.end(99.0, "gone", blame=blame))
    assert ledger.held == []
    assert out == Counter(number for number in range(10) if number not in fresh)


@given(running=st.sets(st.integers(0, 5)), blame=st.booleans())
def test_only_what_was_said_to_run_answers_for_a_crash_and_one_always_does(running: set[int], blame: bool) -> None:
    ledger = Ledger(1)
    for number in range(6):
        ledger.give(a_range(number))
    ledger.hand_over(0.0)
    ledger.hear([Entry(range=a_range(number).range.id, status=Status.RUNNING) for number in running], 1.0)
    guilty = {one.leased.index for one in ledger.end(2.0, "died", blame=blame) if not one.ours}
    assert guilty == ((running or {0}) if blame else set())


@given(wishes=st.lists(st.tuples(st.floats(0, 20), st.integers(0, 30)), max_size=30))
def test_the_pace_lets_through_what_the_time_allows_and_no_more(wishes: list[tuple[float, int]]) -> None:
    pace, now, spent, last = Pace(per_s=1.0, burst=10.0), 0.0, 0, 0
    for later, operations in wishes:
        now = max(now + later, pace.ready_at())
        assert spent - last <= 10.0 + now, "what was there before the last operation, which may be a large one"
        pace.spend(operations, now)
        spent, last = spent + operations, operations
        assert pace.ready_at() <= now + operations + 1


def talk_in(folder: Path, *jobs: JobId) -> Talk:
    talk = Talk(str(folder), [a_task(job) for job in jobs or (JOB,)], SystemClock())
    talk.begin(JOB)
    return talk


def look(talk: Talk, now: float = 1.0) -> None:
    talk.acknowledge()
    seen = talk.top.look()
    talk.hear(seen, now)
    talk.answer(seen, now)


def test_a_dump_that_is_being_written_is_heard_when_it_is_whole_wherever_we_came_in_between(tmp_path: Path) -> None:
    row = {"eventRangeID": a_range(1).range.id, "eventStatus": "failed", "chksum": "ä"}
    text = json.dumps({"7": [row]}, ensure_ascii=False).encode()
    for cut in range(len(text)):
        talk = talk_in(tmp_path / str(cut))
        talk.desks[JOB].ledger.give(a_range(1))
        talk.desks[JOB].ledger.hand_over(0.0)
        with (tmp_path / str(cut) / names.DUMP).open("wb", buffering=0) as file:
            file.write(text[:cut])
            look(talk)
            look(talk)
            assert talk.desks[JOB].outbox == []
            file.write(text[cut:])
        look(talk)
        assert [one.leased.index for one in talk.desks[JOB].outbox] == [1]


def test_a_request_that_is_being_written_is_heard_when_it_is_whole(tmp_path: Path) -> None:
    text = json.dumps({"7": {"nRanges": 12}}).encode()
    for cut in range(len(text)):
        talk = talk_in(tmp_path / str(cut))
        with (tmp_path / str(cut) / names.RANGE_REQUEST).open("wb", buffering=0) as file:
            file.write(text[:cut])
            look(talk)
            assert talk.desks[JOB].ledger.room == 0
            file.write(text[cut:])
        look(talk)
        assert talk.desks[JOB].ledger.room == 12


def test_ranges_that_were_not_read_are_never_overwritten(tmp_path: Path) -> None:
    talk = talk_in(tmp_path / "a")
    point, ledger = AccessPoint(str(tmp_path / "a")), talk.desks[JOB].ledger
    for number in (1, 2):
        point.put(names.RANGE_REQUEST, b'{"7": {"nRanges": 1}}')
        look(talk)
        ledger.give(a_range(number))
        talk.desks[JOB].gathering_since = 0.0
        look(talk)
        look(talk)
    assert [one.index for one in ledger.waiting] == [2]
    text = (tmp_path / "a" / names.RANGES).read_text()
    assert [one["startEvent"] for one in json.loads(text)["7"]] == [1]
    (tmp_path / "a" / names.RANGES).unlink()
    look(talk)
    assert json.loads((tmp_path / "a" / names.RANGES).read_text())["7"][0]["startEvent"] == 2


def test_a_request_that_came_while_another_was_served_is_not_removed(tmp_path: Path) -> None:
    talk = talk_in(tmp_path / "a")
    point, ledger = AccessPoint(str(tmp_path / "a")), talk.desks[JOB].ledger
    point.put(names.RANGE_REQUEST, b'{"7": {"nRanges": 1}}')
    look(talk)
    ledger.give(a_range(1))
    ledger.hand_over(0.0)
    point.put(names.RANGE_REQUEST, b'{"7": {"nRanges": 5}}')
    talk._close_request()
    look(talk)
    assert ledger.room == 5
    assert not (tmp_path / "a" / f"{names.RANGE_REQUEST}.served").exists()


def test_who_asks_for_a_job_that_nobody_knows_hears_that_there_is_nothing(tmp_path: Path) -> None:
    talk = talk_in(tmp_path / "a")
    AccessPoint(str(tmp_path / "a")).put(names.RANGE_REQUEST, b'{"99": {"nRanges": 1}}')
    look(talk)
    assert json.loads((tmp_path / "a" / names.RANGES).read_text()) == {"99": []}
    assert not (tmp_path / "a" / names.RANGE_REQUEST).exists()


def test_a_dump_is_acknowledged_when_its_outcomes_were_fetched_and_the_next_one_waits_for_that(tmp_path: Path) -> None:
    talk = talk_in(tmp_path / "a")
    point, desk = AccessPoint(str(tmp_path / "a")), talk.desks[JOB]
    for number in (1, 2):
        desk.ledger.give(a_range(number))
    desk.ledger.hand_over(0.0)
    for number in (1, 2):
        (tmp_path / "a" / str(number)).touch()
        row = {"eventRangeID": a_range(number).range.id, "eventStatus": "finished", "path": str(number)}
        point.put(names.DUMP, json.dumps({"7": [row]}).encode())
        look(talk)
    assert {names.DUMP, f"{names.DUMP}.read"} <= {path.name for path in (tmp_path / "a").iterdir()}
    told = desk.inspector.step()
    assert [(one.leased.index, one.output) for one in told if isinstance(one, Done)] == [(1, f"{tmp_path}/a/1")]
    look(talk)
    assert [one.ranges[0].index for one in desk.inspector.claims] == [2]
    assert len(list((tmp_path / "a").glob(f"{names.DUMP}.read.*"))) == 1


def test_a_file_that_is_whole_and_makes_no_sense_is_set_aside_and_kept(tmp_path: Path) -> None:
    talk = talk_in(tmp_path / "a")
    (tmp_path / "a" / names.DUMP).write_text("[]")
    (tmp_path / "a" / names.RANGE_REQUEST).write_text('{"7": 1}')
    look(talk)
    assert talk.top.look() == {names.JOBS, names.CATALOG, names.PANDA_IDS}
    assert len(list((tmp_path / "a").glob("*.odd.*"))) == 2
