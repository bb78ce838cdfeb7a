"""What the command line before radical.saga keeps and says, with a SAGA that is told what to say."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from hpcharvest.providers.saga_command import desk
from hpcharvest.providers.saga_command.judge import LATE_S, Marks, judge
from hpcharvest.providers.saga_command.reach import OUTAGE, Refused, Unreachable
from hpcharvest.providers.saga_command.records import KEPT_S, Record, Records, Wish, attributes
from tests.services.recordings import recorded

NOW = 1_000_000.0
WAITS = Marks(walltime_s=60)
RUNS = Marks(walltime_s=60, began=NOW - 10)
WELL = Marks(walltime_s=60, began=NOW - 10, ended=NOW)
BADLY = Marks(walltime_s=60, began=NOW - 10, ended=NOW, code=3)
LATE = Marks(walltime_s=60, began=NOW - 60, ended=NOW, code=124)
ENDED_BY_US = Marks(walltime_s=60, began=NOW - 10, ended=NOW, code=143, cancelled=True)
STOPPED = Marks(walltime_s=60, began=NOW - 10, cancelled=True)
REVOKED = Marks(walltime_s=60, cancelled=True, revoked=True)
OLD = Marks(walltime_s=60, began=NOW - 61 - LATE_S)


class ToldSaga:
    """A SAGA that says what it is told to, and notes what it is asked to do."""

    def __init__(self) -> None:
        self.states: dict[str, str] = {}
        self.names: dict[str, str] = {}
        self.error: Exception | None = None
        self.dies = False
        self.cancelled: list[str] = []
        self.questions = 0

    def submit(self, wish: Wish, record: Record) -> str:
        if self.error is not None:
            raise self.error
        saga_id = f"[x]-[{len(self.names) + 1}]"
        self.names[saga_id], self.states[saga_id] = wish.tag, "Pending"
        if self.dies:
            raise KeyboardInterrupt(str(record.folder))
        return saga_id

    def state(self, saga_id: str) -> str | None:
        self.questions += 1
        if self.states.get(saga_id) == "error":
            raise Unreachable("SAGA stumbled")
        return self.states.get(saga_id)

    def ids(self) -> Sequence[str]:
        return list(self.names)

    def name(self, saga_id: str) -> str:
        return self.names[saga_id]

    def cancel(self, saga_id: str) -> None:
        self.cancelled.append(saga_id)
        if self.states.get(saga_id) == "error":
            raise Unreachable("SAGA stumbled")


@pytest.fixture
def saga() -> ToldSaga:
    return ToldSaga()


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(tmp_path / "saga")


def wish(folder: Path, code: str = "true", **more: int) -> Wish:
    script = folder / "script.sh"
    script.write_text(code)
    return Wish(**{"tag": "tag", "script": script, "nodes": 1, "cores": 1, "walltime_s": 60, **more})  # type: ignore[arg-type]  # a dict of all sorts


def said(saga: ToldSaga, records: Records, now: float | None = None) -> dict[str, str]:
    return {one["id"]: one["state"] for one in desk.status(saga, records, now or time.time())}


def start(record: Record, **environment: str) -> int:
    """Do what SAGA does when it starts a batch job."""
    argv = ["/bin/sh", str(record.folder / "start.sh")]
    return subprocess.run(argv, env={**os.environ, **environment}, timeout=60, check=False).returncode


@pytest.mark.parametrize(
    ("marks", "told", "state"),
    [
        (WAITS, "New", "PENDING"),
        (WAITS, "Pending", "PENDING"),
        (RUNS, "Running", "RUNNING"),
        (RUNS, "Suspended", "RUNNING"),
        (RUNS, "Unknown", "UNKNOWN"),
        (RUNS, "A word of tomorrow", "UNKNOWN"),
        (RUNS, "Done", "COMPLETED"),
        (RUNS, "Failed", "FAILED"),
        (RUNS, "Canceled", "CANCELLED"),
        (RUNS, None, "RUNNING"),
        (OLD, None, None),
        (OLD, "Unknown", None),
        (OLD, "Running", "RUNNING"),
        (WAITS, None, None),
        (WELL, "Running", "COMPLETED"),
        (WELL, "Failed", "COMPLETED"),
        (WELL, None, "COMPLETED"),
        (BADLY, "Failed", "FAILED"),
        (BADLY, None, "FAILED"),
        (BADLY, "Canceled", "CANCELLED"),
        (BADLY, "Running", "RUNNING"),
        (BADLY, "Pending", "PENDING"),
        (BADLY, "Unknown", "UNKNOWN"),
        (LATE, "Failed", "TIMED_OUT"),
        (LATE, "Canceled", "TIMED_OUT"),
        (LATE, None, "TIMED_OUT"),
        (ENDED_BY_US, "Failed", "CANCELLED"),
        (ENDED_BY_US, None, "CANCELLED"),
        (STOPPED, "Failed", "CANCELLED"),
        (STOPPED, "Running", "RUNNING"),
        (REVOKED, None, "CANCELLED"),
        (REVOKED, "Unknown", "CANCELLED"),
        (REVOKED, "Pending", "PENDING"),
        (REVOKED, "Failed", "CANCELLED"),
        (WAITS, "Unknown", "UNKNOWN"),
    ],
)
def test_marks_come_before_sagas_word_and_no_end_is_guessed(marks: Marks, told: str | None, state: str | None) -> None:
    found = judge(marks, told, NOW)
    assert (found.state if found else None) == state
    assert found is None or found.words


def test_a_submission_is_known_by_its_tag_and_asked_for(saga: ToldSaga, records: Records, tmp_path: Path) -> None:
    assert desk.submit(saga, records, wish(tmp_path), NOW) == "tag"
    assert said(saga, records) == {"tag": "PENDING"}
    saga.states["[x]-[1]"] = "Failed"
    assert said(saga, records) == {"tag": "FAILED"}
    asked = saga.questions
    assert said(saga, records) == {"tag": "FAILED"}
    assert saga.questions == asked, "an end is not asked for again"
    assert said(saga, records, time.time() + desk.SHOWN_S + 60) == {}
    (told,) = desk.status(saga, records, time.time() + desk.SHOWN_S + 60, ["tag", "nobody's"])
    assert (told["state"], told["tag"], told["words"]) == ("FAILED", "tag", "Failed [x]-[1]")
    records.prune(time.time() + KEPT_S + 60)
    assert list(records) == []


def test_a_batch_job_that_goes_on_is_not_submitted_twice(saga: ToldSaga, records: Records, tmp_path: Path) -> None:
    assert desk.submit(saga, records, wish(tmp_path), NOW) == "tag"
    assert desk.submit(saga, records, wish(tmp_path), NOW) == "tag"
    saga.states["[x]-[1]"] = "Failed"
    assert desk.submit(saga, records, wish(tmp_path), NOW) == "tag+2"
    assert [one["tag"] for one in desk.status(saga, records, time.time())] == ["tag", "tag"]


def test_who_dies_between_submission_and_record_finds_it_by_its_name(
    saga: ToldSaga, records: Records, tmp_path: Path
) -> None:
    saga.dies = True
    with pytest.raises(KeyboardInterrupt):
        desk.submit(saga, records, wish(tmp_path), NOW)
    assert said(saga, records) == {"tag": "PENDING"}
    assert desk.submit(saga, records, wish(tmp_path), NOW) == "tag"
    assert len(saga.names) == 1


def test_where_saga_tells_no_names_a_second_submission_revokes_the_first(
    saga: ToldSaga, records: Records, tmp_path: Path
) -> None:
    saga.dies = True
    with pytest.raises(KeyboardInterrupt):
        desk.submit(saga, records, wish(tmp_path, "echo ran >>ran"), NOW)
    saga.names["[x]-[1]"], saga.dies = "", False
    assert said(saga, records) == {}
    assert desk.submit(saga, records, wish(tmp_path), NOW) == "tag+2"
    first, second = records
    assert start(first) == 98
    assert not (tmp_path / "stdout").exists()
    assert start(second) == 0


def test_where_saga_tells_no_names_one_that_has_begun_is_the_one(
    saga: ToldSaga, records: Records, tmp_path: Path
) -> None:
    saga.dies = True
    with pytest.raises(KeyboardInterrupt):
        desk.submit(saga, records, wish(tmp_path, "exit 3"), NOW)
    saga.names["[x]-[1]"] = ""
    (record,) = records
    (record.folder / "start.0").write_text(f"{time.time():.0f}\n")
    assert said(saga, records) == {"tag": "RUNNING"}
    assert desk.submit(saga, records, wish(tmp_path), time.time()) == "tag"


def test_what_was_lost_for_long_is_kept_from_starting(saga: ToldSaga, records: Records, tmp_path: Path) -> None:
    saga.dies = True
    with pytest.raises(KeyboardInterrupt):
        desk.submit(saga, records, wish(tmp_path), NOW)
    saga.names["[x]-[1]"] = ""
    assert said(saga, records, time.time() + desk.LOST_S + 60) == {"tag": "CANCELLED"}
    (record,) = records
    assert start(record) == 98


@pytest.mark.parametrize("error", [Refused("no such queue"), Unreachable("nobody there")])
def test_what_was_refused_never_was(saga: ToldSaga, records: Records, tmp_path: Path, error: Exception) -> None:
    saga.error = error
    with pytest.raises(type(error)):
        desk.submit(saga, records, wish(tmp_path), NOW)
    assert list(records) == []


def test_what_waits_cannot_start_after_it_was_cancelled(saga: ToldSaga, records: Records, tmp_path: Path) -> None:
    desk.submit(saga, records, wish(tmp_path), NOW)
    assert list(desk.cancel(saga, records, ["tag", "nobody's"])) == ["tag"]
    assert saga.cancelled == ["[x]-[1]"]
    assert said(saga, records) == {"tag": "PENDING"}, "until SAGA says otherwise"
    saga.states["[x]-[1]"] = "Failed"
    assert said(saga, records) == {"tag": "CANCELLED"}
    (record,) = records
    assert start(record) == 98


def test_one_that_saga_stumbles_over_hides_nobody(saga: ToldSaga, records: Records, tmp_path: Path) -> None:
    for tag in ("a", "b"):
        desk.submit(saga, records, replace(wish(tmp_path), tag=tag), NOW)
    saga.states["[x]-[1]"] = "error"
    assert said(saga, records) == {"a": "UNKNOWN", "b": "PENDING"}
    with pytest.raises(Unreachable):
        list(desk.cancel(saga, records, ["a", "b"]))
    assert saga.cancelled == ["[x]-[1]", "[x]-[2]"]
    saga.states["[x]-[2]"] = "error"
    with pytest.raises(Unreachable):
        said(saga, records)


def test_each_start_counts_and_leaves_its_end(saga: ToldSaga, records: Records, tmp_path: Path) -> None:
    code = 'echo "$HPCHARVEST_SAGA_ID $HPCHARVEST_SAGA_RESTART $HPCHARVEST_SAGA_NODES"; echo err >&2; exit 3'
    folder = tmp_path / "it's a folder"
    folder.mkdir()
    desk.submit(saga, records, wish(folder, code), NOW)
    (record,) = records
    hosts = tmp_path / "hosts"
    hosts.write_text("n2\nn1\nn2\n")
    assert start(record, PBS_NODEFILE=str(hosts)) == 3
    assert (folder / "stdout").read_text() == "tag 0 n1,n2\n"
    assert (folder / "stderr").read_text() == "err\n"
    saga.states["[x]-[1]"] = "Failed"
    assert said(saga, records) == {"tag": "FAILED"}
    (record.folder / "start.1").write_text(f"{time.time():.0f}\n")
    saga.states["[x]-[1]"] = "Running"
    assert said(saga, records) == {"tag": "RUNNING"}, "the batch system started it again"
    assert start(record, LSB_HOSTS="b a b") == 3
    assert (folder / "stdout").read_text() == "tag 2 a,b\n"


def test_a_script_is_warned_and_ended_with_its_walltime(saga: ToldSaga, records: Records, tmp_path: Path) -> None:
    code = "trap 'echo warned' USR1; trap 'echo over; exit 5' TERM; for i in $(seq 100); do sleep 0.1; done"
    desk.submit(saga, records, wish(tmp_path, code, walltime_s=3, warning_s=2), NOW)
    (record,) = records
    assert start(record) == 124
    assert (tmp_path / "stdout").read_text() == "warned\nover\n"
    saga.states["[x]-[1]"] = "Failed"
    assert said(saga, records) == {"tag": "TIMED_OUT"}


def test_a_script_that_ends_in_time_after_its_warning_ended_well(
    saga: ToldSaga, records: Records, tmp_path: Path
) -> None:
    code = "trap 'exit 0' USR1; for i in $(seq 100); do sleep 0.1; done"
    desk.submit(saga, records, wish(tmp_path, code, walltime_s=30, warning_s=29), NOW)
    (record,) = records
    assert start(record) == 0
    assert said(saga, records) == {"tag": "COMPLETED"}


def test_attributes_are_text_or_json() -> None:
    given = ["JobContact = me", 'CandidateHosts=["a", "b"]', "TotalGPUCount=4", "Queue="]
    assert attributes(given) == {
        "JobContact": "me",
        "CandidateHosts": ["a", "b"],
        "TotalGPUCount": 4,
        "Queue": "",
    }
    with pytest.raises(ValueError, match="NAME=VALUE"):
        attributes(["--exclusive"])


@pytest.mark.parametrize(
    "recording", ["sbatch_ctld_down", "sbatch_munge_down"], ids=lambda name: str(name).replace("_", " ")
)
def test_an_outage_in_sagas_words_is_no_refusal(recording: str) -> None:
    assert OUTAGE.search(recorded("slurm", recording).err)
    assert not OUTAGE.search(recorded("slurm", "sbatch_bad_partition").err)


def test_records_are_read_as_they_were_written(records: Records, tmp_path: Path) -> None:
    record = records.begin(wish(tmp_path))
    assert json.loads((record.folder / "job.json").read_text())["tag"] == "tag"
    assert (record.saga_id, record.over, record.revoked) == ("", None, False)
    record.saga_id = "[slurm://localhost/]-[12]"
    assert Record(record.folder).saga_id == "[slurm://localhost/]-[12]"
