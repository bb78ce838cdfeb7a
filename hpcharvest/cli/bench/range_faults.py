"""What faults cost event ranges: a whole small world, in which something is killed or taken away every few seconds."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil

from hpcharvest.errors import HarvestError
from hpcharvest.sandbox.jobs import make_job
from hpcharvest.sandbox.world import BRISK, QUEUE, Recipe, World

RANGES: Final = 400
"""Of one job; the next is submitted when it is nearly done."""
RANGE_S: Final = 0.4
NODES: Final = 4
PAUSE_S: Final = (0.3, 2.5)
"""Between two faults."""
LIMIT_S: Final = 600.0
SCRIPT: Final = '#!/bin/sh\nsleep "$3"\necho "$1" > "$2"\n'


@dataclass(slots=True)
class Scene:
    """A world, the controller in it, and what happened."""

    world: World
    chance: random.Random
    controller: subprocess.Popen[bytes] | None = None
    submitted: int = 0
    happened: Counter[str] = field(default_factory=Counter)
    down: str = ""
    """The node that is lost at the time."""

    def processes(self, *, nodes: bool = False) -> list[psutil.Process]:
        """Find the processes of the runners, or of their nodes."""
        place = str(self.world.work)
        found = []
        for process in psutil.process_iter():
            try:
                words = process.cmdline()
            except psutil.Error:
                continue
            if _is_runner(words, nodes=nodes) and any(word.startswith(place) for word in words):
                found.append(process)
        return found

    def running(self) -> list[int]:
        """Give the batch jobs that run."""
        return [row["id"] for row in self.world.cluster.status() if row["state"].lower() == "running"]


def _is_runner(words: Sequence[str], *, nodes: bool) -> bool:
    """Whether a command line is a runner's, or that of its node: from the package, or from the single file."""
    match words:
        case [_, "-m", module, *_]:
            return module == ("hpcharvest.jumbo.node" if nodes else "hpcharvest.jumbo")
        case [_, "-I", file, first, *_] if file.endswith(".zip"):
            return (first == "node") is nodes
    return False


def _kill_controller(scene: Scene) -> bool:
    if scene.controller is None:
        return False
    scene.controller.kill()
    scene.controller.wait()
    return True


def _kill_head(scene: Scene) -> bool:
    """Kill a head: a runner that is another runner's child."""
    runners = scene.processes()
    heads = [one for one in runners if _parent(one) in {other.pid for other in runners}]
    return _kill(scene, heads)


def _kill_node(scene: Scene) -> bool:
    return _kill(scene, scene.processes(nodes=True))


def _kill_allocation(scene: Scene) -> bool:
    """Kill everything of an allocation at once, as a loss of power would."""
    runners = scene.processes()
    tops = [one for one in runners if _parent(one) not in {other.pid for other in runners}]
    if not tops:
        return False
    top = scene.chance.choice(tops)
    try:
        family = [top, *top.children(recursive=True)]
        for process in family:
            process.suspend()
        for process in family:
            process.kill()
    except psutil.Error:
        return False
    return True


def _warn_runner(scene: Scene) -> bool:
    return _kill(scene, scene.processes(), signal.SIGTERM)


def _lose_node(scene: Scene) -> bool:
    """Lose a node of the cluster for a while."""
    if scene.down:
        scene.world.cluster.node_up(scene.down)
    scene.down = scene.chance.choice([node["name"] for node in scene.world.cluster.info()["nodes"]])
    scene.world.cluster.node_down(scene.down)
    return True


def _preempt(scene: Scene) -> bool:
    running = scene.running()
    if running:
        scene.world.cluster.preempt(scene.chance.choice(running), scene.chance.choice(["requeue", "cancel"]))
    return bool(running)


def _lose_answers(scene: Scene) -> bool:
    """Let answers about finished ranges be lost after they were taken."""
    scene.world.faults([{"kind": "drop_after_commit", "method": "event/update_event_ranges", "count": 2}])
    return True


FAULTS: Final[Mapping[str, Callable[[Scene], bool]]] = {
    "controller killed": _kill_controller,
    "head killed": _kill_head,
    "node's process killed": _kill_node,
    "allocation killed": _kill_allocation,
    "runner warned": _warn_runner,
    "node lost": _lose_node,
    "preempted": _preempt,
    "answers lost": _lose_answers,
}


def measure(folder: Path, faults: int, seed: int) -> dict[str, Any]:
    """Let `faults` things go wrong while event ranges are done, then let all come to its end, and count."""
    (folder / "transformations").mkdir(parents=True)
    script = folder / "transformations" / "slow"
    script.write_text(SCRIPT)
    script.chmod(0o755)
    recipe = Recipe(
        nodes=NODES,
        cores_per_node=2,
        payload={
            "transformation_dir": str(script.parent),
            "event_ranges": {
                "arguments": ["{eventRangeID}", "{output}", f"{RANGE_S:g}"],
                "expected_range_s": 1.0,
                "archive_age_s": 5.0,
                "nodes": 2,
                "walltime_s": 120,
            },
        },
        patience=BRISK,
    )
    with World(folder, recipe) as world:
        scene = Scene(world, random.Random(seed))  # noqa: S311 - what goes wrong is no secret
        try:
            while sum(scene.happened.values()) < faults:
                _keep_going(scene)
                time.sleep(scene.chance.uniform(*PAUSE_S))
                name = scene.chance.choice(list(FAULTS))
                if FAULTS[name](scene):
                    scene.happened[name] += 1
            _finish(scene)
        finally:
            if scene.controller is not None:
                scene.controller.kill()
                scene.controller.wait()
        return _figures(scene)


def _keep_going(scene: Scene) -> None:
    """Keep a controller alive, and ranges at the server."""
    if scene.controller is None or scene.controller.poll() is not None:
        scene.controller = scene.world.controller()
    if _open_ranges(scene.world) < RANGES / 2:
        scene.submitted += 1
        inputs = [scene.world.put_input(f"in.{scene.submitted}.{one}.dat", b"events\n") for one in range(4)]
        job = make_job(scene.submitted, site=QUEUE, transformation="slow", job_pars="", inputs=inputs, outputs=[])
        scene.world.submit_events(job, RANGES)


def _open_ranges(world: World) -> int:
    return sum(one["state"] in {"ready", "sent", "running"} for one in world.events()["ranges"])


def _finish(scene: Scene) -> None:
    """Take the faults away, and wait until nothing is left to be done."""
    if scene.down:
        scene.world.cluster.node_up(scene.down)
    scene.world.faults([])
    deadline = time.monotonic() + LIMIT_S
    while _open_ranges(scene.world) or _unfinished(scene.world):
        if time.monotonic() > deadline:
            raise HarvestError(f"not done after {LIMIT_S:.0f} s; see {scene.world.folder}")
        if scene.controller is None or scene.controller.poll() is not None:
            scene.controller = scene.world.controller()
        time.sleep(1)


def _unfinished(world: World) -> int:
    return sum(row["state"] not in {"finished", "failed", "cancelled", "closed"} for row in world.jobs())


def _figures(scene: Scene) -> dict[str, Any]:
    ranges = scene.world.events()["ranges"]
    counted = [sum(one["counted"] for one in row["finished"]) for row in ranges]
    return {
        "faults": sum(scene.happened.values()),
        "lost": sum(not count for count in counted),
        "reported_twice": sum(len(row["finished"]) > 1 for row in ranges),
        "ranges": len(ranges),
        "by_kind": dict(scene.happened),
    }


def _kill(scene: Scene, processes: list[psutil.Process], number: signal.Signals = signal.SIGKILL) -> bool:
    if not processes:
        return False
    try:
        scene.chance.choice(processes).send_signal(number)
    except psutil.Error:
        return False
    return True


def _parent(process: psutil.Process) -> int:
    try:
        return int(process.ppid())
    except psutil.Error:
        return 0
