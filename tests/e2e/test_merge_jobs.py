"""The merge job that follows an event-service job: harvested like any other, from the archives of its ranges."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hpcharvest.sandbox.world import SCOPE, Recipe, World
from tests import worlds
from tests.worlds import Controller

RANGES = 30
DO_RANGE = """\
#!/bin/sh
# Does one event range: its events' numbers, and where they are from, are its output.
echo "$1 $2 $3" >"$4"
"""
MERGE = """\
#!/usr/bin/env python3
# Opens the archives that lie in its folder, and puts the members of a list together: MERGE @LIST OUTPUT.
import pathlib, sys, tarfile

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


def on_site(folder: Path, **section: object) -> Iterator[World]:
    recipe = Recipe(nodes=2, patience=PATIENCE, payload={"event_ranges": {**SECTION, "merge": True, **section}})
    with worlds.world(folder, recipe, {"do_range": DO_RANGE, "merge": MERGE}) as made:
        yield made


def order(inside: World, out: str) -> dict[str, Any]:
    files = [inside.put_input(f"in.{n}", b"x\n") for n in range(3)]
    step = {"transPath": "merge", "jobParameters": "@inputFor_${OUTPUT0} ${OUTPUT0}", "nEventsPerOutputFile": 5}
    job = worlds.job("", transformation="do_range", inputs=files, outputs=[out], log=None)
    return {**job, "esmergeSpec": step, "nEventsPerInputFile": 10}


def merged(inside: World, out: str) -> dict[int, list[str]]:
    found = (inside.outputs / SCOPE).glob(f"{out}._*")
    return {int(one.name[-6:]): one.read_text().splitlines() for one in found}


def test_what_ranges_left_is_merged_on_site(tmp_path: Path) -> None:
    out = "HITS.1.root"
    with contextlib.contextmanager(on_site)(tmp_path) as inside:
        job = order(inside, out)
        with Controller(inside):
            inside.submit_events(job, RANGES)
            over = worlds.until_all_over(inside)
        assert over == {job["PandaID"]: "finished"}, worlds.log_of(inside)
        assert merged(inside, out) == {
            2 * n + half + 1: [f"in.{n} {event} {event}" for event in range(5 * half + 1, 5 * half + 6)]
            for n in range(3)
            for half in range(2)
        }
        told = json.loads(worlds.server_job(inside, job["PandaID"])["output_report"])
        assert set(told) == {f"{out}._{n:06d}" for n in range(1, 7)}
        assert inside.books()["double_reports"] == 0
