import os
from pathlib import Path

import pytest

from hpcharvest.errors import MessageNotUnderstood, StorageUnavailable, TornMessage
from hpcharvest.messenger.journal import DAMAGED, Journal
from hpcharvest.messenger.mailbox import Mailbox, probe
from hpcharvest.messenger.protocol import Closed, Manifest, RunnerLeft, RunnerStarted, Writer, segment_name
from hpcharvest.model.ids import AllocationId, Attempt, JobId

STARTED = RunnerStarted(at=1.0, batch_id="1", nodes=("n",), restart=0)
LEFT = RunnerLeft(at=2.0, reason="")
MANIFEST = Manifest(allocation=AllocationId(1), tag="t", cores_per_node=1, tasks=())


def test_a_number_is_won_once(tmp_path: Path) -> None:
    assert Journal(tmp_path).publish(0, [STARTED], Writer.RUNNER)
    assert not Journal(tmp_path).publish(0, [STARTED], Writer.RUNNER)


def test_publishing_the_same_again_is_no_defeat(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    assert journal.publish(0, [STARTED], Writer.RUNNER)
    assert journal.publish(0, [STARTED], Writer.RUNNER)
    assert not journal.publish(0, [LEFT], Writer.RUNNER)


def test_nothing_but_the_segments_stays_behind(tmp_path: Path) -> None:
    Journal(tmp_path).publish(0, [STARTED], Writer.RUNNER)
    Journal(tmp_path).publish(0, [LEFT], Writer.RUNNER)
    assert [path.name for path in tmp_path.iterdir()] == ["00000000.json"]


def test_what_is_not_there_yet_is_none(tmp_path: Path) -> None:
    assert Journal(tmp_path).read(0) is None


def test_a_torn_segment_is_reported_and_never_deleted(tmp_path: Path) -> None:
    (tmp_path / "00000000.json").write_text('{"number": 0, "writ')
    with pytest.raises(TornMessage, match=r"00000000\.json"):
        Journal(tmp_path).read(0)
    assert (tmp_path / "00000000.json").exists()


def test_revoking_wins_the_start(tmp_path: Path) -> None:
    segments = Journal(tmp_path).close(0, by="watchdog", at=3.0)
    assert [segment.records for segment in segments] == [(Closed(at=3.0, by="watchdog"),)]
    assert segments[0].writer is Writer.CONTROLLER
    assert not Journal(tmp_path).publish(0, [STARTED], Writer.RUNNER)


def test_closing_gives_what_was_said_before_and_may_be_repeated(tmp_path: Path) -> None:
    Journal(tmp_path).publish(0, [STARTED], Writer.RUNNER)
    first = Journal(tmp_path).close(0, by="watchdog", at=3.0)
    assert [segment.number for segment in first] == [0, 1]
    assert Journal(tmp_path).close(0, by="again", at=4.0) == first
    assert Journal(tmp_path).close(1, by="again", at=4.0) == first[1:]
    assert Journal(tmp_path).close(2, by="again", at=4.0) == ()
    assert len(list(tmp_path.iterdir())) == 2


def test_a_goodbye_is_a_close(tmp_path: Path) -> None:
    Journal(tmp_path).publish(0, [STARTED, LEFT], Writer.RUNNER)
    assert Journal(tmp_path).close(0, by="watchdog", at=3.0)[-1].writer is Writer.RUNNER


def test_a_journal_without_a_folder_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailable, match="publish"):
        Journal(tmp_path / "gone").publish(0, [STARTED], Writer.RUNNER)


def test_the_manifest_may_be_written_again(tmp_path: Path) -> None:
    mailbox = Mailbox(tmp_path / "deep" / "folder")
    mailbox.write_manifest(MANIFEST)
    mailbox.write_manifest(MANIFEST)
    assert mailbox.read_manifest() == MANIFEST
    assert sorted(path.name for path in mailbox.folder.iterdir()) == ["journal", "kill", "manifest.json"]


def test_kill_notes_and_heartbeat(tmp_path: Path) -> None:
    mailbox = Mailbox(tmp_path)
    mailbox.write_manifest(MANIFEST)
    assert mailbox.heartbeat_mtime() is None
    assert mailbox.kill_notes() == frozenset()
    mailbox.beat()
    os.utime(tmp_path / "heartbeat", (5.0, 5.0))
    assert mailbox.heartbeat_mtime() == 5.0
    mailbox.leave_kill_note(JobId(7), Attempt(1))
    mailbox.leave_kill_all()
    assert mailbox.kill_notes() == {"7.1", "all"}


def test_a_good_file_system_passes_the_probe_and_stays_clean(tmp_path: Path) -> None:
    probe(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_probe_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailable, match="make a folder"):
        probe(tmp_path / "gone")


def test_a_damaged_segment_neither_hides_what_came_before_nor_keeps_the_end_from_being_won(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    assert journal.publish(0, [STARTED], Writer.RUNNER)
    (tmp_path / segment_name(1)).write_text('{"number": 1, "writer": "runner", "restart": 0, "records": 5}')
    assert [one.number for one in journal.read_from(0)] == [0]
    with pytest.raises(MessageNotUnderstood):
        journal.read_from(1)
    found = journal.close(0, by="a test", at=2.0)
    assert [one.number for one in found] == [0, 1, 2]
    assert found[1].unknown == (DAMAGED,)
    assert found[2].closes
