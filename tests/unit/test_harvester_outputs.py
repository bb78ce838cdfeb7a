"""Outputs that a payload says are there: what is looked at, what is believed, and that the loop goes on meanwhile."""

from __future__ import annotations

import io
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest

from hpcharvest.jumbo.access import outputs
from hpcharvest.jumbo.access.ledger import Claim
from hpcharvest.jumbo.access.outputs import Inspector
from hpcharvest.jumbo.slots.slot import Done, Failed, Outcome
from tests.services.range_slots import leased


def claim(path: str, *indices: int, size: int | None = None, checksum: str = "", packed: bool = False) -> Claim:
    return Claim(
        ranges=tuple(map(leased, indices or (0,))),
        path=path,
        size=size,
        checksum=checksum,
        packed=packed,
        cpu_s=1.0,
        wall_s=2.0,
    )


def looked_at(folder: Path, one: Claim, spare: str = "") -> list[Outcome]:
    inspector = Inspector([str(folder), spare], spare)
    inspector.add([one])
    told: list[Outcome] = []
    while inspector.busy:
        told += inspector.step()
    return told


def errors(told: list[Outcome]) -> dict[int, str]:
    return {one.leased.index: one.error for one in told if isinstance(one, Failed) and not one.ours}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "access"
    made.mkdir()
    (made / "out").write_bytes(b"abc")
    (tmp_path / "secret").write_bytes(b"abc")
    (made / "link").symlink_to(tmp_path / "secret")
    (made / "away").symlink_to(tmp_path)
    return made


@pytest.mark.parametrize("path", ["out", "./out", "../access/out", "{folder}/out"])
def test_an_output_is_found_by_its_name_or_its_path(folder: Path, path: str) -> None:
    (told,) = looked_at(folder, claim(path.format(folder=folder), size=3, checksum="024d0127"))
    assert isinstance(told, Done)
    assert Path(told.output).samefile(folder / "out")
    assert (told.cpu_s, told.wall_s) == (1.0, 2.0)


@pytest.mark.parametrize("path", ["link", "../secret", "away/secret", "/etc/passwd", ".", ""])
def test_nothing_is_taken_from_elsewhere_and_no_input_is(folder: Path, path: str) -> None:
    assert errors(looked_at(folder, claim(path))) == {0: outputs.OUTSIDE}
    assert (folder.parent / "secret").exists()


@pytest.mark.parametrize(
    ("path", "size", "checksum", "error"),
    [
        ("none", None, "", outputs.MISSING),
        ("x" * 300, None, "", outputs.MISSING),
        ("\ud800", None, "", outputs.MISSING),
        ("out/deeper", None, "", outputs.MISSING),
        ("out", 4, "", outputs.OTHER_SIZE),
        ("out", 3, "024d0128", outputs.OTHER_CHECKSUM),
        ("out", 3, "md:900150983cd24fb0d6963f7d28e17f73", outputs.OTHER_CHECKSUM),
        ("out", 3, "?", outputs.OTHER_CHECKSUM),
    ],
)
def test_what_is_not_as_it_was_said_failed(
    folder: Path, path: str, size: int | None, checksum: str, error: str
) -> None:
    assert errors(looked_at(folder, claim(path, size=size, checksum=checksum))) == {0: error}


@pytest.mark.parametrize("checksum", ["24d0127", "0x024d0127", "AD:024D0127", "md:900150983cd24fb0d6963f7d28e17f72"])
def test_checksums_are_understood_as_they_are_written(folder: Path, checksum: str) -> None:
    (told,) = looked_at(folder, claim("out", checksum=checksum))
    assert isinstance(told, Done)


def test_a_large_file_is_read_in_pieces_and_others_wait(folder: Path) -> None:
    content = bytes(outputs.PIECE * outputs.STEPS * 2)
    (folder / "large").write_bytes(content)
    inspector = Inspector([str(folder)])
    inspector.add([claim("large", checksum=f"{zlib.adler32(content):08x}"), claim("out", 1)])
    assert [inspector.step(), inspector.step()] == [[], []]
    assert len(inspector.claims) == 2
    assert [type(one) for one in inspector.step()] == [Done, Done]


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
@pytest.mark.parametrize("spare", ["", "spare"])
def test_an_archive_is_unpacked_range_by_range_and_is_gone_then(folder: Path, kind: str, spare: str) -> None:
    members = {f"deep/in.root.{leased(0).range.id}": b"zero", leased(1).range.id: b"one", "other": b"!", "../x.9": b"!"}
    pack(folder / "a", kind, members)
    spare = spare and str(folder.parent / spare)
    told = looked_at(folder, claim("a", 0, 1, 2, packed=True), spare)
    done = {one.leased.index: Path(one.output) for one in told if isinstance(one, Done)}
    assert {index: path.read_bytes() for index, path in done.items()} == {0: b"zero", 1: b"one"}
    assert {path.parent for path in done.values()} == {Path(spare or f"{folder}/a.unpacked")}
    assert errors(told) == {2: outputs.NOT_PACKED}
    assert not (folder / "a").exists()


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_an_archive_that_is_cut_is_none_and_is_kept(folder: Path, kind: str) -> None:
    name = f"x.{leased(0).range.id}"
    pack(folder / "a", kind, {name: bytes(range(256)) * 400})
    text = (folder / "a").read_bytes()
    for length in (0, 1, len(text) // 2):
        (folder / "a").write_bytes(text[:length])
        assert set(errors(looked_at(folder, claim("a", 0, 1, packed=True)))) == {0, 1}
        assert (folder / "a").exists()


def pack(path: Path, kind: str, members: dict[str, bytes]) -> None:
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        return
    with tarfile.open(path, "w:gz" if kind == "tar.gz" else "w:") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
