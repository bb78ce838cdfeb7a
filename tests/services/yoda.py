"""A payload that takes event ranges by panda-harvester's shared files, written from a description of these alone.

A program of its own: `python yoda.py '{"habit": value, …}'`, started where HARVESTER_WORKDIR leads.
It does a range by writing its id into a file, and keeps a diary of what it was given and what it did. Habits:

    batch        how many ranges it asks for at a time
    clumsy       seconds that it takes to write a file in place, piece by piece; 0: it writes aside and renames
    unread       what it does about a dump that nobody has read: wait, merge (read it, add, rename) or overwrite
    zip          whether the outputs of a batch go into one archive
    jobs         how many jobs it asks for at its start
    again        after how many ranges it forgets everything and starts anew, in the same folder; 0: never
    fail, fatal, lie, spoil, crash, hang    ranges, by their last number, with which it does just that
    checksum     what stands before the checksum: nothing, ad: or md:
    beat         seconds from one heartbeat to the next; 0: there is none
    to           the folder of its outputs; empty: that of the job
    end          "" or kill_worker, kill_worker.json, FINISHED: what it leaves before it ends
    linger       seconds that it stays thereafter
    deaf         whether it does not heed SIGTERM; else it dumps all that it has as finished, and ends
    code         its exit code
"""

import hashlib
import json
import os
import signal
import sys
import time
import zipfile
import zlib
from pathlib import Path
from typing import Any

HABITS: dict[str, Any] = {
    "batch": 5,
    "clumsy": 0.0,
    "unread": "wait",
    "zip": False,
    "jobs": 0,
    "again": 0,
    "checksum": "",
    "beat": 0.0,
    "to": "",
    "end": "",
    "linger": 0.0,
    "deaf": False,
    "code": 0,
} | {name: [] for name in ("fail", "fatal", "lie", "spoil", "crash", "hang")}
NAP_S = 0.01
Ranges = list[dict[str, Any]]


class Payload:
    def __init__(self, habits: dict[str, Any]) -> None:
        self.habits = HABITS | habits
        self.top = Path(os.environ["HARVESTER_WORKDIR"])
        self.started_before = (self.top / "diary").exists()
        self.done = 0
        self.beaten = 0.0
        self.ended: set[int] = set()
        self.current: list[tuple[int, str]] = []

    def note(self, what: str) -> None:
        with (self.top / "diary").open("a") as file:
            file.write(f"{what}\n")

    def write(self, path: Path, value: object) -> None:
        text = json.dumps(value)
        if not self.habits["clumsy"]:
            draft = path.with_name(path.name + ".tmp")
            draft.write_text(text)
            draft.rename(path)
            return
        with path.open("w") as file:
            for start in range(0, len(text), max(1, len(text) // 7)):
                file.write(text[start : start + max(1, len(text) // 7)])
                file.flush()
                time.sleep(self.habits["clumsy"] / 7)

    def read(self, path: Path) -> Any:
        """Wait for a file, read it and remove it."""
        while True:
            self.beat()
            try:
                value = json.loads(path.read_text())
            except FileNotFoundError:
                time.sleep(NAP_S)
                continue
            path.unlink()
            return value

    def beat(self) -> None:
        if self.habits["beat"] and time.monotonic() > self.beaten + self.habits["beat"]:
            self.beaten = time.monotonic()
            (self.top / "worker_heartbeat.json").touch()

    def jobs(self) -> list[int]:
        """Ask for jobs, until there are as many as it likes."""
        while True:
            known = list(map(int, json.loads((self.top / "worker_pandaids.json").read_text())))
            request = self.top / "worker_requestjob.json"
            if len(known) >= self.habits["jobs"]:
                return known
            if not request.exists():
                self.write(request, {"nJobs": self.habits["jobs"] - len(known)})
            time.sleep(NAP_S)

    def place(self, job: int) -> Path:
        return self.top / str(job) if (self.top / str(job)).is_dir() else self.top

    def run(self) -> int:
        jobs = self.jobs()
        for job in jobs:
            told = json.loads((self.place(job) / "HPCJobs.json").read_text())[str(job)]
            self.note(f"job {job} {told['taskID']} {told['inFilePaths']}")
        while set(jobs) - self.ended:
            wanted = [job for job in jobs if job not in self.ended]
            asked = {
                str(job): {"pandaID": job, "taskID": 1, "jobsetID": 1, "nRanges": self.habits["batch"]}
                for job in wanted
            }
            self.write(self.top / "worker_requestevents.json", asked)
            for job in wanted:
                self.work(job, self.read(self.place(job) / "JobsEventRanges.json")[str(job)])
        return self.end()

    def end(self) -> int:
        if self.habits["end"] == "FINISHED":
            self.write(self.top / "FINISHED", {"worker_status": "finished"})
        elif self.habits["end"]:
            (self.top / self.habits["end"]).touch()
        self.write(self.top / "worker_attributes.json", {"jobStatus": "finished", "nEvents": self.done})
        (self.top / "jobReport.json").write_text('{"resource": {}}')
        time.sleep(self.habits["linger"])
        return int(self.habits["code"])

    def work(self, job: int, ranges: Ranges) -> None:
        if not ranges:
            self.ended.add(job)
            return
        for one in ranges:
            self.note(f"given {one['eventRangeID']}")
        self.current = [(job, one["eventRangeID"]) for one in ranges]
        told = [self.do(job, one) for one in ranges]
        if self.habits["zip"]:
            self.pack(job, told)
        self.write(
            self.place(job) / "worker_updateevents.json",
            {job: [{"eventRangeID": one["eventRangeID"], "eventStatus": "running", "cpuConsumptionTime": 2}
                   for one in ranges]},
        ) if not (self.place(job) / "worker_updateevents.json").exists() else None  # fmt: skip
        self.dump(job, told)
        self.current = []
        if self.habits["again"] and self.done >= self.habits["again"] and not self.started_before:
            os.execv(sys.executable, [sys.executable, *sys.argv])  # noqa: S606  # no shell is wanted

    def do(self, job: int, one: dict[str, Any]) -> dict[str, Any]:
        name = one["eventRangeID"]
        last = int(name.rpartition("-")[2])
        self.beat()
        if last in self.habits["crash"]:
            self.dump(job, [{"eventRangeID": name, "eventStatus": "running"}])
            self.settle(job)
            os.kill(os.getpid(), signal.SIGSEGV)
        while last in self.habits["hang"]:
            time.sleep(NAP_S)
        for status, some in {"failed": "fail", "fatal": "fatal"}.items():
            if last in self.habits[some]:
                return {"eventRangeID": name, "eventStatus": status}
        path = Path(self.habits["to"] or self.place(job)) / f"{one['LFN']}.{name}"
        path.write_text(name)
        self.done += 1
        self.note(f"did {name}")
        told = {"eventRangeID": name, "eventStatus": "finished", "path": str(path), "type": "es_output"}
        told |= {"fsize": len(name), "chksum": self.checksum(name.encode()), "guid": "g"}
        if last in self.habits["lie"]:
            path.unlink()
        if last in self.habits["spoil"]:
            path.write_text(name[::-1])
        return told

    def checksum(self, text: bytes) -> str:
        if self.habits["checksum"] == "md:":
            return "md:" + hashlib.md5(text, usedforsecurity=False).hexdigest()
        return f"{self.habits['checksum']}{zlib.adler32(text):08x}"

    def pack(self, job: int, told: list[dict[str, Any]]) -> None:
        path = self.place(job) / f"zip.{self.done}"
        with zipfile.ZipFile(path, "w") as archive:
            for one in told:
                if one["eventStatus"] == "finished":
                    archive.write(one["path"], Path(one["path"]).name)
                    Path(one["path"]).unlink()
                    one["path"], one["type"], one["isZip"] = str(path), "zip_output", 1
                    one.pop("fsize"), one.pop("chksum")

    def dump(self, job: int, told: list[dict[str, Any]]) -> None:
        path = self.place(job) / "event_status.dump.json"
        if self.habits["unread"] == "wait":
            self.settle(job)
        if self.habits["unread"] == "merge":
            try:
                told = json.loads(path.read_text())[str(job)] + told
            except (FileNotFoundError, ValueError):
                self.note("nothing to merge")
        self.write(path, {str(job): told})

    def settle(self, job: int) -> None:
        path = self.place(job) / "event_status.dump.json"
        while path.exists() or path.with_name(path.name + ".read").exists():
            time.sleep(NAP_S)

    def die(self, *_: object) -> None:
        """Do as an existing pilot does: say of all that it has that it is finished, although it is not."""
        if self.habits["deaf"]:
            return
        for job, name in self.current:
            path = self.place(job) / f"killed.{name}"
            path.write_text("half")
            one = {"eventRangeID": name, "eventStatus": "finished", "path": str(path), "type": "es_output"}
            (self.place(job) / "event_status.dump.json").write_text(json.dumps({str(job): [one]}))
        sys.exit(0)


if __name__ == "__main__":
    payload = Payload(json.loads(sys.argv[1]))
    signal.signal(signal.SIGTERM, payload.die)
    sys.exit(payload.run())
