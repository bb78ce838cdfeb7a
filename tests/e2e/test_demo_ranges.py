"""The demonstration's jumbo job without an engine: the test harvests it by hand, and the audit is to be content."""

from __future__ import annotations

import importlib
import io
import json
import tarfile
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hpcharvest.cli.demo import mishap
from hpcharvest.cli.demo.mishap import AWAY_S, NodeLoss
from hpcharvest.cli.demo.orders import event_ranges, recipe, starts, submit_jumbo
from hpcharvest.cli.demo.range_audit import EventOrder, audit_ranges
from hpcharvest.cli.demo.range_evidence import gather_ranges
from hpcharvest.messenger.mailbox import Mailbox
from hpcharvest.messenger.protocol import Manifest, Task
from hpcharvest.messenger.ranges import ARCHIVES, NODES, PART, EventTask, PayloadKind
from hpcharvest.model.allocation import Allocation
from hpcharvest.model.ids import AllocationId, Attempt, JobId
from hpcharvest.model.shape import Shape
from hpcharvest.model.states import AllocationState
from hpcharvest.sandbox.world import QUEUE, SCOPE, Recipe, World

Row = dict[str, Any]
SLEEP = "#!/bin/sh\nexec sleep 100\n"


class ByHand:
    """A harvester of the simplest kind: what the engine and the runner do for event ranges, one after the other."""

    def __init__(self, world: World, order: EventOrder) -> None:
        self._world = world
        self._order = order
        self._collide = importlib.import_module("hpcharvest.cli.demo_data.collide_range").collide

    def call(self, method: str, **given: Any) -> Any:
        request = urllib.request.Request(  # noqa: S310 - our own loopback server
            f"{self._world.url}/api/v1/{method}",
            data=json.dumps(given).encode(),
            headers={"Content-Type": "application/json", "Accept": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - the same
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            error.close()
            if error.code != 500:  # which comes after the commit
                raise
            return None

    def acquire(self) -> list[Row]:
        (job,) = self.call("pilot/acquire_jobs", site_name=QUEUE)["jobs"]
        assert (job["eventService"], job["logFile"]) == ("True", self._order.log)
        asked = {"job_id": job["PandaID"], "jobset_id": job["jobsetID"], "task_id": job["taskID"]}
        self.call("pilot/update_job", job_id=job["PandaID"], job_status="running")  # else it is given out again soon
        ranges: list[Row] = self.call("event/acquire_event_ranges", **asked, n_ranges=1000)
        return ranges

    def do(self, one: Row, seed: int) -> tuple[str, bytes]:
        """Do a range; give its output's name and content."""
        name = f"{one['LFN']}.{one['eventRangeID']}.hepmc3"
        place = self._world.folder / name
        card = self._world.inputs / SCOPE / one["LFN"]
        self._collide({**one, "PFN": card, "seed": seed, "output": place})
        with (starts(self._world.folder) / str(self._order.job)).open("a") as note:
            note.write(f"{name}\n")
        return name, place.read_bytes()

    def store(self, archive: str, ranges: Sequence[Row]) -> None:
        """Do ranges, leave their archive at its destination, and report them."""
        made = [self.do(one, seed) for seed, one in enumerate(ranges, start=1)]
        lines = [
            {
                "eventRangeID": one["eventRangeID"],
                "name": name,
                "size": len(content),
                "adler32": f"{zlib.adler32(content):08x}",
            }
            for one, (name, content) in zip(ranges, made, strict=True)
        ]
        place = self._world.outputs / SCOPE / archive
        place.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(place, "w") as file:
            for name, content in (*made, ("manifest.json", json.dumps({"ranges": lines}).encode())):
                told = tarfile.TarInfo(name)
                told.size = len(content)
                file.addfile(told, io.BytesIO(content))
        self.report(archive, ranges)

    def report(self, archive: str, ranges: Sequence[Row]) -> None:
        content = (self._world.outputs / SCOPE / archive).read_bytes()
        told = {"lfn": archive, "objstoreID": 1, "fsize": len(content), "adler32": f"{zlib.adler32(content):08x}"}
        done = [{"eventRangeID": one["eventRangeID"], "eventStatus": "finished"} for one in ranges]
        chunk = json.dumps([{"zipFile": told, "eventRanges": done}])
        self.call("event/update_event_ranges", event_ranges=chunk, version=1)

    def finish(self) -> None:
        self.call("pilot/update_job", job_id=self._order.job, job_status="finished")
        while self._world.jobs()[0]["state"] == "holding":
            time.sleep(0.05)


@pytest.mark.needs("pythia")
def test_a_jumbo_job_that_was_harvested_well_is_found_so_and_a_report_too_many_is_seen(tmp_path: Path) -> None:
    with World(tmp_path, recipe(tmp_path)) as world:
        starts(world.folder).mkdir()
        order = submit_jumbo(world, 60)
        hand = ByHand(world, order)
        ranges = hand.acquire()
        assert len(ranges) == order.ranges
        hand.store("first.tar", ranges[:40])
        hand.store("second.tar", ranges[40:])
        hand.finish()
        numbers = [AllocationId(1), AllocationId(2), AllocationId(3)]
        for number in numbers[:2]:
            spool(world, number)
        found = gather_ranges(world, order, numbers, None)
        hand.report("second.tar", ranges[-1:])
        again = gather_ranges(world, order, numbers, None)
    assert audit_ranges(found) == ()
    assert (found.allocations, sum(found.begun.values()), found.again, found.events) == (2, 60, 0, 300)
    name = ranges[-1]["eventRangeID"]
    assert [one.what for one in audit_ranges(again)] == [f"the range {name} was reported finished 2 times"]


def spool(world: World, number: AllocationId) -> Path:
    """Leave what a node of an allocation leaves that did event ranges; give the allocation's folder."""
    folder = mishap.folders(world).allocation(number)
    for place in (NODES, ARCHIVES):
        (folder / place).mkdir(parents=True, exist_ok=True)
    (folder / NODES / "vn001.0.jsonl").write_text("{}\n")
    return folder


def event_task(folder: Path) -> EventTask:
    return EventTask(job=JobId(1), attempt=Attempt(1), kind=PayloadKind.COMMAND, argv=("true",), folder=str(folder))


def test_a_node_is_lost_once_when_its_allocation_is_in_the_middle_of_ranges_and_comes_back(tmp_path: Path) -> None:
    with World(tmp_path, Recipe(nodes=2)) as world:
        script = tmp_path / "script"
        script.write_text(SLEEP)
        batch = world.cluster.submit(script, nodes=1, walltime=100)
        node = world.cluster.wait(batch, states=["RUNNING"])["nodes"][0]
        number = AllocationId(3)
        one = Allocation(
            id=number,
            queue=QUEUE,
            shape=Shape(nodes=1, walltime_s=100),
            tag="t",
            state=AllocationState.RUNNING,
            nodes=(node,),
        )
        loss = NodeLoss(world)
        assert loss.look([one], 0.0) == ""
        folder = mishap.folders(world).allocation(number)
        task = event_task(folder)
        Mailbox(folder).write_manifest(
            Manifest(allocation=number, tag="t", cores_per_node=2, tasks=(), event_tasks=(task,))
        )
        spool(world, number)
        assert loss.look([one], 1.0) == ""
        (folder / ARCHIVES / f"a.tar{PART}").write_bytes(b"1")
        assert f"the node {node} was lost, and with it allocation 3" in loss.look([one], 2.0)
        assert world.cluster.wait(batch)["state"] == "NODE_FAIL"
        assert loss.killed == (number,)
        assert loss.look([one], 2.0 + AWAY_S / 2) == ""
        assert loss.look([one], 2.0 + AWAY_S) == f"the node {node} is back"
        assert loss.look([one], 3.0 + AWAY_S) == ""
        again = world.cluster.submit(script, nodes=2, walltime=100)
        assert len(world.cluster.wait(again, states=["RUNNING"])["nodes"]) == 2


def test_a_node_that_was_lost_comes_back_at_the_end(tmp_path: Path) -> None:
    with World(tmp_path, Recipe(nodes=1)) as world:
        loss = NodeLoss(world)
        world.cluster.node_down("vn001")
        loss._lost = "vn001"
        loss.close()
        script = tmp_path / "script"
        script.write_text(SLEEP)
        assert world.cluster.wait(world.cluster.submit(script, nodes=1, walltime=100), states=["RUNNING"])


def test_notes_of_ranges_go_where_they_are_counted(tmp_path: Path) -> None:
    section = event_ranges(str(starts(tmp_path)))
    words = [word.replace("{PandaID}", "7") for word in section["arguments"]]
    assert words[-2:] == ["--start-log", str(starts(tmp_path) / "7")]


def test_an_allocation_with_a_whole_job_that_has_not_ended_is_spared(tmp_path: Path) -> None:
    whole = Task(job=JobId(2), attempt=Attempt(1), argv=("true",), folder=str(tmp_path))
    manifest = Manifest(
        allocation=AllocationId(1), tag="t", cores_per_node=2, tasks=(whole,), event_tasks=(event_task(tmp_path),)
    )
    Mailbox(tmp_path).write_manifest(manifest)
    (tmp_path / NODES / "vn001.0.jsonl").write_text("{}\n")
    (tmp_path / ARCHIVES / f"a.tar{PART}").write_bytes(b"1")
    assert not mishap.in_the_middle(tmp_path)
    Mailbox(tmp_path).write_manifest(replace(manifest, tasks=()))
    assert mishap.in_the_middle(tmp_path)
