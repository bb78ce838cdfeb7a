"""Parsl's own executor runs its blocks through ours, on every batch system: the contract of an ExecutionProvider.

And what Parsl's own providers lack: a node count for each submission, a tag, an id that another process may adopt, and
a reason for the end. `tests/services/places.py` has the batch systems.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import parsl
import pytest
from parsl.config import Config
from parsl.dataflow.dflow import DataFlowKernel
from parsl.executors import HighThroughputExecutor
from parsl.jobs.states import JobState

from hpcharvest.model.shape import Shape
from hpcharvest.providers.parsl_block import MEANINGS
from hpcharvest.providers.parsl_face import BatchProvider, unique_tag
from hpcharvest.sandbox.batch.cluster import Cluster
from hpcharvest.sandbox.batch.settings import Settings
from tests import worlds
from tests.services.places import PARAMS, PLACES, Place

PAGE = Path(__file__).parents[2] / "docs" / "parsl.md"
PROGRAMS = Path(sys.executable).parent
"""Where Parsl's own programs are: it looks for them in PATH."""
SITE = """\
[site]
name = "test"
[nodes]
cores = 2
[allocation]
max_walltime_s = 600
[batch]
dialect = "local"
command = {command}
"""


@pytest.fixture(scope="module", params=PARAMS)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}")
        with PLACES[request.param](tmp_path_factory.mktemp(request.param)) as made:
            yield made


def provider(place: Place, folder: Path | None = None) -> BatchProvider:
    return BatchProvider(place.system, folder=folder, cores_per_node=1, walltime="00:10:00", poll_s=1)


def until(blocks: BatchProvider, block: str, *states: JobState) -> None:
    """Wait until a block is in one of these states."""
    worlds.eventually(
        lambda: blocks.status([block])[0].state in states, lambda: f"{states}, but {blocks.status([block])[0]}"
    )


def test_parsls_executor_runs_apps_in_a_block_that_is_a_batch_job_and_ends_when_it_is_scaled_in(
    place: Place, tmp_path: Path
) -> None:
    mine = provider(place, place.folder / "executor")
    blocks = HighThroughputExecutor(
        label="blocks",
        address="127.0.0.1",
        provider=mine,
        encrypted=False,
        max_workers_per_node=1,
        block_error_handler=False,
    )
    config = Config(executors=[blocks], strategy="none", run_dir=str(tmp_path / "run"), initialize_logging=False)
    kernel = DataFlowKernel(config)
    try:
        tag = parsl.python_app(os.getenv, data_flow_kernel=kernel)("JOBNAME").result(timeout=180)
        sums = [parsl.python_app(sum, data_flow_kernel=kernel)([number, 1]) for number in range(5)]
        assert [one.result(timeout=180) for one in sums] == [1, 2, 3, 4, 5]
        (batch_id,) = mine.resources
        assert place.system.find(tag) == batch_id
        assert blocks.status()["0"].state is JobState.RUNNING
        assert blocks.scale_in_facade(1) == ["0"]
        until(mine, str(batch_id), JobState.CANCELLED)
        assert blocks.status()["0"].state is JobState.SCALED_IN
    finally:
        kernel.cleanup()


@pytest.mark.parametrize("nodes", [1, 2])
def test_a_block_has_the_nodes_of_its_own_submission(place: Place, nodes: int, tmp_path: Path) -> None:
    mine = provider(place, place.folder / tmp_path.name)
    assert mine.nodes_per_block == 1
    names = f'echo "{place.system.dialect.environment.nodes}"'
    block = mine.submit_shape(names, Shape(nodes=nodes, walltime_s=300), unique_tag("shape"))
    until(mine, block, JobState.COMPLETED)
    out = mine.status([block])[0].stdout
    assert out is not None
    assert len(set(out.strip().split(","))) == nodes


def test_a_block_that_breaks_is_told_with_its_own_words(place: Place, tmp_path: Path) -> None:
    mine = provider(place, place.folder / tmp_path.name)
    code = "echo out; echo no such module >&2; exit 3"
    block = mine.submit_shape(code, Shape(nodes=1, walltime_s=300), unique_tag("broken"))
    until(mine, block, JobState.FAILED)
    told = mine.status([block])[0]
    assert told.message is not None
    assert told.message.startswith(f"batch job {block} failed")
    assert (told.stdout, told.stderr_summary) == ("out\n", "no such module\n")


@pytest.mark.parametrize("how", ["preempt", "lose_node"])
def test_a_block_tells_why_it_ended(place: Place, how: str, tmp_path: Path) -> None:
    disturb, end = {"preempt": (place.preempt, place.preempted), "lose_node": (place.lose_node, place.lost_node)}[how]
    state, reason = MEANINGS[end]
    assert state is not None
    mine = provider(place, place.folder / tmp_path.name)
    shape = Shape(nodes=2, walltime_s=300, partition=place.partition)
    block = mine.submit_shape("sleep 300", shape, unique_tag(how.replace("_", "-")))
    until(mine, block, JobState.RUNNING)
    disturb(block)
    until(mine, block, state)
    place.recover()
    message = mine.status([block])[0].message
    assert message is not None
    assert message.startswith(f"batch job {block} {reason}")


def test_a_block_outlives_its_process_and_is_adopted(place: Place, tmp_path: Path) -> None:
    earlier, later = provider(place, place.folder / tmp_path.name), provider(place)
    tag = unique_tag("mine")
    block = earlier.submit_shape("sleep 300", Shape(nodes=2, walltime_s=300), tag)
    assert later.adopt(place.system.find(tag)) == block
    until(later, block, JobState.RUNNING)
    place.away()
    assert later.status([block])[0].state is JobState.RUNNING
    assert later.cancel([block]) == [False]
    place.back()
    assert later.cancel([block]) == [True]
    until(earlier, block, JobState.CANCELLED)


def test_the_example_of_the_page_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}")
    (example,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "example.py").write_text(example)
    with Cluster(tmp_path / "spool", Settings(nodes=2, cores_per_node=2, kill_grace_s=0.5)) as cluster:
        (tmp_path / "my-site.toml").write_text(SITE.format(command=cluster.command))
        done = subprocess.run(
            [sys.executable, "example.py"], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
        )
        assert (done.returncode, done.stdout) == (0, "[0, 1, 4, 9, 16]\n"), done.stderr
        (job,) = cluster.status()
        assert cluster.wait(job["id"])["state"] == "CANCELLED"
