"""The spool folder of one cluster: everything that must survive the daemon.

- `token`: who this spool is; part of every job's tag
- `lock`: held by the daemon (flock)
- `socket`: where it listens
- `nodes.json`: the nodes that are down
- `last_id.json`: the highest job id ever given, once a job is forgotten
- `jobs/ID.json`: one record per job; a job exists when, and only when, this file does
- `work/ID/`: its script, its environment, and the exit code of each of its runs
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import secrets
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpcharvest.sandbox.batch.errors import RefusedError
from hpcharvest.sandbox.batch.job import Job

if TYPE_CHECKING:
    from collections.abc import Iterable

log = logging.getLogger(__name__)


class Spool:
    """Reads and writes one spool folder. Only the daemon that holds its lock may have one."""

    def __init__(self, root: Path) -> None:
        """Make the folder if there is none, and lock it; RefusedError if another daemon has it."""
        self.root = root.absolute()
        self._jobs = self.root / "jobs"
        self._work = self.root / "work"
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._jobs.mkdir(exist_ok=True)
        self._work.mkdir(exist_ok=True)
        self._lock = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._lock)
            raise RefusedError(f"the spool {self.root} has a daemon already") from error
        self.token = self._own_token()

    def close(self) -> None:
        """Give the lock back."""
        os.close(self._lock)

    def load(self) -> tuple[dict[int, Job], list[str], int]:
        """Read all records: the jobs by id, the names of files that are no record, the highest id ever given.

        A torn record is reported and left where it is. Leftovers of a submission that never came to be are removed.
        """
        jobs: dict[int, Job] = {}
        torn: list[str] = []
        highest = int(self._read_or("last_id.json", 0))
        for path in sorted(self._jobs.iterdir()):
            if path.suffix != ".json":
                path.unlink()
                continue
            highest = max(highest, int(path.stem) if path.stem.isdigit() else 0)
            try:
                job = Job.from_record(json.loads(path.read_bytes()))
            except (ValueError, TypeError, KeyError) as error:
                log.warning("the spool file %s is no job record and is left alone: %s", path.name, error)
                torn.append(path.name)
            else:
                jobs[job.id] = job
        kept = {str(job_id) for job_id in jobs} | {Path(name).stem for name in torn}
        for path in self._work.iterdir():
            if path.name not in kept:
                shutil.rmtree(path)
        return jobs, torn, highest

    def add(self, job: Job, script: str, environment: dict[str, str]) -> None:
        """Put an accepted job on disk, its record last."""
        folder = self.work(job.id)
        folder.mkdir(mode=0o700, exist_ok=True)
        write_durably(folder / "script", script.encode(errors="surrogateescape"))
        write_durably(folder / "environment.json", json.dumps(environment).encode())
        self.save(job)

    def save(self, job: Job) -> None:
        """Put the record of a job on disk, for good."""
        write_durably(self._jobs / f"{job.id}.json", json.dumps(job.record()).encode())

    def forget(self, job_id: int, highest: int) -> None:
        """Remove a job; `highest` is kept so that no id is ever given twice."""
        write_durably(self.root / "last_id.json", json.dumps(highest).encode())
        (self._jobs / f"{job_id}.json").unlink(missing_ok=True)
        shutil.rmtree(self.work(job_id), ignore_errors=True)

    def work(self, job_id: int) -> Path:
        """Give the folder with a job's script and environment."""
        return self._work / str(job_id)

    def environment(self, job_id: int) -> dict[str, str]:
        """Read the environment that a job was submitted with."""
        found: dict[str, str] = json.loads((self.work(job_id) / "environment.json").read_bytes())
        return found

    def exit_code_file(self, job: Job) -> Path:
        """Give where the wrapper of the present run leaves the script's exit code."""
        return self.work(job.id) / f"exit_code.{job.restart_count}"

    def exit_code(self, job: Job) -> tuple[int, float] | None:
        """Read the exit code of the present run and when it was written (epoch seconds); None if there is none."""
        path = self.exit_code_file(job)
        try:
            return int(path.read_text(encoding="ascii")), path.stat().st_mtime
        except FileNotFoundError:
            return None

    def save_down(self, names: Iterable[str]) -> None:
        """Remember which nodes are down."""
        write_durably(self.root / "nodes.json", json.dumps(sorted(names)).encode())

    def down(self) -> set[str]:
        """Read which nodes are down."""
        return set(self._read_or("nodes.json", []))

    def _own_token(self) -> str:
        path = self.root / "token"
        if not path.exists():
            write_durably(path, secrets.token_hex(8).encode())
        return path.read_text(encoding="ascii")

    def _read_or(self, name: str, default: Any) -> Any:
        path = self.root / name
        return json.loads(path.read_bytes()) if path.exists() else default


def write_durably(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, even if the host dies right after."""
    temporary = path.with_name(f".{path.name}.new")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(handle)
    temporary.rename(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
