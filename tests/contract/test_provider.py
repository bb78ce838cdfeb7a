"""What every provider must do, on a real batch system of its kind."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from hpcharvest.errors import BatchUnreachable, SubmissionRefused
from hpcharvest.model.shape import Shape
from hpcharvest.model.states import BatchState
from hpcharvest.providers.batch import BatchSystem
from hpcharvest.providers.dialect import BatchRequest, BatchStatus
from hpcharvest.providers.local import LocalDialect
from hpcharvest.providers.script import render
from hpcharvest.sandbox.batch.cluster import Cluster
from hpcharvest.sandbox.batch.settings import Settings
from tests import worlds

_numbers = itertools.count(1)


@dataclass(frozen=True, kw_only=True)
class Place:
    """A batch system of two nodes, how to speak to it, and how to take its daemon away and bring it back."""

    system: BatchSystem
    folder: Path
    cluster: Cluster
    away: Callable[[], None]
    back: Callable[[], None]

    def request(self, code: str, *, nodes: int = 1, walltime_s: int = 60) -> BatchRequest:
        """Make a request whose runner is a line of shell, run as the real one is."""
        number = next(_numbers)
        folder = self.folder / f"allocation {number}"
        folder.mkdir()
        shape = Shape(nodes=nodes, walltime_s=walltime_s)
        request = BatchRequest(tag=f"tag-{number}", shape=shape, folder=folder)
        request.script.write_text(render(self.system.dialect, request, ["sh", "-c", code]))
        return request

    def status(self, batch_id: str) -> BatchStatus | None:
        """Give what the batch system says of one job."""
        return self.system.status().get(batch_id)

    def until(self, batch_id: str, *states: BatchState) -> BatchStatus:
        """Wait until the batch job is in one of these states."""
        worlds.eventually(
            lambda: (found := self.status(batch_id)) and found.state in states, lambda: f"{self.system.status()}"
        )
        found = self.status(batch_id)
        assert found is not None
        return found


@pytest.fixture(scope="module", params=["local"])
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("provider")
    with Cluster(folder / "spool", Settings(nodes=2, cores_per_node=2, kill_grace_s=0.3)) as cluster:
        yield Place(
            system=BatchSystem(LocalDialect(cluster.command), timeout_s=60, per_minute=6000),
            folder=folder,
            cluster=cluster,
            away=cluster.kill_daemon,
            back=cluster.start,
        )


def test_a_batch_job_gets_its_nodes_its_id_and_its_deadline(place: Place) -> None:
    told = 'echo "$HPCHARVEST_NODES|$HPCHARVEST_BATCH_ID|$HPCHARVEST_RESTART|$HPCHARVEST_DEADLINE|$(date +%s)" >told'
    request = place.request("", nodes=2)
    request.script.write_text(render(place.system.dialect, request, ["sh", "-c", f'cd "{request.folder}" && {told}']))
    batch_id = place.system.submit(request)
    place.until(batch_id, BatchState.COMPLETED)
    nodes, found, restart, deadline, now = (request.folder / "told").read_text().strip().split("|")
    assert len(nodes.split(",")) == 2
    assert (found, restart) == (batch_id, "0")
    assert 0 < int(deadline) - int(now) <= request.shape.walltime_s + 1


def test_the_words_of_the_runner_are_kept(place: Place) -> None:
    request = place.request("echo out; echo err >&2")
    place.until(place.system.submit(request), BatchState.COMPLETED)
    assert (request.folder / "stdout").read_text() == "out\n"
    assert (request.folder / "stderr").read_text() == "err\n"


def test_a_batch_job_is_found_by_its_tag(place: Place) -> None:
    request = place.request("true")
    assert place.system.find(request.tag) == ""
    batch_id = place.system.submit(request)
    assert place.system.find(request.tag) == batch_id
    place.until(batch_id, BatchState.COMPLETED)
    assert place.system.find(request.tag) == batch_id  # also when it has ended


@pytest.mark.parametrize(
    ("code", "walltime_s", "state"),
    [("exit 0", 60, BatchState.COMPLETED), ("exit 3", 60, BatchState.FAILED), ("sleep 60", 1, BatchState.TIMED_OUT)],
)
def test_every_end_has_its_own_name(place: Place, code: str, walltime_s: int, state: BatchState) -> None:
    ended = place.until(place.system.submit(place.request(code, walltime_s=walltime_s)), state)
    assert ended.state.ended
    assert ended.words


def test_a_batch_job_is_cancelled_and_may_be_cancelled_again(place: Place) -> None:
    batch_id = place.system.submit(place.request("sleep 60"))
    place.until(batch_id, BatchState.RUNNING)
    place.system.cancel([batch_id])
    place.until(batch_id, BatchState.CANCELLED)
    place.system.cancel([batch_id])
    assert place.until(batch_id, BatchState.CANCELLED)


def test_what_waits_says_so_and_may_be_cancelled(place: Place) -> None:
    first = place.system.submit(place.request("sleep 60", nodes=2))
    place.until(first, BatchState.RUNNING)
    second = place.system.submit(place.request("true"))
    assert place.until(second, BatchState.PENDING)
    place.system.cancel([second, first])
    place.until(second, BatchState.CANCELLED)
    place.until(first, BatchState.CANCELLED)


def test_a_shape_that_cannot_be_is_refused_in_the_systems_words(place: Place) -> None:
    request = place.request("true")
    with pytest.raises(SubmissionRefused, match="99"):
        place.system.submit(replace(request, shape=Shape(nodes=99, walltime_s=60)))
    assert place.system.find(request.tag) == ""


def test_a_daemon_that_is_away_says_nothing_about_any_job(place: Place) -> None:
    running = place.system.submit(place.request("sleep 60"))
    place.until(running, BatchState.RUNNING)
    request = place.request("true")
    place.away()
    for question in (place.system.status, lambda: place.system.submit(request), lambda: place.system.find("x")):
        with pytest.raises(BatchUnreachable):
            question()
    place.back()
    assert place.system.find(request.tag) == ""
    assert place.until(running, BatchState.RUNNING)
    place.system.cancel([running])
    place.until(running, BatchState.CANCELLED)


def test_nobody_is_told_of_a_job_that_never_was(place: Place) -> None:
    assert place.status("999999") is None
