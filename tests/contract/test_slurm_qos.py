"""Qualities of service of a real Slurm: who may preempt whom, in both modes, and how many batch jobs one may have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hpcharvest.errors import BatchFull
from hpcharvest.model.shape import Shape
from hpcharvest.model.states import BatchState, JobState
from hpcharvest.providers.batch import BatchSystem
from hpcharvest.providers.slurm import SlurmDialect
from hpcharvest.sandbox import slurm as service
from hpcharvest.sandbox.slurm import Slurm
from hpcharvest.sandbox.world import Recipe
from tests import worlds
from tests.services.places import Place

pytestmark = pytest.mark.needs("slurm")


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    with service.cluster(2, accounting=True, qos=True) as made:
        yield made


@pytest.fixture
def place(slurm: Slurm, tmp_path: Path) -> Place:
    def never(_: str) -> None:
        raise AssertionError("no test here wants that")

    return Place(
        system=BatchSystem(SlurmDialect(), timeout_s=60, per_minute=6000, environment=slurm.environment),
        folder=tmp_path,
        away=lambda: never("away"),
        back=lambda: never("back"),
        preempt=never,
        lose_node=never,
        recover=lambda: never("recover"),
    )


def test_an_urgent_batch_job_ends_one_that_may_be_cancelled_and_sends_back_one_that_may_be_requeued(
    place: Place,
) -> None:
    ended = place.run("sleep 300", qos="cancelled", options=("--nodelist=n1",))
    sent_back = place.run("sleep 300", qos="requeued", options=("--nodelist=n2", "--requeue"))
    for batch_id in (ended, sent_back):
        place.until(batch_id, BatchState.RUNNING)
    urgent = place.run("sleep 300", qos="urgent", nodes=2)
    place.until(urgent, BatchState.RUNNING)
    assert place.until(ended, BatchState.PREEMPTED).state.ended
    assert place.until(sent_back, BatchState.PENDING)
    place.end(urgent, sent_back)


def test_as_many_batch_jobs_as_one_may_have_is_no_refusal(place: Place) -> None:
    first, second = (place.run("sleep 300", qos="few") for _ in range(2))
    third = place.request("true", qos="few")
    with pytest.raises(BatchFull, match="QOSMaxSubmitJobPerUserLimit"):
        place.submit(third)
    assert place.system.find(third.tag) == ""
    place.end(first, second)


def test_a_walltime_that_a_qos_never_grants_is_told(place: Place) -> None:
    request = place.request("true", qos="few")
    request = replace(request, shape=Shape(nodes=1, walltime_s=7200))
    request.script.write_text(request.script.read_text().replace("--time=00:01:00", "--time=02:00:00"))
    batch_id = place.submit(request)
    words = place.until(batch_id, BatchState.PENDING).words
    assert words == "PENDING QOSMaxWallDurationPerJobLimit (as it is, it will never run)"
    place.end(batch_id)


def test_more_allocations_than_a_qos_takes_are_tried_again_and_all_jobs_harvested(slurm: Slurm, tmp_path: Path) -> None:
    prologue = tmp_path / "virtual.sh"
    prologue.write_text("export HPCHARVEST_VIRTUAL_NODES=1\n")  # all nodes are this host
    recipe = Recipe(
        batch={"dialect": "slurm", "environment": slurm.environment, "qos": "few"},
        allocation={"max_jobs": 1, "max_allocations": 6, "max_walltime_s": 1200},
        software={"prologue": str(prologue)},
        payload={"default_walltime_s": 600},
        nodes=1,
    )
    with worlds.world(tmp_path, recipe) as inside, worlds.Controller(inside):
        numbers = worlds.submit(inside, [worlds.copying_job(inside, seconds=2) for _ in range(6)])
        worlds.until_all_over(inside, timeout_s=240)
        worlds.assert_books_agree(inside, numbers)
        assert "QOSMaxSubmitJobPerUserLimit" in (inside.folder / "controller.log").read_text()
        with worlds.database(inside) as opened:
            jobs = opened.jobs.page()
    assert {(job.state, job.refusals, job.infrastructure_losses) for job in jobs} == {(JobState.FINISHED, 0, 0)}
