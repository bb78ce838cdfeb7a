"""A whole small world to harvest in: PanDA server, batch system, remote storage and a controller's configuration.

The demo, the benchmarks and the end-to-end tests all live in one. Everything in it is a process of its own, so the
controller that harvests there is the real one, started like any other.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.request
import uuid
import zlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hpcharvest.sandbox.batch.cluster import Cluster
from hpcharvest.sandbox.batch.settings import Settings
from hpcharvest.sandbox.jobs import InputFile

QUEUE = "SANDBOX_HPC"
START_S = 120.0
"""Seconds within which the server must be there."""
SCOPE = "sandbox"


BRISK: Mapping[str, float] = {
    "batch_poll_s": 5.0,
    "batch_grace_s": 3.0,
    "heartbeat_s": 2.0,
    "heartbeat_stale_s": 8.0,
    "retry_first_s": 1.0,
    "retry_max_s": 10.0,
}
"""A patience for a world in which nothing takes long; an empty one means the controller's own defaults."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What world to make. The tables go into the controller's and the site's files as they are."""

    nodes: int = 4
    cores_per_node: int = 2
    harvester_id: str = "sandbox"
    server_options: Sequence[str] = ()
    controller: Mapping[str, Any] = field(default_factory=dict)
    patience: Mapping[str, Any] = field(default_factory=lambda: BRISK)
    panda: Mapping[str, Any] = field(default_factory=dict)
    queue: Mapping[str, Any] = field(default_factory=dict)
    payload: Mapping[str, Any] = field(default_factory=dict)
    allocation: Mapping[str, Any] = field(default_factory=dict)
    batch: Mapping[str, Any] = field(default_factory=dict)
    """Another batch system, which is somebody else's to start; empty: the embedded one."""
    launcher: Mapping[str, Any] = field(default_factory=dict)
    software: Mapping[str, Any] = field(default_factory=dict)
    container: Mapping[str, Any] = field(default_factory=dict)
    gpus_per_node: int = 0
    link_address: str = ""
    """Where the head of event ranges listens, where the nodes' names mean nothing on the network."""


class World:
    """A world in a folder. Use it as a context; when it ends, all its processes do."""

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        self.folder = folder = folder.resolve()
        self.recipe = recipe
        self.inputs = folder / "remote" / "inputs"
        self.outputs = folder / "remote" / "outputs"
        self.work = folder / "work"
        self.scratch = folder / "scratch"
        self.config = folder / "controller.toml"
        self.cluster = Cluster(
            folder / "batch", Settings(nodes=recipe.nodes, cores_per_node=recipe.cores_per_node, kill_grace_s=1.0)
        )
        self.url = ""
        self.server_pid = 0
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        for place in (self.inputs, self.outputs, self.work, self.scratch):
            place.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            if not self.recipe.batch:
                stack.enter_context(self.cluster)
            self._start_server(stack)
            self._configure()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def put_input(self, lfn: str, content: bytes) -> InputFile:
        """Lay a file into the remote storage, and give what the server will promise of it."""
        place = self.inputs / SCOPE / lfn
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        return InputFile(lfn, len(content), f"{zlib.adler32(content):08x}", str(uuid.uuid4()), SCOPE)

    def submit(self, jobs: Iterable[dict[str, Any]]) -> None:
        """Give jobs to the PanDA server, activated."""
        self._call("/sandbox/jobs", list(jobs))

    def submit_events(
        self, job: dict[str, Any], n_ranges: int, *, events_per_range: int = 1, jumbo: bool = True
    ) -> None:
        """Give an event-service job to the PanDA server, activated, its inputs cut into so many event ranges."""
        order = {"job": job, "n_ranges": n_ranges, "events_per_range": events_per_range, "jumbo": jumbo}
        self._call("/sandbox/events", order)

    def events(self) -> dict[str, list[dict[str, Any]]]:
        """Give all `ranges` with every report that they are finished, and all `zips`."""
        found: dict[str, list[dict[str, Any]]] = self._call("/sandbox/events")
        return found

    def faults(self, rules: list[dict[str, Any]]) -> None:
        """Tell the server how to fail; an empty list ends it."""
        self._call("/sandbox/faults", rules)

    def books(self) -> dict[str, Any]:
        """Give the server's books."""
        found: dict[str, Any] = self._call("/sandbox/books")
        return found

    def jobs(self) -> list[dict[str, Any]]:
        """Give what the server knows of each job."""
        found = self._call("/sandbox/jobs")
        rows: list[dict[str, Any]] = found["jobs"] if isinstance(found, dict) else found
        return rows

    def controller(self, *arguments: str, **more: Any) -> subprocess.Popen[bytes]:
        """Start a controller in this world; the caller ends it."""
        return subprocess.Popen(
            [sys.executable, "-m", "hpcharvest", "run", "--config", str(self.config), *arguments], **more
        )

    def _call(self, path: str, payload: Any = None) -> Any:
        body = None if payload is None else json.dumps(payload).encode()
        request = urllib.request.Request(self.url + path, data=body, headers={"Content-Type": "application/json"})  # noqa: S310 - our own loopback server
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - the same
            return json.load(answer)

    def _start_server(self, stack: ExitStack) -> None:
        ready = self.folder / "panda.ready"
        ready.unlink(missing_ok=True)
        log = stack.enter_context((self.folder / "panda.log").open("ab"))
        server = subprocess.Popen(
            [sys.executable, "-m", "hpcharvest.sandbox", "--ready-file", str(ready), *self.recipe.server_options],
            stdout=log,
            stderr=log,
        )
        stack.callback(_end, server)
        deadline = time.monotonic() + START_S
        while not ready.exists():
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the sandbox server did not start; see {log.name}")
            time.sleep(0.02)
        said = json.loads(ready.read_text())
        self.url, self.server_pid = said["url"], server.pid

    def _site(self) -> dict[str, Any]:
        """Give the site's file."""
        recipe = self.recipe
        return {
            "site": {"name": "sandbox", "description": "The batch system of a small world."},
            "batch": {
                "commands_per_minute": 600,
                "signal_before_end_s": 5,
                **(recipe.batch or {"dialect": "local", "command": self.cluster.command}),
            },
            "nodes": {
                "cores": recipe.cores_per_node,
                "gpus": recipe.gpus_per_node,
                "scratch": str(self.scratch),  # a node that dies leaves something there
                "link_address": recipe.link_address,
            },
            "allocation": {
                "max_nodes": recipe.nodes,
                "max_walltime_s": 7200,
                "margin_s": 5.0,
                **recipe.allocation,
            },
            "launcher": recipe.launcher,
            "software": {"python": sys.executable, **recipe.software},
            "container": recipe.container,
        }

    def _configure(self) -> None:
        recipe = self.recipe
        controller = {
            "controller": {
                "harvester_id": recipe.harvester_id,
                "work_dir": str(self.work),
                "log_file": "controller.log",
                **recipe.controller,
                "patience": recipe.patience,
            },
            "panda": {"url": self.url, **recipe.panda},
            "queues": {
                QUEUE: {
                    "site": "site.toml",
                    **recipe.queue,
                    "payload": recipe.payload,
                    "storage": {"inputs": str(self.inputs), "outputs": str(self.outputs)},
                }
            },
        }
        (self.folder / "site.toml").write_text(toml(self._site()))
        self.config.write_text(toml(controller))


def toml(tables: Mapping[str, Any], prefix: str = "") -> str:
    """Write nested tables as TOML; values are strings, numbers, truths and lists of them, as JSON writes them."""
    plain = [f"{key} = {json.dumps(value)}" for key, value in tables.items() if not isinstance(value, Mapping)]
    text = "\n".join(plain) + "\n"
    for key, value in tables.items():
        if isinstance(value, Mapping):
            name = f"{prefix}{key}"
            text += f"\n[{name}]\n{toml(value, f'{name}.')}"
    return text


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
