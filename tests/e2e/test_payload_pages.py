"""The examples of docs/payloads.md do what the page says, in the slots that the runner has for them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from hpcharvest.config.event_ranges import OUTPUT_PLACEHOLDERS
from hpcharvest.jumbo.slots import registry
from hpcharvest.jumbo.slots.slot import Done, Leased, Outcome, Slot
from hpcharvest.messenger.ranges import PayloadKind
from hpcharvest.model.event_range import EventRange
from tests.services.range_slots import Bench, bench, done, drive, event_task, failed, until_told

PAGE = (Path(__file__).parents[2] / "docs" / "payloads.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROGRAM = re.compile(r"`(\w+\.py)`")
LINES = [f"line {number}\n" for number in range(1, 21)]
PATIENCE_S = 60.0


@dataclass(frozen=True)
class Example:
    """What the page has for a kind of payload: the section of a configuration, and a program."""

    section: dict[str, Any]
    program: str
    name: str


def example(kind: str) -> Example:
    text = PAGE.partition(f"\n## {kind}\n")[2].partition("\n## ")[0]
    blocks = dict(BLOCK.findall(text))
    section = tomllib.loads(blocks["toml"])["queues"]["MY_HPC"]["payload"]["event_ranges"]
    assert section["kind"] == kind
    return Example(section, blocks["python"], PROGRAM.findall(BLOCK.sub("", text))[0])


@dataclass(frozen=True)
class Node:
    """A node with an input, and slots on it."""

    folder: Path
    bench: Bench

    def slot(self, kind: str) -> Slot:
        """Make a slot for the page's example, as its configuration says."""
        shown = example(kind)
        program = self.folder / shown.name
        program.write_text(shown.program)
        argv = [sys.executable, str(program), *shown.section.get("arguments", ())]
        if kind == "callable":
            argv = [shown.section["callable"]]
        task = event_task(self.folder, *argv, kind=PayloadKind(kind), output=shown.section["output"])
        place = replace(self.bench.place, folder=str(self.folder / f"slot{len(self.bench.slots)}"))
        return self.bench.keep(registry.make(replace(task, inputs={"in": str(self.folder / "input")}), place))


def leased(number: int, start: int, last: int) -> Leased:
    return Leased(number, EventRange(id=f"1-7-1-{number}-3", start=start, last=last, lfn="in"))


def serve(slot: Slot, *ranges: Leased) -> list[Outcome]:
    """Let a slot do ranges; give the outcomes by the order of the ranges."""
    return sorted(until_told(slot, *ranges), key=lambda one: one.leased.index)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    (tmp_path / "input").write_text("".join(LINES))
    with bench(tmp_path) as made:
        made.env["PYTHONPATH"] = str(tmp_path)
        yield Node(tmp_path, made)


@pytest.mark.parametrize("kind", ["command", "callable", "service"])
def test_an_example_does_its_ranges_and_leaves_their_outputs(kind: str, node: Node) -> None:
    wanted = [(1, 3), (4, 4), (19, 20)]
    outcomes = serve(node.slot(kind), *(leased(number, *events) for number, events in enumerate(wanted)))
    for outcome, (start, last) in zip(outcomes, wanted, strict=True):
        assert Path(done(outcome).output).read_text() == "".join(LINES[start - 1 : last]).upper()
    assert not node.bench.logs


@pytest.mark.parametrize("kind", ["command", "callable", "service"])
def test_an_example_fails_a_range_that_it_cannot_do_in_words_that_fit_any_node(kind: str, node: Node) -> None:
    good, bad = serve(node.slot(kind), leased(0, 1, 2), leased(1, 20, 21))
    assert isinstance(good, Done)
    assert "the input ends before the range does" in failed(bad)
    assert str(node.folder) not in failed(bad)


def test_two_services_on_one_node_do_not_meet(node: Node) -> None:
    slots = [node.slot("service"), node.slot("service")]
    for slot in slots:
        drive(slot, lambda _, slot=slot: slot.room > 0)  # type: ignore[misc]  # both wait for a range
    told = [serve(slot, leased(number, number + 1, number + 1)) for number, slot in enumerate(slots)]
    assert [Path(done(one).output).read_text() for (one,) in told] == [line.upper() for line in LINES[:2]]


def test_an_output_has_the_name_that_the_configuration_gives_it() -> None:
    assert example("command").section["output"] == "{LFN}.{eventRangeID}.txt"
    assert set(re.findall(r"`\{(\w+)\}`", PAGE)) == set(OUTPUT_PLACEHOLDERS)


@pytest.mark.parametrize("kind", PayloadKind)
def test_every_kind_has_its_section_its_configuration_and_its_example(kind: PayloadKind) -> None:
    shown = example(kind.value)
    assert f"| [`{kind.value}`](#{kind.value}) |" in PAGE
    compile(shown.program, shown.name, "exec")


def test_the_example_of_files_asks_works_and_ends_when_there_is_no_more(node: Node) -> None:
    """The test is the other side, in the words of the page."""
    point = node.folder / "point"
    point.mkdir()
    shown = example("files")
    program = node.folder / shown.name
    program.write_text(shown.program)
    put(point / "HPCJobs.json", {"7": {"taskID": 1, "jobsetID": 2}})
    process = subprocess.Popen([sys.executable, str(program)], cwd=point)
    try:
        asked = [feed(point, one) for one in (ranges_of(node, 1, 2), ranges_of(node, 3))]
        last = feed(point, [], dumps=False)
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait()
    assert [one["nRanges"] for one, _ in (*asked, last)] == [2, 2, 2]
    told = [row for _, rows in asked for row in rows]
    assert [row["eventStatus"] for row in told] == ["finished"] * 3
    assert [Path(row["path"]).read_text() for row in told] == [line.upper() for line in LINES[:3]]


def ranges_of(node: Node, *numbers: int) -> list[dict[str, Any]]:
    path = str(node.folder / "input")
    return [
        {"eventRangeID": f"1-7-1-{one}-3", "startEvent": one, "lastEvent": one, "LFN": "in", "PFN": path}
        for one in numbers
    ]


def put(path: Path, value: object) -> None:
    draft = path.with_name(f".{path.name}")
    draft.write_text(json.dumps(value))
    draft.replace(path)


def feed(point: Path, ranges: list[dict[str, Any]], *, dumps: bool = True) -> tuple[dict[str, Any], Any]:
    """Answer one request with these ranges; give the request, and what was said of the ranges."""
    asked = taken(point / "worker_requestevents.json")
    put(point / "JobsEventRanges.json", {"7": ranges})
    return asked["7"], taken(point / "event_status.dump.json")["7"] if dumps else []


def taken(path: Path) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while not path.exists():
        assert time.monotonic() < deadline, path
        time.sleep(0.01)
    value = json.loads(path.read_text())
    path.unlink()
    return value


@pytest.mark.needs("mpi")
def test_the_example_of_mpi_does_a_range_on_all_its_ranks(node: Node) -> None:
    shown = example("mpi")
    program, output = node.folder / shown.name, node.folder / "out"
    program.write_text(shown.program)
    filled = {"{PFN}": str(node.folder / "input"), "{startEvent}": "2", "{lastEvent}": "6", "{output}": str(output)}
    words = [filled[word] for word in shown.section["arguments"]]
    launcher = [str(Path(sys.executable).with_name("mpiexec")), "-launcher", "fork", "-n", "2"]
    subprocess.run([*launcher, sys.executable, str(program), *words], check=True, timeout=PATIENCE_S)
    assert output.read_text() == "".join(LINES[1:6]).upper()
