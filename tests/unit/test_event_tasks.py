"""What the runner is told of an event-service job."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hpcharvest.apps.folders import Folders
from hpcharvest.config.schema import EventRanges, Launcher, Payload, Queue
from hpcharvest.engine import event_tasks, launch
from hpcharvest.messenger.ranges import PayloadKind
from hpcharvest.model.allocation import Allocation
from hpcharvest.model.ids import AllocationId, Attempt, JobId
from hpcharvest.model.job import InputFile, Job, JobSpec
from hpcharvest.model.shape import Shape
from hpcharvest.model.states import JobState
from tests import worlds

SPEC = JobSpec(
    panda_id=JobId(7),
    attempt_nr=1,
    transformation="sim.py",
    job_pars="--seed {seed} 'two words'",
    inputs=(InputFile(lfn="in", scope="s"),),
    task_id=3,
    event_service=True,
)
JOB = Job(spec=SPEC, queue="Q", state=JobState.SERVED, attempt=Attempt(2))
ALLOCATION = Allocation(
    id=AllocationId(5),
    queue="Q",
    shape=Shape(nodes=2, walltime_s=600),
    tag="t",
    event_jobs=((JobId(7), Attempt(2)),),
)


def queue(folder: Path, *, payload: dict[str, Any] | None = None, **section: Any) -> Queue:
    given = {"transformation_dir": folder, "event_ranges": EventRanges.model_validate(section), **(payload or {})}
    (made,) = worlds.configuration(folder, queue={"payload": Payload.model_validate(given)}).queues.values()
    return made


def test_a_command_has_its_own_words_and_those_of_the_queue(tmp_path: Path) -> None:
    payload = {"interpreter": ("python3",), "environment": {"A": "b"}}
    section = {"arguments": ("--out={output}",), "cores": 2, "archive_mb": 3, "tries": 4, "objstore_id": 9}
    folders = Folders(tmp_path)
    (task,) = event_tasks.event_tasks([JOB], ALLOCATION, queue(tmp_path, payload=payload, **section), folders, {})
    assert task.argv == ("python3", f"{tmp_path}/sim.py", "--seed", "{seed}", "two words", "--out={output}")
    assert (task.job, task.attempt, task.task_id, task.kind) == (7, 2, 3, PayloadKind.COMMAND)
    assert (task.cores, task.archive_bytes, task.tries, task.env) == (2, 3_000_000, 4, {"A": "b"})
    assert task.inputs == {"in": f"{tmp_path}/jobs/7/in"}
    assert task.folder == f"{tmp_path}/jobs/7.a5"
    assert task.scratch == "${TMPDIR:-/tmp}"


@pytest.mark.parametrize(("given", "ranks"), [({}, 2), ({"ranks_per_node": 8}, 8)])
def test_a_program_of_mpi_has_its_nodes_and_ranks(tmp_path: Path, given: dict[str, int], ranks: int) -> None:
    section = EventRanges.model_validate({"kind": "mpi", "nodes_per_slot": 2, "cores": 2, **given})
    site = queue(tmp_path).site.model_copy(update={"launcher": Launcher(name="mpiexec")})
    payload = Payload(transformation_dir=tmp_path, event_ranges=section)
    (there,) = worlds.configuration(tmp_path, queue={"site": site, "payload": payload}).queues.values()
    (task,) = event_tasks.event_tasks([JOB], ALLOCATION, there, Folders(tmp_path), {})
    assert (task.kind, task.nodes, task.cores, task.ranks_per_node) == (PayloadKind.MPI, 2, 2, ranks)


def test_a_callable_finds_its_module_and_its_parameters_in_the_environment(tmp_path: Path) -> None:
    payload = {"environment": {"PYTHONPATH": "/more"}}
    of_job = queue(tmp_path, payload=payload, kind="callable")
    task = event_tasks.event_task(JOB, ALLOCATION, of_job, Folders(tmp_path), {})
    assert task.argv == ("sim:run",)
    assert task.env == {"PYTHONPATH": f"{tmp_path}:/more", event_tasks.PARAMETERS: SPEC.job_pars}
    named = queue(tmp_path, kind="callable", callable="pack.mod:do")
    assert event_tasks.event_task(JOB, ALLOCATION, named, Folders(tmp_path), {}).argv == ("pack.mod:do",)


def test_a_job_of_another_attempt_is_none_of_an_allocation(tmp_path: Path) -> None:
    later = replace(JOB, attempt=Attempt(3))
    assert event_tasks.event_tasks([later], ALLOCATION, queue(tmp_path), Folders(tmp_path), {}) == ()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"job_pars": "--x {start}"}, "placeholder that is none"),
        ({"job_pars": "{PFN"}, "expected '}'"),
        ({"job_pars": "'"}, "cannot be split"),
        ({"transformation": "../sim"}, "no plain name"),
    ],
)
def test_what_can_never_run_is_said_at_once(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    assert words in event_tasks.why_never(replace(SPEC, **changes), queue(tmp_path))
    assert event_tasks.why_never(SPEC, queue(tmp_path)) == ""


def test_a_callable_that_names_no_module_is_refused(tmp_path: Path) -> None:
    odd = replace(SPEC, transformation="3d-sim")
    assert "names no module" in event_tasks.why_never(odd, queue(tmp_path, kind="callable"))


def test_a_command_line_that_no_kernel_takes_is_refused_before_anything_runs(tmp_path: Path) -> None:
    inputs = ",".join(f"EVNT.{number:08d}._000001.pool.root.1" for number in range(5000))
    long = replace(SPEC, job_pars=f"--inputEVNTFile={inputs}")
    assert "a command line takes 120000" in event_tasks.why_never(long, queue(tmp_path))


def test_a_queue_without_the_section_refuses_event_service_jobs(tmp_path: Path) -> None:
    (plain,) = worlds.configuration(tmp_path).queues.values()
    assert "has no section payload.event_ranges" in event_tasks.why_never(SPEC, plain)


def test_allocations_for_ranges_are_as_large_as_is_wished_and_allowed(tmp_path: Path) -> None:
    made = queue(tmp_path, cores=3)
    limits = launch.limits(made.site)
    wish = event_tasks.wish(made, limits)
    assert (wish.nodes, wish.walltime_s) == (4, 7200)
    assert event_tasks.slots(made, 4) == 8  # two of three cores on each node of eight
    small = event_tasks.wish(queue(tmp_path, nodes=2, walltime_s=600), limits)
    assert (small.nodes, small.walltime_s) == (2, 600)


def test_an_allocation_finds_enough_for_its_first_minute_and_never_more_than_it_can_do(tmp_path: Path) -> None:
    shape = Shape(nodes=2, walltime_s=7200)  # of eight cores each
    assert event_tasks.first_helping(queue(tmp_path, expected_range_s=600.0), shape) == 16
    assert event_tasks.first_helping(queue(tmp_path, expected_range_s=10.0), shape) == 16 * 7
    short = replace(shape, walltime_s=90)  # of which the margin is 60
    assert event_tasks.first_helping(queue(tmp_path, expected_range_s=10.0), short) == 16 * 3


def test_ranges_take_as_long_as_those_that_were_done(tmp_path: Path) -> None:
    made = queue(tmp_path, expected_range_s=30.0)
    assert event_tasks.range_s(made, 0.0) == 30
    assert event_tasks.range_s(made, 12.5) == 12.5
