"""Jobs in containers, from the server and back, with Debian's podman; and what a site without an engine says."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcharvest.sandbox.world import Recipe, World
from tests import worlds
from tests.services import podman
from tests.worlds import Controller

INSIDE = f"""\
#!/bin/sh
# Proves that it is inside, and does as it is told: copy FROM TO, or sleep.
me=${{PWD##*/}}; job=${{me%.*}}; attempt=${{me#*.}}
[ "$(cat {podman.MARK})" = here ] || exit 3
echo "start $job $attempt" >>"$TALLY"
case $1 in
    copy) cat "$2" >"$3" ;;
    sleep) sleep 600 ;;
esac
echo "end $job $attempt" >>"$TALLY"
"""
RANK = """\
#!/bin/sh
# Tells which rank it is; the first waits for the others, and tells of all.
echo "$PMI_RANK of $PMI_SIZE" >"rank.$PMI_RANK"
[ "$PMI_RANK" = 0 ] || exit 0
until [ -e rank.1 ] && [ -e rank.2 ] && [ -e rank.3 ]; do sleep 0.1; done
cat rank.0 rank.1 rank.2 rank.3 >"$1"
"""
SLOW = """\
#!/bin/bash
# As Apptainer, but for the container: pull --force FILE URL, which may take an hour; exec OPTIONS… FILE PAYLOAD….
here=${0%/*}
if [ "$1" = pull ]; then
    touch "$here/pulling"
    [ -e "$here/slow" ] && sleep 3600
    echo "an image" >"$3"
else
    while [[ $1 != *.sif ]]; do shift; done
    shift
    exec "$@"
fi
"""
MPIEXEC = Path(sys.executable).with_name("mpiexec")
ANSWERED_S = 120.0


@pytest.fixture
def store() -> Iterator[Path]:
    with podman.store() as folder:
        yield folder


def recipe(tmp_path: Path, store: Path) -> Recipe:
    image = f"docker-archive:{podman.archive(tmp_path)}"
    table = podman.table(store, binds=[str(tmp_path)])
    return Recipe(container=table, payload={"image": image}, nodes=2)


def copying(inside: World) -> dict[str, object]:
    return {**worlds.copying_job(inside), "transformation": "inside"}


@pytest.mark.needs("podman")
def test_jobs_are_harvested_from_a_container_whose_image_is_loaded_once(tmp_path: Path, store: Path) -> None:
    with worlds.world(tmp_path, recipe(tmp_path, store), {"inside": INSIDE}) as inside, Controller(inside):
        numbers = worlds.submit(inside, [copying(inside) for _ in range(6)])
        worlds.until_all_over(inside)
        worlds.assert_books_agree(inside, numbers)
        assert set(worlds.tally(inside, "start").values()) == {1}
        assert worlds.log_of(inside, 1000).count("fetching it with podman") == 1
    assert podman.call(store, "ps", "--all", "--quiet") == ""


@pytest.mark.needs("podman")
def test_a_job_names_its_own_image_and_a_restart_finds_it(tmp_path: Path, store: Path) -> None:
    file = podman.archive(tmp_path)
    made = Recipe(container=podman.table(store, binds=[str(tmp_path)], allowed=["localhost/hpcharvest-*"]), nodes=1)
    podman.call(store, "load", "--input", str(file))
    with worlds.world(tmp_path, made, {"inside": INSIDE}) as inside:
        first, second, third = copying(inside), copying(inside), copying(inside)
        first["container_name"] = second["container_name"] = podman.NAME
        third["container_name"] = "docker.io/library/alpine:3"
        with Controller(inside):
            worlds.submit(inside, [first, third])
            worlds.until_all_over(inside)
        with Controller(inside):
            worlds.submit(inside, [second])
            found = worlds.until_all_over(inside)
        assert [found[int(str(one["PandaID"]))] for one in (first, second, third)] == ["finished", "finished", "failed"]
        told = worlds.server_job(inside, int(str(third["PandaID"])))
        assert "is not among those that jobs may ask for" in str(told)


@pytest.mark.needs("podman")
def test_a_program_that_is_only_in_the_image_is_run(tmp_path: Path, store: Path) -> None:
    made = recipe(tmp_path, store)
    payload = {**made.payload, "transformation_dir": "/bin", "transformation_in_image": True}
    with worlds.world(tmp_path, dataclasses.replace(made, payload=payload)) as inside, Controller(inside):
        parameters = f"-c 'cat {podman.MARK} >{{out}}'"
        numbers = worlds.submit(inside, [worlds.job(parameters, transformation="sh")])
        assert worlds.until_all_over(inside) == {numbers[0]: "finished"}
        (out,) = inside.outputs.rglob("out.*.txt")
        assert out.read_text() == "here\n"


@pytest.mark.needs("podman")
def test_a_job_that_is_killed_leaves_no_container(tmp_path: Path, store: Path) -> None:
    made = dataclasses.replace(recipe(tmp_path, store), panda={"heartbeat_interval_s": 1.0})
    with worlds.world(tmp_path, made, {"inside": INSIDE}) as inside, Controller(inside):
        numbers = worlds.submit(inside, [worlds.job("sleep", transformation="inside")])
        worlds.eventually(lambda: worlds.tally(inside, "start"), "the payload runs")
        assert podman.call(store, "ps", "--quiet") != ""
        worlds.kill(inside, numbers)
        assert worlds.until_all_over(inside) == {numbers[0]: "cancelled"}
        worlds.eventually(
            lambda: podman.call(store, "ps", "--all", "--quiet") == "", "no container is left", ANSWERED_S
        )


@pytest.mark.needs("mpi")
@pytest.mark.needs("podman")
def test_ranks_are_started_outside_and_run_inside(tmp_path: Path, store: Path) -> None:
    hydra = ["-launcher", "fork", "-hosts", "{hosts}", "-ppn", "{ranks_per_node}", "-n", "{ranks}"]
    made = dataclasses.replace(recipe(tmp_path, store), launcher={"argv": [str(MPIEXEC), *hydra]})
    made = dataclasses.replace(made, payload={**made.payload, "mpi": True, "ranks_per_node": 2})
    with worlds.world(tmp_path, made, {"rank": RANK}) as inside, Controller(inside):
        numbers = worlds.submit(inside, [worlds.job("{out}", transformation="rank", core_count=4)])
        assert worlds.until_all_over(inside) == {numbers[0]: "finished"}
        (out,) = inside.outputs.rglob("out.*.txt")
        assert out.read_text() == "0 of 4\n1 of 4\n2 of 4\n3 of 4\n"


def test_a_controller_that_stops_waits_for_no_image_and_the_next_one_fetches_it(tmp_path: Path) -> None:
    engine = tmp_path / "engine"
    engine.write_text(SLOW)
    engine.chmod(0o755)
    (tmp_path / "slow").touch()
    made = Recipe(container={"engine": "apptainer", "command": [str(engine)]}, payload={"image": "a/b:1"}, nodes=1)
    with worlds.world(tmp_path, made) as inside:
        numbers = worlds.submit(inside, [worlds.job() for _ in range(8)])
        with Controller(inside) as controller:
            worlds.eventually((tmp_path / "pulling").exists, "the pull has begun")
            assert controller.end(timeout_s=60) == 0
        with worlds.database(inside) as opened:
            assert {one.tries for one in opened.jobs.page(limit=100)} == {0}
        (tmp_path / "slow").unlink()
        with Controller(inside):
            worlds.until_all_over(inside)
            worlds.assert_books_agree(inside, numbers)


def test_a_site_without_an_engine_refuses_a_job_that_wants_one(tmp_path: Path) -> None:
    with worlds.world(tmp_path) as inside, Controller(inside):
        numbers = worlds.submit(inside, [worlds.job(container_name="docker.io/library/alpine:3")])
        assert worlds.until_all_over(inside) == {numbers[0]: "failed"}
        assert "container.engine of the site is none" in str(worlds.server_job(inside, numbers[0]))
