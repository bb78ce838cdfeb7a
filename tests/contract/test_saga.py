"""The dialect `saga` and its command line, with our stand-in for radical.saga; by hand also with the real one.

The variable HPCHARVEST_TEST_SAGA names a Python that has radical.saga; then the real one is put through the same tests,
on a real Slurm.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from hpcharvest.errors import ConfigurationError, SubmissionRefused, SubmissionUnknown
from hpcharvest.model.shape import Shape
from hpcharvest.model.states import BatchState
from hpcharvest.providers.batch import BatchSystem
from hpcharvest.providers.saga import SagaDialect, check
from hpcharvest.sandbox import slurm as service
from hpcharvest.sandbox.batch.cluster import Cluster
from hpcharvest.sandbox.batch.settings import Settings
from hpcharvest.sandbox.world import Recipe
from tests import worlds
from tests.contract.test_parsl_face import (  # noqa: F401 - the same
    PROGRAMS,
    test_a_block_has_the_nodes_of_its_own_submission,
    test_a_block_outlives_its_process_and_is_adopted,
    test_a_block_that_breaks_is_told_with_its_own_words,
    test_parsls_executor_runs_apps_in_a_block_that_is_a_batch_job_and_ends_when_it_is_scaled_in,
)
from tests.contract.test_provider import (  # noqa: F401 - collected here, with the place of this module
    test_a_batch_job_gets_its_nodes_its_id_and_its_deadline,
    test_a_batch_job_is_cancelled_and_may_be_cancelled_again,
    test_a_daemon_that_is_away_says_nothing_about_any_job,
    test_a_live_batch_job_is_found_by_its_tag_and_one_that_never_was_is_not,
    test_a_walltime_that_is_over_is_told_as_such,
    test_all_are_told_by_one_question_whatever_the_others_do,
    test_every_end_has_its_own_name,
    test_nobody_is_told_of_a_job_that_never_was,
    test_the_words_of_the_runner_are_kept,
    test_what_waits_says_so_and_may_be_cancelled,
)
from tests.services import places
from tests.services.places import Place

ROOT = Path(__file__).parents[2]
STAND_IN = ROOT / "tests" / "services" / "saga_standin"
REAL: Final = os.environ.get("HPCHARVEST_TEST_SAGA", "")


def command(python: str, url: str, folder: Path) -> list[str]:
    return [python, "-m", "hpcharvest.providers.saga_command", "--url", url, "--folder", str(folder)]


def python_path(*folders: Path) -> dict[str, str]:
    return {"PYTHONPATH": os.pathsep.join(map(str, folders))}


@contextmanager
def stand_in(folder: Path) -> Iterator[Place]:
    with Cluster(folder / "spool", Settings(nodes=2, cores_per_node=2, kill_grace_s=0.3)) as cluster:

        def number(batch_id: str) -> int:
            (job,) = (one for one in cluster.status() if one["name"] == batch_id.partition("+")[0])
            return int(job["id"])

        words = command(sys.executable, f"sandbox://{cluster.spool}", folder / "saga")
        environment = python_path(STAND_IN, ROOT)
        check(words, environment, "here")
        made = places.embedded(cluster, SagaDialect(words, cores=2), folder, environment, number)
        yield replace(made, hasten=lambda _: None)  # SAGA's own script keeps the walltime


@contextmanager
def real(folder: Path) -> Iterator[Place]:
    with service.cluster(2, accounting=True) as slurm:

        def away() -> None:
            slurm.stop("slurmctld")

        def preempt(batch_id: str) -> None:
            raise NotImplementedError(f"{batch_id}: SAGA would not tell it from other ends")

        words = command(REAL, "slurm://localhost/", slurm.folder / "saga")
        home = folder / "home"
        home.mkdir()
        environment = {**python_path(ROOT), **slurm.environment, "HOME": str(home)}
        check(words, environment, "here")
        yield Place(
            system=BatchSystem(SagaDialect(words, cores=4), timeout_s=120, per_minute=6000, environment=environment),
            folder=folder,
            away=away,
            back=slurm.start_controller,
            preempt=preempt,
            lose_node=preempt,
            recover=lambda: None,
            too_large="",
        )


PLACES: dict[str, Callable[[Path], AbstractContextManager[Place]]] = {
    "stand-in": stand_in,
    **({"slurm by radical.saga": real} if REAL else {}),
}


@pytest.fixture(scope="module", params=list(PLACES))
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}")
        with PLACES[request.param](tmp_path_factory.mktemp("saga")) as made:
            yield made


def test_a_python_without_radical_saga_is_told_at_the_start(tmp_path: Path) -> None:
    # Without its site-packages no Python has radical.saga.
    words = [sys.executable, "-S", *command(sys.executable, "slurm://localhost/", tmp_path)[1:]]
    with pytest.raises(ConfigurationError, match=r"No module named 'radical'.*Install hpcharvest\[saga\]"):
        check(words, python_path(ROOT), "here")


def test_a_radical_saga_that_breaks_on_this_python_is_told_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "radical").mkdir()
    (tmp_path / "radical" / "saga.py").write_text("print('hello')\nraise AttributeError('no asyncore any more')\n")
    words = command(sys.executable, "slurm://localhost/", tmp_path)
    with pytest.raises(ConfigurationError, match=r"cannot be used by .*AttributeError: no asyncore any more"):
        check(words, python_path(tmp_path, ROOT), "here")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["/no/such/python"], "No such file"),
        ([sys.executable, "-m", "hpcharvest.providers.saga_command"], "--url"),
        (command(sys.executable, "slurm://localhost/", Path("/a b")), "does not quote"),
    ],
)
def test_a_command_that_does_not_work_is_told_at_the_start(words: list[str], why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        check(words, python_path(ROOT), "here")


def test_a_shape_that_cannot_be_is_refused_or_waits_without_a_reason(place: Place) -> None:
    request = replace(place.request("true"), shape=Shape(nodes=99, walltime_s=60))
    if place.too_large:
        with pytest.raises(SubmissionRefused, match=place.too_large):
            place.submit(request)
        assert place.system.find(request.tag) == ""
    else:
        batch_id = place.submit(request)
        place.until(batch_id, BatchState.PENDING)
        place.end(batch_id)


def test_what_was_submitted_without_an_answer_is_found_by_its_name(place: Place) -> None:
    request = place.request("sleep 60")
    batch_id = place.submit(request)
    place.until(batch_id, BatchState.PENDING, BatchState.RUNNING)
    assert isinstance(place.system.dialect, SagaDialect)
    (Path(place.system.dialect._command[-1]) / batch_id / "saga.json").unlink()
    assert place.system.find(request.tag) == batch_id
    place.until(batch_id, BatchState.RUNNING)
    assert place.submit(request) == batch_id
    place.end(batch_id)


def test_what_breaks_in_between_may_have_been_submitted(place: Place, tmp_path: Path) -> None:
    assert isinstance(place.system.dialect, SagaDialect)
    (tmp_path / "file").touch()
    words = [*place.system._prefix, *place.system.dialect._command[:-1], str(tmp_path / "file")]
    with pytest.raises(SubmissionUnknown, match="NotADirectoryError"):
        BatchSystem(SagaDialect(words, cores=1)).submit(place.request("true"))


def test_whenever_a_submission_is_killed_its_tag_runs_once(place: Place) -> None:
    assert isinstance(place.system.dialect, SagaDialect)
    longest_s = 0.3 if place.too_large else 1.5
    requests = [place.request('echo "$HPCHARVEST_BATCH_ID" >>"$0/ran"') for _ in range(12)]
    for number, request in enumerate(requests):
        argv = [*place.system._prefix, *place.system.dialect.submit_argv(request)]
        with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as asked:
            time.sleep(longest_s * number / len(requests))
            asked.kill()
    ids = {request.folder: place.system.find(request.tag) or place.submit(request) for request in requests}
    for folder, batch_id in ids.items():
        place.until(batch_id, BatchState.COMPLETED)
        assert (folder / "ran").read_text() == f"{batch_id}\n"


def test_jobs_are_harvested_through_it_and_all_books_agree(tmp_path: Path) -> None:
    with Cluster(tmp_path / "spool", Settings(nodes=2, cores_per_node=2, kill_grace_s=0.3)) as cluster:
        batch = {
            "dialect": "saga",
            "command": command(sys.executable, f"sandbox://{cluster.spool}", tmp_path / "saga"),
            "environment": python_path(STAND_IN, ROOT),
        }
        # The nodes of the embedded batch system are this very host.
        prologue = tmp_path / "prologue.sh"
        prologue.write_text("export HPCHARVEST_VIRTUAL_NODES=1\n")
        recipe = Recipe(nodes=2, batch=batch, software={"prologue": str(prologue)})
        with worlds.world(tmp_path, recipe) as world, worlds.Controller(world):
            numbers = worlds.submit(world, [worlds.job() for _ in range(3)])
            worlds.until_all_over(world)
            worlds.assert_books_agree(world, numbers)
