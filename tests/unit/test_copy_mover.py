from __future__ import annotations

import zlib
from pathlib import Path

import pytest

from hpcharvest.apps.transfer.copy import CopyMover, path_of
from hpcharvest.apps.transfer.registry import mover
from hpcharvest.errors import ChecksumMismatch, SourceMissing, StorageUnavailable, TransferError

CONTENT = b"content" * 1000
ADLER32 = f"{zlib.adler32(CONTENT):08x}"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "a source"
    path.write_bytes(CONTENT)
    return path


def test_a_fetched_file_is_whole_and_told_as_it_arrived(source: Path, tmp_path: Path) -> None:
    destination = tmp_path / "new" / "folder" / "file"
    moved = CopyMover().fetch(source.as_uri(), destination, size=len(CONTENT), adler32=ADLER32)
    assert (moved.size, moved.adler32) == (len(CONTENT), ADLER32)
    assert destination.read_bytes() == CONTENT
    assert [one.name for one in destination.parent.iterdir()] == ["file"]


def test_an_empty_file_has_a_checksum_too(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    assert CopyMover().store(empty, (tmp_path / "there").as_uri()).adler32 == "00000001"


def test_a_checksum_may_be_written_without_its_zeros_and_in_capitals(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"\xaa")
    assert CopyMover().fetch(file.as_uri(), tmp_path / "to", size=1, adler32="AB00AB").adler32 == "00ab00ab"


@pytest.mark.parametrize("promise", [{"size": 1, "adler32": None}, {"size": None, "adler32": "00000001"}])
def test_what_is_not_as_promised_does_not_stay(source: Path, tmp_path: Path, promise: dict[str, int | str]) -> None:
    destination = tmp_path / "file"
    with pytest.raises(ChecksumMismatch, match="promised") as caught:
        CopyMover().fetch(source.as_uri(), destination, **promise)  # type: ignore[arg-type]  # rows of a table
    assert not destination.exists()
    assert not caught.value.transient


def test_a_missing_source_is_told_and_is_not_transient(tmp_path: Path) -> None:
    with pytest.raises(SourceMissing, match="nowhere") as caught:
        CopyMover().fetch((tmp_path / "nowhere").as_uri(), tmp_path / "file", size=None, adler32=None)
    assert not caught.value.transient


def test_a_storage_that_takes_nothing_is_transient(source: Path) -> None:
    with pytest.raises(StorageUnavailable) as caught:
        CopyMover().store(source, Path("/proc/nothing/file").as_uri())
    assert caught.value.transient


def test_storing_twice_is_storing_once(source: Path, tmp_path: Path) -> None:
    url = (tmp_path / "there").as_uri()
    assert CopyMover().store(source, url) == CopyMover().store(source, url)


def test_what_is_there_with_another_content_is_never_replaced(source: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.write_bytes(b"somebody else's")
    with pytest.raises(ChecksumMismatch, match="exists already"):
        CopyMover().store(source, there.as_uri())
    assert there.read_bytes() == b"somebody else's"


def test_nothing_is_written_through_a_link_that_lies_in_the_way(source: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    (tmp_path / ".file.partial").symlink_to(victim)
    with pytest.raises(TransferError):
        CopyMover().fetch(source.as_uri(), tmp_path / "file", size=None, adler32=None)
    assert victim.read_bytes() == b"mine"


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(TransferError):
        CopyMover().fetch(tmp_path.as_uri(), tmp_path / "file", size=None, adler32=None)


@pytest.mark.parametrize("url", ["http://here/file", "file://elsewhere/file", "/just/a/path"])
def test_other_urls_are_not_ours(url: str) -> None:
    with pytest.raises(TransferError, match="not a file on this machine"):
        path_of(url)


def test_a_scheme_that_nobody_serves_is_told_with_those_that_are() -> None:
    with pytest.raises(TransferError, match=r"carrier-pigeon://; there are: .*file"):
        mover("carrier-pigeon://loft/file")
    assert isinstance(mover("file:///a"), CopyMover)
