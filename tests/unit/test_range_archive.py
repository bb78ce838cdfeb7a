"""An archive that is named while the file server does not answer: what its node said of it stays true, or is not needed."""

from pathlib import Path

import pytest

from hpcharvest.errors import StorageUnavailable
from hpcharvest.jumbo.node import archive as module
from hpcharvest.jumbo.node import members
from hpcharvest.jumbo.node.archive import Archive
from hpcharvest.jumbo.node.shelf import Shelf
from hpcharvest.jumbo.node.spool import Spool, spool_path
from hpcharvest.jumbo.node.storing import Storing
from hpcharvest.jumbo.salvage import salvage
from hpcharvest.jumbo.slots.slot import Done
from hpcharvest.messenger.ranges import ARCHIVES, NODES, ArchiveClosed
from tests.services.range_slots import JOB, event_task, leased


def test_an_archive_is_finished_once_however_often_its_naming_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = Archive(tmp_path, "a.tar")
    (tmp_path / "out").write_bytes(b"x" * 1000)
    member = archive.append(str(tmp_path / "out"), "out")
    entry = members.Entry(index=0, id="i", cpu_s=0.0, wall_s=0.0, member=member)

    def stale(_folder: Path) -> None:
        raise OSError(116, "Stale file handle")

    told = archive.finish(7, [entry], shorter=False)
    with monkeypatch.context() as patch, pytest.raises(StorageUnavailable):
        patch.setattr(module, "sync_folder", stale)
        archive.publish()
    assert archive.finish(7, [entry], shorter=False) == told
    assert (tmp_path / "a.tar").stat().st_size == told[0], "the node may die between the two"
    archive.publish()


def test_of_an_archive_that_is_not_what_its_node_said_all_that_is_whole_is_saved(tmp_path: Path) -> None:
    for name in (ARCHIVES, NODES):
        (tmp_path / name).mkdir()
    shelf = Shelf(event_task(tmp_path), lambda name: Archive(tmp_path / ARCHIVES, name), lambda: "1")
    storing = Storing(Spool(spool_path(tmp_path, "n1", 0)), {JOB: shelf})
    outputs = [tmp_path / f"{index}" for index in range(2)]
    for path in outputs:
        path.write_bytes(b"x" * 1000)
    made = [Done(leased=leased(index), output=str(path), cpu_s=1.0, wall_s=1.0) for index, path in enumerate(outputs)]
    storing.store([(JOB, one) for one in made], [], 0.0)
    storing.note(shelf.settle([0, 1], []))
    shelf.seal()
    volume = shelf.closable()
    assert volume is not None
    shut = storing.close(JOB, volume)
    assert shut is not None
    with (tmp_path / ARCHIVES / shut.name).open("ab") as file:
        file.write(b"more")
    (saved,) = salvage(tmp_path, "n1", ())
    assert isinstance(saved, ArchiveClosed)
    assert saved.name != shut.name
    assert [one.id for one in saved.ranges] == [one.leased.range.id for one in made]
