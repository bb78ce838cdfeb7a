"""Payloads that speak panda-harvester's files, in a node's process as a program, at the pace that it really has."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from hpcharvest.messenger.ranges import EventTask, PayloadKind
from tests.e2e.test_range_node import lay_out, members_of, node
from tests.services.range_head import SmallHead
from tests.services.range_slots import event_task, leased

YODA = Path(__file__).parent.parent / "services" / "yoda.py"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / f"files{os.getpid()}"  # its name tells the node's processes from those of other tests
    made.mkdir()
    return made


def task_of(folder: Path, **habits: Any) -> EventTask:
    return event_task(folder / "job", sys.executable, str(YODA), json.dumps(habits), kind=PayloadKind.FILES)


@pytest.mark.parametrize("packed", [False, True])
def test_all_ranges_are_done_archived_and_told_once(folder: Path, packed: bool) -> None:
    lay_out(folder, task_of(folder, batch=20, zip=packed))
    head = SmallHead(folder, 40, void=frozenset({3, 4}))
    with node(folder) as process:
        head.serve(lambda: len(head.done) == 40)
        head.leave("all is done", 60.0)
        head.serve(lambda: head.byes)
        assert process.wait(30) == 0
    head.link.close()
    assert head.counted == [one for one in range(40) if one not in {3, 4}]
    contents = {name: text.decode() for name, text in members_of(folder, head).items() if name != "manifest.json"}
    assert contents == {f"in.root.{leased(index).range.id}": leased(index).range.id for index in head.counted}


def test_a_node_that_leaves_gives_back_what_its_payload_did_not_tell(folder: Path) -> None:
    lay_out(folder, task_of(folder, batch=5, hang=[1]))
    head = SmallHead(folder, 10, slots=1)
    with node(folder) as process:
        head.serve(lambda: (folder / "job").glob("access.*/diary") and _given(folder) == 5)
        head.leave("the end is near", 5.0)
        head.serve(lambda: head.byes)
        assert process.wait(30) == 0
    head.link.close()
    assert set(head.back) >= {0, 1, 2, 3, 4}
    assert (head.done, head.failed, head.counted) == ({}, {}, [])
    assert list((folder / "job").glob("access.*/killed.*")), "the payload did say that they are finished"


def _given(folder: Path) -> int:
    return sum(path.read_text().count("given ") for path in (folder / "job").glob("access.*/diary"))
