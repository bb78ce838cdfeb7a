"""The launch lines of every container engine, and which image a job may have where."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from pydantic import ValidationError

from hpcharvest.apps import containers
from hpcharvest.apps.containers import ENGINES, Inside
from hpcharvest.apps.folders import Folders
from hpcharvest.config.schema import About, AllocationLimits, Batch, Container, Launcher, Nodes, Payload, Queue, Site
from hpcharvest.config.schema import Storage as StorageSection
from hpcharvest.engine import images, launch, launchers
from hpcharvest.jumbo import command
from hpcharvest.model.ids import Attempt, JobId
from hpcharvest.model.image import parse
from hpcharvest.model.job import InputFile, Job, JobSpec

GOLDEN = Path(__file__).parent.parent / "golden" / "containers.txt"
DIGEST = f"sha256:{'0123456789abcdef' * 4}"
NAME = f"docker.io/physics/sim@{DIGEST}"
FOLDERS = Folders(Path("/shared/me"))


def queue(container: Container, *, mpi: bool = False, gpus: int = 0, image: str = "", vendor: str = "nvidia") -> Queue:
    site = Site(
        site=About(name="here"),
        nodes=Nodes(cores=8, gpus=4, gpu_vendor=vendor),  # type: ignore[arg-type]  # one of three words
        allocation=AllocationLimits(max_nodes=4, max_walltime_s=7200),
        batch=Batch(dialect="local", command=("batch",)),
        launcher=Launcher(name="srun"),
        container=container,
    )
    return Queue(
        site=site,
        payload=Payload(
            transformation_dir=Path("/opt/trf"),
            mpi=mpi,
            ranks_per_node=2 if mpi else 0,
            gpus=gpus,
            image=image,
            environment={"LEVEL": "3"},
        ),
        storage=StorageSection(inputs="/in", outputs="/out"),
    )


def job(image: str = "", *, inputs: bool = True) -> Job:
    spec = JobSpec(
        panda_id=JobId(7),
        attempt_nr=1,
        transformation="simulate",
        job_pars="--events 'a b'",
        inputs=(InputFile(lfn="in.root", scope="s"),) if inputs else (),
        image=image,
    )
    return Job(spec=spec, queue="q", attempt=Attempt(2))


def line(words: tuple[str, ...] | list[str]) -> str:
    return shlex.join(words) if words else "(nothing)"


def told(engine: str) -> str:
    """Give all command lines of an engine."""
    here = Container(engine=engine, binds=("/cvmfs:ro", "/data:/mnt/data"), options=("--extra",))  # type: ignore[arg-type]  # one of its words
    archive = parse("docker-archive:/images/sim.tar")
    run = "/images/ab12.sif" if engine == "apptainer" else NAME
    lines = {
        "version": containers.version(here),
        "ask": containers.ask(here, NAME),
        "pull": containers.fetch(here, parse(NAME), "/images/ab12.part.sif"),
        "load": containers.fetch(here, archive, "/images/ab12.part.sif") if ENGINES[engine].load else (),
        "after": containers.after(here, "localhost/sim:1"),
        "plain": launch.task(job(NAME, inputs=False), queue(here), FOLDERS, {NAME: run}).argv,
    }
    for vendor in ("nvidia", "amd", "intel"):
        lines[vendor] = launch.task(job(NAME), queue(here, gpus=1, vendor=vendor), FOLDERS, {NAME: run}).argv
    if ENGINES[engine].ranks or not ENGINES[engine].variable:
        wide = launch.task(job(NAME), queue(here, mpi=True), FOLDERS, {NAME: run})
        launcher = launchers.words(Launcher(name="srun"), "")
        lines["mpi"] = tuple(command.words(wide, ["n1", "n2"], launcher, here=True))
    return "".join(f"{engine} {name}: {line(words)}\n" for name, words in lines.items())


def test_every_engine_is_told_what_the_golden_file_says() -> None:
    assert "\n".join(map(told, ENGINES)) == GOLDEN.read_text()


def test_the_configured_words_begin_every_command_but_those_of_another_program() -> None:
    here = Container(engine="podman", command=("podman", "--root=/x"))
    for words in (containers.version(here), containers.ask(here, "a"), containers.fetch(here, parse("a"), "")):
        assert words[:2] == ("podman", "--root=/x")
    assert containers.ask(Container(engine="shifter", command=("/opt/shifter",)), "a:1")[0] == "shifterimg"


def test_a_job_without_an_image_is_started_as_ever() -> None:
    plain = launch.task(job(), queue(Container(engine="podman")), FOLDERS, {})
    assert plain.argv == ("/opt/trf/simulate", "--events", "a b")
    assert not plain.contained
    assert not plain.engine_failure


def test_the_runner_knows_how_an_engine_says_that_it_failed_itself() -> None:
    for engine, code in (("podman", 125), ("docker", 125), ("apptainer", 0)):
        here = queue(Container(engine=engine), image=NAME)  # type: ignore[arg-type]  # one of these words
        assert launch.task(job(), here, FOLDERS, {NAME: NAME}).engine_failure == code


def test_the_jobs_image_goes_before_its_queues_and_that_before_the_sites() -> None:
    here = Container(engine="podman", image="site:1")
    assert images.name_of(job("job:1").spec, queue(here, image="queue:1")) == "job:1"
    assert images.name_of(job().spec, queue(here, image="queue:1")) == "queue:1"
    assert images.name_of(job().spec, queue(here)) == "site:1"
    assert images.name_of(job().spec, queue(Container())) == ""


@pytest.mark.parametrize(
    ("image", "container", "reason"),
    [
        ("alpine:3", Container(), "container.engine of the site is none"),
        ("-v /:/host", Container(engine="podman"), "is no image"),
        ("--privileged", Container(engine="podman"), "is no image"),
        ("a b", Container(engine="podman"), "is no image"),
        ("a\nb", Container(engine="podman"), "is no image"),
        ("evil/x:1", Container(engine="podman", allowed=("atlas/*",)), "not among those"),
        ("docker-archive:/etc/shadow", Container(engine="podman"), "not among those"),
        ("/cvmfs/x", Container(engine="podman"), "podman cannot run the file"),
        ("/cvmfs/x", Container(engine="apptainer"), "not among those"),
        ("/cvmfs/../etc", Container(engine="apptainer", allowed=("/cvmfs/*",)), "no absolute path"),
        ("oci-archive:/x", Container(engine="shifter"), "from registries alone"),
    ],
)
def test_a_job_with_an_image_that_it_cannot_have_is_refused_with_the_reason(
    image: str, container: Container, reason: str
) -> None:
    said = launch.why_never(job(image).spec, queue(container))
    assert said.startswith("job 7: ")
    assert reason in said


@pytest.mark.parametrize(
    ("image", "container"),
    [
        ("", Container()),
        ("alpine", Container(engine="docker")),
        ("docker://atlas/sim:1", Container(engine="podman", allowed=("atlas/*",))),
        ("/cvmfs/atlas.cern.ch/sim", Container(engine="apptainer", allowed=("/cvmfs/*",))),
        (NAME, Container(engine="shifter")),
    ],
)
def test_a_job_may_have_an_image_that_its_site_allows(image: str, container: Container) -> None:
    assert launch.why_never(job(image).spec, queue(container)) == ""


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"image": "a:1"}, "has no effect while engine is none"),
        ({"binds": ["/data"]}, "has no effect while engine is none"),
        ({"engine": "podman", "binds": ["data"]}, "is neither /folder"),
        ({"engine": "podman", "binds": ["/a:/b:/c"]}, "is neither /folder"),
        ({"engine": "podman", "image": "-x"}, "is no image"),
        ({"engine": "docker", "image": "/images/a.sif"}, "docker cannot run the file"),
        ({"engine": "singularity"}, "Input should be 'none', 'apptainer'"),
    ],
)
def test_a_table_that_cannot_work_is_refused(given: dict[str, object], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        Container.model_validate(given)


def test_a_queue_that_asks_for_what_its_site_has_not_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"container\.engine of the site is none"):
        queue(Container(), image="a:1")
    with pytest.raises(ValidationError, match="a node of the site here has 4"):
        queue(Container(), gpus=5)
    with pytest.raises(ValidationError, match="Docker cannot hand on"):
        queue(Container(engine="docker"), mpi=True)


def test_a_program_that_is_in_the_image_is_not_hidden_by_a_folder_of_the_nodes() -> None:
    place = queue(Container(engine="podman", image="a:1"))
    payload = place.payload.model_copy(update={"transformation_in_image": True})
    own = place.model_copy(update={"payload": payload})
    assert "--volume=/opt/trf:/opt/trf:ro" in launch.task(job(), place, FOLDERS, {"a:1": "a:1"}).argv
    words = launch.task(job(), own, FOLDERS, {"a:1": "a:1"}).argv
    assert "--volume=/opt/trf:/opt/trf:ro" not in words
    assert words[-3:] == ("/opt/trf/simulate", "--events", "a b")


def test_a_program_in_an_image_needs_one() -> None:
    place = queue(Container(engine="podman"))
    own = place.model_copy(update={"payload": place.payload.model_copy(update={"transformation_in_image": True})})
    assert "neither job nor queue names one" in launch.why_never(job().spec, own)
    assert launch.why_never(job("a:1").spec, own) == ""


def test_what_a_payload_needs_is_in_its_container() -> None:
    inside = Inside(image="a:1", folder="/w", reads=("/r",), variables=("A",))
    words = containers.wrap(Container(engine="podman"), inside, ("pay", "load"))
    assert words[-3:] == ("a:1", "pay", "load")
    assert {"--volume=/w:/w", "--volume=/r:/r:ro", "--workdir=/w", "--env=A"} <= set(words)
