"""Payloads that speak panda-harvester's files, from PanDA's books to PanDA's books."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path
from typing import Any

from hpcharvest.model.ids import JobId
from hpcharvest.sandbox.world import BRISK, Recipe, World
from tests import worlds
from tests.worlds import Controller

YODA = (Path(__file__).parent.parent / "services" / "yoda.py").read_text()
HUSHED = "hush, hush"


def world_of(payload: dict[str, Any]) -> Recipe:
    return Recipe(nodes=1, patience=BRISK, payload={"interpreter": [sys.executable], **payload})


def event_job(inside: World, ranges: int, **habits: Any) -> dict[str, Any]:
    """Give an event-service job, that is done by `tests/services/yoda.py`, to the server."""
    inputs = [inside.put_input(f"in.{worlds.next_number()}", b"events\n") for _ in range(2)]
    words = json.dumps(habits).replace("{", "{{").replace("}", "}}")
    more = {"secrets": HUSHED, "nucleus": "NDGF"}
    job = worlds.job(f"'{words}'", transformation="yoda.py", inputs=inputs, outputs=["HITS"]) | more
    inside.submit_events(job, ranges)
    return job


def test_a_payload_of_event_ranges_finds_the_servers_own_words_without_secrets(tmp_path: Path) -> None:
    recipe = world_of({"event_ranges": {"kind": "files", "expected_range_s": 1.0, "walltime_s": 600}})
    with worlds.world(tmp_path, recipe, {"yoda.py": YODA}) as inside:
        with Controller(inside):
            job = event_job(inside, 20, batch=10)
            assert worlds.until_all_over(inside) == {job["PandaID"]: "finished"}
        told = inside.books()["events"]
        assert (told["finished_reports"], told["finished_again"]) == (20, 0)
        (point, *_) = (inside.work / "sandbox" / "jobs").glob(f"{job['PandaID']}.a*/access.*")
        found = point / "HPCJobs.json"
        said = json.loads(found.read_text())[str(job["PandaID"])]
        assert said["nucleus"] == "NDGF"
        assert said["jobPars"] == job["jobPars"]
        assert said["inFilePaths"].count(",") == 1
        assert "secrets" not in said
        assert stat.S_IMODE(found.stat().st_mode) == 0o600
        manifests = list((inside.work / "sandbox" / "allocations").glob("*/manifest.json"))
        assert manifests
        assert not [one for one in manifests if HUSHED in one.read_text() or one.stat().st_mode & 0o077]
        with worlds.database(inside) as opened:
            kept = opened.jobs.get(JobId(job["PandaID"]))
        assert kept is not None
        assert json.loads(kept.spec.text).items() >= {"nucleus": "NDGF"}.items()
        assert HUSHED not in kept.spec.text
