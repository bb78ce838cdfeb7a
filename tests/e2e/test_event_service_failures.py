"""Event-service jobs against a server of known habits, with the real runner: rows of docs/failures.md."""

from __future__ import annotations

from pathlib import Path

from hpcharvest.sandbox.world import Recipe, World
from tests import worlds
from tests.worlds import Controller, eventually

RANGES = {"objstore_id": 1, "walltime_s": 600, "arguments": ["{eventRangeID}", "{output}"]}
NOTE = '#!/bin/sh\necho "$1" >"$2"\n'
"""A payload: writes the name of its range to its output."""


def order(world: World, ranges: int) -> int:
    """Give a jumbo job to the server, and its number."""
    job = worlds.job("", inputs=[world.put_input("in", b"events\n")], outputs=["out"], transformation="note")
    world.submit_events(job, ranges)
    number: int = job["PandaID"]
    return number


def said(world: World, number: int) -> list[str]:
    """Give what the server took of the job, in order."""
    return [one["status"] for one in worlds.server_job(world, number)["updates"] if one["accepted"]]


def test_ranges_that_the_server_passed_over_are_told_again_and_no_others(tmp_path: Path) -> None:
    options = ("--healthy-event-updates", "--max-event-updates", "7")
    recipe = Recipe(server_options=options, payload={"event_ranges": RANGES})
    with worlds.world(tmp_path, recipe, {"note": NOTE}) as world, Controller(world):
        number = order(world, 30)
        assert worlds.until_all_over(world) == {number: "finished"}, worlds.log_of(world)
        books = world.books()
        ranges = world.events()["ranges"]
    assert books["requests"]["event/update_event_ranges"] >= 5  # of seven ranges each
    assert [one["state"] for one in ranges] == ["done"] * 30
    assert [[report["counted"] for report in one["finished"]] for one in ranges] == [[True]] * 30


def test_a_job_is_kept_alive_at_the_server_while_none_of_its_allocations_runs(tmp_path: Path) -> None:
    recipe = Recipe(nodes=1, panda={"heartbeat_interval_s": 0.5}, payload={"event_ranges": RANGES})
    with worlds.world(tmp_path, recipe, {"note": NOTE}) as world:
        world.cluster.node_down("vn001")  # so that no allocation can begin
        number = order(world, 4)
        with Controller(world):
            eventually(lambda: len(said(world, number)) >= 4, lambda: f"four words of it; {worlds.log_of(world)}")
        assert set(said(world, number)) <= {"starting", "running"}
        assert all(one["state"] != "RUNNING" for one in world.cluster.status())
