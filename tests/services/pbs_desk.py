"""A cluster with the face of PBS, and somebody who types its commands."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from hpcharvest.model.shape import NodeShape
from hpcharvest.providers.batch import BatchSystem
from hpcharvest.providers.dialect import Spoken
from hpcharvest.providers.pbs import VARIANTS, PbsDialect
from hpcharvest.sandbox.batch import faces
from hpcharvest.sandbox.batch.cluster import Cluster
from hpcharvest.sandbox.batch.settings import Settings

SETTINGS = Settings(nodes=4, cores_per_node=16, queues={"workq": 86_400.0, "debug": 1_800.0}, kill_grace_s=1.0)


class Desk:
    """A cluster of four nodes with a face, and a folder from which jobs are submitted."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster, self.folder = cluster, folder
        path = f"{faces.install('pbs', cluster.spool, folder / 'bin')}{os.pathsep}{os.environ['PATH']}"
        self.environment = os.environ | {"PATH": path, "HOME": str(folder)}

    def ask(self, *argv: str, **variables: str) -> Spoken:
        """Run a command in the folder."""
        done = subprocess.run(
            argv, cwd=self.folder, env=self.environment | variables, capture_output=True, text=True, check=False
        )
        return Spoken(exit_code=done.returncode, out=done.stdout, err=done.stderr)

    def script(self, text: str, name: str = "p.sh") -> str:
        """Write a script; give its name."""
        (self.folder / name).write_text(f"#!/bin/bash\n{text}\n")
        return name

    def submit(self, text: str, *options: str, **variables: str) -> str:
        """Submit a line of shell; give the id."""
        answer = self.ask("qsub", *options, self.script(text), **variables)
        assert answer.exit_code == 0, answer.err
        return answer.out.strip()

    def wait(self, job: str, *states: str) -> None:
        """Wait for one of these states of the embedded batch system, or for the end."""
        self.cluster.wait(int(job.partition(".")[0]), states=states)

    def json(self, *argv: str) -> dict[str, Any]:
        """Run a command that answers in JSON."""
        answer = self.ask(*argv)
        assert answer.exit_code == 0, answer.err
        told: dict[str, Any] = json.loads(answer.out)
        return told

    def system(self) -> BatchSystem:
        """Give the batch system as hpcharvest speaks to it."""
        path = {"PATH": self.environment["PATH"]}
        return BatchSystem(PbsDialect(VARIANTS["pbs"], NodeShape(cores=16)), per_minute=6000, environment=path)
