"""An archive that is missing is lost, unless everything else is missing too."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcharvest.apps.archive import ArchiveTicket, archived, store_archive
from hpcharvest.apps.folders import Folders
from hpcharvest.apps.ticket import Storage, Ticket
from hpcharvest.apps.transfer.mover import Moved
from hpcharvest.errors import OutputMissing, StorageUnavailable
from hpcharvest.model.event_range import Bundle
from hpcharvest.model.ids import BundleId
from tests.services.range_desk import HERE, NUMBER, SPEC

WHOLE = Moved(size=5, adler32="062c0215")


@pytest.fixture
def archive(tmp_path: Path) -> ArchiveTicket:
    folders = Folders(tmp_path / "work")
    source = folders.allocation(HERE) / "archives" / "a.tar"
    source.parent.mkdir(parents=True)
    source.write_text("hello")
    storage = Storage(inputs="", outputs=f"file://{tmp_path}/out", endpoints={})
    bundle = Bundle(id=BundleId(1), job=NUMBER, allocation=HERE, archive="a.tar", size=5, adler32="062c0215")
    return ArchiveTicket(ticket=Ticket(spec=SPEC, folders=folders, storage=storage), bundle=bundle, source=source)


def test_an_archive_goes_to_its_destination(archive: ArchiveTicket) -> None:
    assert archived(archive, None) == WHOLE
    assert Path(store_archive(archive, WHOLE).removeprefix("file://")).read_text() == "hello"


def test_one_that_is_gone_is_lost(archive: ArchiveTicket) -> None:
    archive.source.unlink()
    with pytest.raises(OutputMissing):
        archived(archive, None)
    with pytest.raises(OutputMissing):
        store_archive(archive, WHOLE)


def test_one_on_a_file_system_that_is_not_there_is_waited_for(archive: ArchiveTicket) -> None:
    root = archive.ticket.folders.root
    root.rename(root.with_name("elsewhere"))
    with pytest.raises(StorageUnavailable):
        archived(archive, None)
    with pytest.raises(StorageUnavailable):
        store_archive(archive, WHOLE)
    root.with_name("elsewhere").rename(root)
    assert archived(archive, None) == WHOLE
