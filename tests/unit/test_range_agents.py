"""The processes that do event ranges: who is started, and under which number."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hpcharvest.jumbo import agents
from hpcharvest.jumbo.agents import PATIENCE_S, Agents
from hpcharvest.jumbo.surroundings import Surroundings
from hpcharvest.messenger.protocol import Manifest
from hpcharvest.messenger.ranges import NODES
from hpcharvest.model.ids import AllocationId

THERE = {"v1"}
"""The nodes of which the head has heard."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / NODES).mkdir()
    program = ["sh", "-c", 'touch "$1/started-$2-$3"', "sh"]
    monkeypatch.setattr(agents, "_program", lambda: program)
    return tmp_path


@pytest.fixture
def taken_over(folder: Path) -> Iterator[Callable[[], Agents]]:
    made: list[Agents] = []

    def make() -> Agents:
        where = Surroundings(nodes=("v1", "v2"), virtual=True)
        manifest = Manifest(allocation=AllocationId(1), tag="agents-of-a-test", cores_per_node=1, tasks=())
        made.append(
            Agents(folder, manifest, where, {}, wanted=lambda _: True, there=THERE.__contains__, nodes=where.nodes)
        )
        made[-1].begin(0.0, takes_over=True)
        return made[-1]

    yield make
    for one in made:
        for process in one._running.values():
            process.process.wait()


def started(one: Agents, folder: Path) -> list[str]:
    for process in one._running.values():
        assert process.process.wait() == 0
    return sorted(path.name.removeprefix("started-") for path in folder.glob("started-*"))


def test_a_node_that_came_by_itself_is_not_started_again(taken_over: Callable[[], Agents], folder: Path) -> None:
    one = taken_over()
    one.tick(PATIENCE_S)
    assert [name.rpartition("-")[0] for name in started(one, folder)] == ["v2"]


def test_a_process_that_may_still_be_on_its_way_to_its_node_keeps_its_number(
    taken_over: Callable[[], Agents], folder: Path
) -> None:
    one = taken_over()
    one.tick(PATIENCE_S)
    assert started(one, folder) == ["v2-1"], "the last head may have started v2-0, which has no spool yet"


def test_a_process_that_was_there_and_is_lost_is_started_again(taken_over: Callable[[], Agents], folder: Path) -> None:
    (folder / NODES / "v1.0.jsonl").touch()
    one = taken_over()
    one.tick(PATIENCE_S)
    one.lost(["v1"], PATIENCE_S)
    one.tick(one.next_event())
    assert started(one, folder) == ["v1-2", "v2-1"]
