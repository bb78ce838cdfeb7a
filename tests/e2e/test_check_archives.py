"""The program that checks archives at their destination: it finds whatever is not as it must be."""

from __future__ import annotations

import importlib
import io
import json
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from hpcharvest.jumbo.node.archive import Archive, archive_name
from hpcharvest.jumbo.node.members import Entry

pytestmark = pytest.mark.needs("pythia")

DATA = Path(__file__).parents[2] / "hpcharvest" / "cli" / "demo_data"
IDS = {"7-1-1-1-3": (1, 2), "7-1-1-2-3": (3, 4)}
Member = tuple[str, bytes]


def adler32(content: bytes) -> str:
    return f"{zlib.adler32(content):08x}"


def line(identifier: str, content: bytes, **changes: Any) -> dict[str, Any]:
    name = f"in.{identifier}"
    return {"eventRangeID": identifier, "name": name, "size": len(content), "adler32": adler32(content), **changes}


def write(path: Path, members: Iterable[Member]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            told = tarfile.TarInfo(name)
            told.size = len(content)
            archive.addfile(told, io.BytesIO(content))
    return path


def manifest(*lines: Mapping[str, Any]) -> Member:
    return "manifest.json", json.dumps({"ranges": lines}).encode()


@pytest.fixture(scope="module")
def checker() -> ModuleType:
    return importlib.import_module("hpcharvest.cli.demo_data.check_archives")


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The outputs of two ranges, by their identifiers."""
    payload = importlib.import_module("hpcharvest.cli.demo_data.collide_range")
    place = tmp_path_factory.mktemp("outputs")
    for seed, (identifier, (start, last)) in enumerate(IDS.items(), start=1):
        card, output = DATA / "drell_yan_mumu.cmnd", place / identifier
        payload.collide({"PFN": card, "startEvent": start, "lastEvent": last, "seed": seed, "output": output})
    return {identifier: (place / identifier).read_bytes() for identifier in IDS}


@pytest.fixture
def slices(checker: ModuleType) -> Any:
    return {identifier: checker.Slice(*events) for identifier, events in IDS.items()}


@pytest.fixture
def members(outputs: dict[str, bytes]) -> list[Member]:
    return [(f"in.{name}", content) for name, content in outputs.items()]


@pytest.fixture
def lines(outputs: dict[str, bytes]) -> list[dict[str, Any]]:
    return [line(name, content) for name, content in outputs.items()]


def test_a_good_archive_is_told_in_full(
    checker: ModuleType, slices: Any, members: list[Member], lines: list[dict[str, Any]], tmp_path: Path
) -> None:
    path = write(tmp_path / "a.tar", [*members, manifest(*lines)])
    seen = checker.check_archive(path, slices)
    assert seen.problems == ()
    assert (seen.size, seen.adler32) == (path.stat().st_size, adler32(path.read_bytes()))
    assert (dict(seen.ranges), seen.events) == (dict.fromkeys(IDS, 1), 4)


def cases(members: list[Member], lines: list[dict[str, Any]]) -> dict[str, tuple[list[Member], str]]:
    first, second = lines
    cut = members[0][1][: len(members[0][1]) // 2]
    stranger = {**first, "eventRangeID": "9-9-9-9-9"}
    swapped = [{**first, "eventRangeID": second["eventRangeID"]}, {**second, "eventRangeID": first["eventRangeID"]}]
    return {
        "no manifest": (members, "it has no manifest.json"),
        "senseless manifest": ([*members, ("manifest.json", b"{}")], "its manifest.json cannot be read"),
        "a member too many": ([*members, ("x", b"1"), manifest(*lines)], "x is in it 1 times more"),
        "a member twice": ([*members, members[0], manifest(*lines)], f"{first['name']} is in it 1 times more"),
        "a member too few": ([*members[1:], manifest(*lines)], f"{first['name']} is in its manifest 1 times more"),
        "another checksum": (
            [*members, manifest({**first, "adler32": "00000001"}, second)],
            f"{first['name']} is not what its manifest says",
        ),
        "another size": (
            [*members, manifest({**first, "size": 1}, second)],
            f"{first['name']} is not what its manifest says",
        ),
        "cut short, and so told": (
            [(members[0][0], cut), members[1], manifest(line(first["eventRangeID"], cut), second)],
            f"{first['name']}: cut short",
        ),
        "an unknown range": ([*members, manifest(stranger, second)], "of the range 9-9-9-9-9, which nobody knows"),
        "the wrong events": ([*members, manifest(*swapped)], "event 1 stands where 3 belongs"),
    }


CASES = list(cases([("a", b"12"), ("b", b"34")], [line("a", b"12"), line("b", b"34")]))


@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_with_an_archive_is_found(
    checker: ModuleType,
    slices: Any,
    members: list[Member],
    lines: list[dict[str, Any]],
    tmp_path: Path,
    case: str,
) -> None:
    content, problem = cases(members, lines)[case]
    problems = checker.check_archive(write(tmp_path / "a.tar", content), slices).problems
    assert any(problem in one for one in problems), problems


def test_fewer_events_than_the_range_has_are_found(
    checker: ModuleType, members: list[Member], lines: list[dict[str, Any]], tmp_path: Path
) -> None:
    slices = {name: checker.Slice(start, last + 1) for name, (start, last) in IDS.items()}
    problems = checker.check_archive(write(tmp_path / "a.tar", [*members, manifest(*lines)]), slices).problems
    assert [one.partition(" has ")[2] for one in problems] == ["2 events, its range has 3"] * 2


def test_a_torn_archive_is_found(
    checker: ModuleType, slices: Any, members: list[Member], lines: list[dict[str, Any]], tmp_path: Path
) -> None:
    path = write(tmp_path / "a.tar", [manifest(*lines), *members])
    path.write_bytes(path.read_bytes()[:-20_000])
    assert "no whole archive" in checker.check_archive(path, slices).problems[0]
    path.write_bytes(b"")
    assert "no whole archive" in checker.check_archive(path, slices).problems[0]


def test_an_archive_as_a_node_writes_it_is_good(
    checker: ModuleType, slices: Any, outputs: dict[str, bytes], tmp_path: Path
) -> None:
    archive = Archive(tmp_path, archive_name("first", "1"))
    entries = []
    for index, (identifier, content) in enumerate(outputs.items()):
        (tmp_path / identifier).write_bytes(content)
        member = archive.append(str(tmp_path / identifier), f"in.{identifier}.hepmc3")
        entries.append(Entry(index=index, id=identifier, cpu_s=1.0, wall_s=2.0, member=member))
    size, told = archive.finish(7, entries, shorter=False)
    archive.publish()
    seen = checker.check_archive(tmp_path / archive.name, slices)
    assert seen.problems == ()
    assert (seen.size, seen.adler32, seen.events) == (size, told, 4)
    assert archive.name.endswith(".tar")  # by which the demonstration finds archives of which nobody was told


def account(folder: Path, adler: str) -> Path:
    ranges = [{"start": start, "last": last, "finished": [{"name": name}]} for name, (start, last) in IDS.items()]
    path = folder / "a.tar"
    told = {"ranges": ranges, "zips": [{"lfn": path.name, "size": path.stat().st_size, "adler32": adler}]}
    file = folder / "events.json"
    file.write_text(json.dumps(told))
    return file


@pytest.mark.parametrize(
    ("right", "status", "said"), [(True, 0, "1 archives, 2 ranges, 4"), (False, 1, "a.tar is not")]
)
def test_as_a_program_it_compares_with_what_the_server_was_told(
    members: list[Member], lines: list[dict[str, Any]], tmp_path: Path, right: bool, status: int, said: str
) -> None:
    path = write(tmp_path / "a.tar", [*members, manifest(*lines)])
    events = account(tmp_path, adler32(path.read_bytes()) if right else "0badc0de")
    command = [sys.executable, str(DATA / "check_archives.py"), "--events", str(events), "--folder", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (status, "")
    assert said in done.stdout
