"""Payloads that speak panda-harvester's files, from PanDA's books to PanDA's books."""

from __future__ import annotations

import json
import stat
import sys
import tarfile
from pathlib import Path
from typing import Any

from hpcharvest.model.ids import JobId
from hpcharvest.sandbox.world import BRISK, Recipe, World
from tests import worlds
from tests.worlds import Controller

YODA = (Path(__file__).parent.parent / "services" / "yoda.py").read_text()
HUSHED = "hush, hush"
PILOT = '''\
"""Does a whole job as a pilot in PUSH mode does. Its words: what is to happen."""

import json, os, shutil, sys
from pathlib import Path

home = Path(os.environ["HARVESTER_WORKDIR"])
assert home == Path.cwd() and os.environ["HARVESTER_ID"] and os.environ["HARVESTER_WORKER_ID"]
assert os.environ["PILOT_NOKILL"] == "1" and not (home / "HPCJobs.json").stat().st_mode & 0o077
((number, job),) = json.loads((home / "HPCJobs.json").read_text()).items()
assert json.loads((home / "worker_pandaids.json").read_text()) == [int(number)]
shutil.move(home / "HPCJobs.json", home / "job_definition.json")
work = home / f"PanDA_Pilot-{number}"
work.mkdir()
outputs = [name for name in job["outFiles"].split(",") if name != job["logFile"]]
told = {"jobStatus": "finished", "pilotErrorCode": 0, "nEvents": 1}
for name in outputs if "lazy" not in sys.argv else ():
    shutil.copy(job["inFilePaths"].split(",")[0], work / name)
if "log" in sys.argv:
    (work / job["logFile"]).write_text("the pilot's own log")
if "dump" in sys.argv:
    names = [*((name, "output") for name in outputs), (job["logFile"], "log")]
    rows = [{"path": str(work / name), "type": kind, "fsize": (work / name).stat().st_size} for name, kind in names]
    (home / "event_status.dump.json").write_text(json.dumps({number: rows}))
if "fail" in sys.argv:
    told |= {"jobStatus": "failed", "pilotErrorCode": 1344, "pilotErrorDiag": "the queue data are stale"}
if "silent" not in sys.argv:
    (home / "worker_attributes.json").write_text(json.dumps(told))
(work / "kill_worker").touch()
'''


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


def test_a_pilot_in_push_mode_does_whole_jobs_and_its_word_is_held_against_the_facts(tmp_path: Path) -> None:
    recipe = world_of({"harvester_files": True})
    wanted = {
        "dump log": ("finished", 0, ""),
        "no-dump": ("finished", 0, ""),
        "fail": ("failed", 1344, "the queue data are stale"),
        "silent": ("failed", 1305, "did not say what became of its job"),
        "lazy": ("failed", 1305, "did not leave"),
    }
    with worlds.world(tmp_path, recipe, {"pilot.py": PILOT}) as inside:
        jobs = {}
        for words in wanted:
            file = inside.put_input(f"in.{worlds.next_number()}", words.encode())
            jobs[words] = worlds.job(words, transformation="pilot.py", inputs=[file])
        with Controller(inside):
            worlds.submit(inside, jobs.values())
            worlds.until_all_over(inside)
        for words, (state, code, diagnosis) in wanted.items():
            told = worlds.server_job(inside, jobs[words]["PandaID"])
            assert (words, told["state"]) == (words, state), told
            with worlds.database(inside) as opened:
                kept = opened.jobs.get(JobId(jobs[words]["PandaID"]))
            assert kept is not None
            assert (words, kept.error_code) == (words, code), kept.error
            assert diagnosis in kept.error
        for words in ("dump log", "no-dump"):
            assert stored(inside, jobs[words]["outFiles"].split(",")[0]).read_bytes() == words.encode()
        assert stored(inside, jobs["dump log"]["logFile"]).read_bytes() == b"the pilot's own log"
        with tarfile.open(stored(inside, jobs["no-dump"]["logFile"])) as log:
            assert "job_definition.json" in log.getnames()


def stored(inside: World, name: str) -> Path:
    """Find an output at its destination."""
    (path,) = inside.outputs.rglob(name)
    return path
