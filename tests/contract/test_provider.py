"""What every provider must do, on a batch system of its kind (`tests/services/places.py` has the table)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from hpcharvest.errors import BatchUnreachable, SubmissionRefused
from hpcharvest.model.shape import Shape
from hpcharvest.model.states import BatchState
from hpcharvest.providers.script import render
from tests.services.places import PARAMS, PLACES, Place


@pytest.fixture(scope="module", params=PARAMS)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with PLACES[request.param](tmp_path_factory.mktemp(request.param)) as made:
        yield made


def test_a_batch_job_gets_its_nodes_its_id_and_its_deadline(place: Place) -> None:
    told = 'echo "$HPCHARVEST_NODES|$HPCHARVEST_BATCH_ID|$HPCHARVEST_RESTART|$HPCHARVEST_DEADLINE|$(date +%s)" >told'
    request = place.request("", nodes=2)
    request.script.write_text(render(place.system.dialect, request, ["sh", "-c", f'cd "{request.folder}" && {told}']))
    batch_id = place.submit(request)
    place.until(batch_id, BatchState.COMPLETED)
    nodes, found, restart, deadline, now = (request.folder / "told").read_text().strip().split("|")
    assert len(set(nodes.split(","))) == 2
    assert (found, restart) == (batch_id, "0")
    assert 0 < int(deadline) - int(now) <= request.shape.walltime_s + 1


def test_the_words_of_the_runner_are_kept(place: Place) -> None:
    request = place.request("echo out; echo err >&2")
    place.until(place.submit(request), BatchState.COMPLETED)
    assert (request.folder / "stdout").read_text() == "out\n"
    assert (request.folder / "stderr").read_text() == "err\n"


def test_a_live_batch_job_is_found_by_its_tag_and_one_that_never_was_is_not(place: Place) -> None:
    request = place.request("sleep 60")
    assert place.system.find(request.tag) == ""
    batch_id = place.submit(request)
    assert place.system.find(request.tag) == batch_id
    place.until(batch_id, BatchState.RUNNING)
    assert place.system.find(request.tag) == batch_id
    place.end(batch_id)


@pytest.mark.parametrize(("code", "state"), [("exit 0", BatchState.COMPLETED), ("exit 3", BatchState.FAILED)])
def test_every_end_has_its_own_name(place: Place, code: str, state: BatchState) -> None:
    ended = place.until(place.run(code), state)
    assert ended.state.ended
    assert ended.words


def test_a_walltime_that_is_over_is_told_as_such(place: Place) -> None:
    batch_id = place.run("sleep 600", walltime_s=place.shortest_walltime_s)
    place.until(batch_id, BatchState.RUNNING, BatchState.TIMED_OUT)
    place.hasten(batch_id)
    assert place.until(batch_id, BatchState.TIMED_OUT).words


def test_a_batch_job_is_cancelled_and_may_be_cancelled_again(place: Place) -> None:
    batch_id = place.run("sleep 60")
    place.until(batch_id, BatchState.RUNNING)
    place.end(batch_id)
    place.end(batch_id)


def test_what_waits_says_so_and_may_be_cancelled(place: Place) -> None:
    first = place.run("sleep 60", nodes=2)
    place.until(first, BatchState.RUNNING)
    second = place.run("true")
    assert place.until(second, BatchState.PENDING)
    place.end(second, first)


def test_a_shape_that_cannot_be_is_refused_or_waits_in_the_systems_words(place: Place) -> None:
    request = replace(place.request("true"), shape=Shape(nodes=99, walltime_s=60))
    request.script.write_text(render(place.system.dialect, request, ["true"]))
    if place.too_large:
        with pytest.raises(SubmissionRefused, match=place.too_large):
            place.submit(request)
        assert place.system.find(request.tag) == ""
    else:
        batch_id = place.submit(request)
        assert "never" in place.until(batch_id, BatchState.PENDING).words.lower()
        place.end(batch_id)


def test_a_daemon_that_is_away_says_nothing_about_any_job(place: Place) -> None:
    running = place.run("sleep 60")
    place.until(running, BatchState.RUNNING)
    request = place.request("true")
    place.away()
    for question in (place.system.status, lambda: place.submit(request), lambda: place.system.find("x")):
        with pytest.raises(BatchUnreachable):
            question()
    place.back()
    assert place.system.find(request.tag) == ""
    assert place.until(running, BatchState.RUNNING)
    place.end(running)


def test_who_is_preempted_is_told_as_such(place: Place) -> None:
    victim = place.run("sleep 60")
    place.until(victim, BatchState.RUNNING)
    place.preempt(victim)
    assert place.until(victim, place.preempted).state.ended


def test_a_lost_node_is_told_as_such(place: Place) -> None:
    batch_id = place.run("sleep 60", nodes=2)
    place.until(batch_id, BatchState.RUNNING)
    place.lose_node(batch_id)
    assert place.until(batch_id, place.lost_node).words
    place.recover()


def test_nobody_is_told_of_a_job_that_never_was(place: Place) -> None:
    assert place.status("999999") is None


def test_all_are_told_by_one_question_whatever_the_others_do(place: Place) -> None:
    ids = [place.run(code) for code in ("true", "exit 7")]
    for batch_id, state in zip(ids, (BatchState.COMPLETED, BatchState.FAILED), strict=True):
        place.until(batch_id, state)
    alive = place.run("sleep 60")
    place.until(alive, BatchState.RUNNING)
    said = place.system.status({one: place.folders[one] for one in [*ids, alive]})
    assert [said[one].state for one in [*ids, alive]] == [
        BatchState.COMPLETED,
        BatchState.FAILED,
        BatchState.RUNNING,
    ]
    place.end(alive)
