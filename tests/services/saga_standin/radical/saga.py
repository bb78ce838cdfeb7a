"""Stands in for radical.saga, with the embedded batch system behind it: `sandbox:///path/of/its/spool`.

Of radical.saga it has what hpcharvest uses, by the same names, and its words: like the real one's Slurm adaptor it says
`Canceled` of a walltime that is over and of preemption, and `Failed` of a lost node. Put its folder into PYTHONPATH.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

from hpcharvest.sandbox.batch import client
from hpcharvest.sandbox.batch.errors import BatchError

version = "stand-in"
STATES = {
    "PENDING": "Pending",
    "RUNNING": "Running",
    "COMPLETED": "Done",
    "FAILED": "Failed",
    "NODE_FAIL": "Failed",
    "TIMEOUT": "Canceled",
    "PREEMPTED": "Canceled",
    "CANCELLED": "Canceled",
}
SCRIPT = """\
#!/bin/sh
printf '%s\\n' "$HPCHARVEST_BATCH_NODELIST" | tr , '\\n' >nodes
export PBS_NODEFILE="$PWD/nodes"
exec {command}
"""


class SagaException(Exception):
    """The real one's root of all errors."""


class DoesNotExist(SagaException):
    """There is no such batch job."""


class BadParameter(SagaException, ValueError):
    """What was asked for makes no sense."""


class NoSuccess(SagaException):
    """It did not work, and nobody knows why."""


class _Description:
    """What is asked for; anything may be set."""

    def __init__(self) -> None:
        self.processes_per_host = 1

    def set_attribute(self, name: str, value: Any) -> None:
        if not name[:1].isupper():
            raise SagaException(f"attribute key is invalid: {name}")
        setattr(self, name, value)


class _Job:
    def __init__(self, service: _Service, description: Any = None, job_id: str = "") -> None:
        self._service, self._description, self.id = service, description, job_id

    def run(self) -> None:
        told = self._description
        place = Path(told.working_directory)
        script = place / "sandbox.sh"
        script.write_text(SCRIPT.format(command=shlex.join([told.executable, *told.arguments])))
        wishes = {
            "name": told.name,
            "nodes": told.total_cpu_count // told.processes_per_host,
            "walltime": told.wall_time_limit * 60,
            "output": told.output,
            "error": told.error,
            "requeue": False,
            "cwd": told.working_directory,
        }
        number = self._service.ask(client.submission(script, **wishes))
        self.id = f"[{self._service.url}]-[{number}]"

    @property
    def state(self) -> str:
        return STATES.get(self._row()["state"], "Unknown")

    @property
    def name(self) -> str:
        return str(self._row()["name"])

    def cancel(self) -> None:
        self._service.ask({"op": "cancel", "ids": [self._number]})

    @property
    def _number(self) -> int:
        return int(self.id.rpartition("[")[2].rstrip("]"))

    def _row(self) -> Any:
        for row in self._service.ask({"op": "status", "ids": None, "history_s": None}):
            if row["id"] == self._number:
                return row
        raise DoesNotExist(f"no job {self.id}")


class _Service:
    def __init__(self, url: str) -> None:
        self.url, self._spool = url, Path(urlsplit(url).path)
        self.list()

    def ask(self, request: dict[str, Any]) -> Any:
        try:
            return client.ask(self._spool, request)
        except (BatchError, OSError) as error:
            raise NoSuccess(str(error)) from error

    def create_job(self, description: _Description) -> _Job:
        return _Job(self, description)

    def get_job(self, job_id: str) -> _Job:
        return _Job(self, job_id=job_id)

    def list(self) -> list[str]:
        rows = self.ask({"op": "status", "ids": None, "history_s": None})
        return [f"[{self.url}]-[{row['id']}]" for row in rows]

    def close(self) -> None:
        pass


job = SimpleNamespace(Service=_Service, Description=_Description)
