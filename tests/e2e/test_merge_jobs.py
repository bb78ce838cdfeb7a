"""The merge job that follows an event-service job: harvested like any other, from the archives of its ranges."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hpcharvest.model.request import Verb
from hpcharvest.model.states import JobState
from hpcharvest.sandbox.world import SCOPE, Recipe, World
from tests import worlds
from tests.worlds import Controller

RANGES = 30
DO_RANGE = """\
#!/bin/sh
# Does one event range: its events' numbers, and where they are from, are its output.
[ ! -e "$TALLY.bad.$1.$2" ] || exit 3
echo "$1 $2 $3" >"$4"
"""
MERGE = """\
#!/usr/bin/env python3
# Opens the archives that lie in its folder, and puts the members of a list together: MERGE @LIST OUTPUT.
import os, pathlib, sys, tarfile, time

while os.path.exists(os.environ["TALLY"] + ".hold"):
    time.sleep(0.1)
bad = pathlib.Path(f"{os.environ['TALLY']}.once.{sys.argv[2]}")
if bad.exists():  # it fails as often as there are lines
    lines = bad.read_text().splitlines()
    bad.write_text("".join(f"{line}\\n" for line in lines[1:]))
    if lines:
        sys.exit(4)

found = {}
for path in sorted(pathlib.Path().glob("EventService_premerge_*")):
    with tarfile.open(path) as archive:
        for member in archive:
            assert member.name not in found, f"{member.name} is in two archives"
            found[member.name] = archive.extractfile(member).read().decode()
names = pathlib.Path(sys.argv[1].removeprefix("@")).read_text().splitlines()
pathlib.Path(sys.argv[2]).write_text("".join(found[name] for name in names))
"""
PATIENCE = {
    "batch_poll_s": 0.5,
    "batch_grace_s": 0.5,
    "heartbeat_s": 0.5,
    "heartbeat_stale_s": 5.0,
    "retry_first_s": 0.3,
    "retry_max_s": 2.0,
}
SECTION = {
    "arguments": ["{LFN}", "{startEvent}", "{lastEvent}", "{output}"],
    "objstore_id": 1,
    "expected_range_s": 1.0,
    "archive_age_s": 1.0,
    "walltime_s": 120,
}


@pytest.fixture
def inside(tmp_path: Path) -> Iterator[World]:
    recipe = Recipe(nodes=2, patience=PATIENCE, payload={"event_ranges": SECTION})
    with worlds.world(tmp_path, recipe, {"do_range": DO_RANGE, "merge": MERGE}) as made:
        yield made


def parameters(out: str) -> str:
    step = f"@inputFor_{out} {out}"
    return f"<PANDA_ESMERGE_TRF>merge</PANDA_ESMERGE_TRF><PANDA_ESMERGE_JOBP>{step}</PANDA_ESMERGE_JOBP>"


@pytest.mark.parametrize("scope", [SCOPE, "made"], ids=["one scope", "another scope for outputs"])
def test_what_ranges_left_is_merged_by_the_job_that_follows(inside: World, scope: str) -> None:
    out, files = "HITS.1.root", [inside.put_input(f"in.{n}", b"x\n") for n in range(3)]
    job = worlds.job(transformation="do_range", inputs=files, outputs=[out], scopeOut=scope)
    job["jobPars"] = parameters(out)
    with Controller(inside):
        inside.submit_events(job, RANGES)
        worlds.eventually(lambda: len(worlds.states(inside)) == 2, lambda: worlds.log_of(inside))
        over = worlds.until_all_over(inside)
    merge = max(over)
    assert over == {job["PandaID"]: "finished", merge: "finished"}, worlds.log_of(inside)
    merged = (inside.outputs / scope / out).read_text().splitlines()
    wanted = [f"{lfn} {event} {event}" for lfn, *_ in files for event in range(1, RANGES // 3 + 1)]
    assert sorted(merged) == sorted(wanted)
    assert inside.books()["double_reports"] == 0


OUT = "HITS.1.root"
Job = dict[str, Any]


@contextlib.contextmanager
def on_site(folder: Path, **section: object) -> Iterator[tuple[World, Job]]:
    """Make a world that merges on site, and a job of 3 inputs with 10 events each, to be merged by 5."""
    recipe = Recipe(nodes=2, patience=PATIENCE, payload={"event_ranges": {**SECTION, "merge": True, **section}})
    with worlds.world(folder, recipe, {"do_range": DO_RANGE, "merge": MERGE}) as inside:
        files = [inside.put_input(f"in.{n}", b"x\n") for n in range(3)]
        step = {"transPath": "merge", "jobParameters": "@inputFor_${OUTPUT0} ${OUTPUT0}", "nEventsPerOutputFile": 5}
        job = worlds.job("", transformation="do_range", inputs=files, outputs=[OUT], log=None)
        yield inside, {**job, "esmergeSpec": step, "nEventsPerInputFile": 10}


def merged(inside: World) -> dict[int, list[str]]:
    found = (inside.outputs / SCOPE).glob(f"{OUT}._*")
    return {int(one.name[-6:]): one.read_text().splitlines() for one in found}


def wanted(*missing: tuple[int, int]) -> dict[int, list[str]]:
    """Give what is in each of the six outputs, without the events `missing` of the inputs of those numbers."""
    return {
        2 * n + half + 1: [
            f"in.{n} {event} {event}" for event in range(5 * half + 1, 5 * half + 6) if (n, event) not in missing
        ]
        for n in range(3)
        for half in range(2)
    }


def assert_reported(inside: World, job: Job, outputs: Iterable[int]) -> None:
    told = json.loads(worlds.server_job(inside, job["PandaID"])["output_report"])
    assert set(told) == {f"{OUT}._{number:06d}" for number in outputs}
    assert inside.books()["double_reports"] == 0
    assert {one["panda_id"] for one in inside.jobs()} == {job["PandaID"]}  # PanDA knows of no other job


def test_what_ranges_left_is_merged_on_site(tmp_path: Path) -> None:
    with on_site(tmp_path) as (inside, job):
        with Controller(inside):
            inside.submit_events(job, RANGES)
            assert worlds.until_all_over(inside) == {job["PandaID"]: "finished"}, worlds.log_of(inside)
        assert merged(inside) == wanted()
        assert_reported(inside, job, range(1, 7))


@pytest.mark.parametrize("partial", [False, True], ids=["left out", "made of what there is"])
def test_an_output_with_a_range_that_failed_is_alone_in_that(tmp_path: Path, *, partial: bool) -> None:
    with on_site(tmp_path, merge_partial=partial) as (inside, job):
        (tmp_path / "tally.bad.in.1.7").touch()
        with Controller(inside):
            inside.submit_events(job, RANGES)
            assert worlds.until_all_over(inside) == {job["PandaID"]: "finished"}, worlds.log_of(inside)
        whole = wanted((1, 7))
        if not partial:
            del whole[4]
            assert f"{OUT}._000004 is not made: 1 of its events are not there" in worlds.log_of(inside, 400)
        assert merged(inside) == whole
        assert_reported(inside, job, whole)


@pytest.mark.parametrize(("times", "made"), [(1, True), (9, False)], ids=["once", "always"])
def test_a_merge_that_fails_is_tried_again_and_given_up_alone(tmp_path: Path, times: int, *, made: bool) -> None:
    with on_site(tmp_path) as (inside, job):
        (tmp_path / f"tally.once.{OUT}._000002").write_text("again\n" * times)
        with Controller(inside):
            inside.submit_events(job, RANGES)
            assert worlds.until_all_over(inside) == {job["PandaID"]: "finished"}, worlds.log_of(inside)
        expected = {number: lines for number, lines in wanted().items() if made or number != 2}
        assert merged(inside) == expected
        assert_reported(inside, job, expected)


def test_with_a_job_that_is_killed_its_merges_stop(tmp_path: Path) -> None:
    with on_site(tmp_path) as (inside, job), Controller(inside):
        (tmp_path / "tally.hold").touch()
        inside.submit_events(job, RANGES)
        worlds.eventually(lambda: "is merged by our own job" in worlds.log_of(inside), lambda: worlds.log_of(inside))
        with worlds.database(inside) as opened:

            def runs() -> list[JobState]:
                return [one.state for one in opened.jobs.page(after=2**62 - 1)]

            worlds.eventually(lambda: JobState.RUNNING in runs(), lambda: worlds.log_of(inside))
            opened.inbox.add(Verb.KILL_JOB, job["PandaID"], "somebody", 1.0)
            assert worlds.until_all_over(inside) == {job["PandaID"]: "failed"}, worlds.log_of(inside)
            worlds.eventually(lambda: set(runs()) == {JobState.CANCELLED}, lambda: worlds.log_of(inside))
            worlds.eventually(lambda: not opened.allocations.live(), "its allocations end", 60)
        assert merged(inside) == {}


def test_a_controller_that_is_killed_merges_nothing_twice(tmp_path: Path) -> None:
    with on_site(tmp_path) as (inside, job):
        inside.submit_events(job, RANGES)
        kills = 0
        while not worlds.all_over(inside) and kills < 30:
            with Controller(inside, "--wait", "--die-at", str(2 + 3 * kills % 17)) as controller:
                while controller.process.poll() is None and not worlds.all_over(inside):
                    time.sleep(0.1)
            kills += 1
        assert kills >= 3
        assert worlds.states(inside) == {job["PandaID"]: "finished"}, worlds.log_of(inside)
        assert merged(inside) == wanted()
        assert_reported(inside, job, range(1, 7))
        with worlds.database(inside) as opened:
            assert len(opened.jobs.page(after=2**62 - 1)) == 6
