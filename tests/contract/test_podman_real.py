"""Images and containers with Debian's own podman: loaded once, found again, run as the launch line says."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hpcharvest.apps import containers
from hpcharvest.apps.images import Images, Shelf
from hpcharvest.config.schema import Container
from hpcharvest.errors import ImageRefused, ImageUnavailable
from hpcharvest.model.image import parse
from tests.services import podman

pytestmark = pytest.mark.needs("podman")


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("archives")
    return {form: podman.archive(folder, form=form) for form in ("docker-archive", "oci-archive")}


@pytest.fixture
def place() -> Iterator[Path]:
    with podman.store() as folder:
        yield folder


def container(folder: Path) -> Container:
    return Container.model_validate(podman.table(folder))


def ids(folder: Path) -> list[str]:
    return podman.call(folder, "images", "--quiet", "--no-trunc").replace("sha256:", "").split()


@pytest.mark.parametrize("form", ["docker-archive", "oci-archive"])
def test_an_archive_is_loaded_once_for_all_who_want_it_at_once(
    place: Path, archives: dict[str, Path], form: str
) -> None:
    reference = parse(f"{form}:{archives[form]}")
    shelf = Shelf(container(place), place / "images")
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: shelf.take(reference), range(8)))
    assert [*found] == ids(place)


def test_after_a_restart_an_image_is_found_in_the_store_and_its_archive_is_not_read(
    place: Path, archives: dict[str, Path]
) -> None:
    file = place / "image.tar"
    shutil.copy(archives["docker-archive"], file)
    reference = parse(f"docker-archive:{file}")
    first = Shelf(container(place), place / "images").take(reference)
    about = file.stat()
    file.write_bytes(b"x" * about.st_size)  # the same to whoever does not read it
    os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert Shelf(container(place), place / "images").take(reference) == first


def test_an_image_that_got_lost_is_loaded_again(place: Path, archives: dict[str, Path]) -> None:
    reference = parse(f"docker-archive:{archives['docker-archive']}")
    first = Shelf(container(place), place / "images").take(reference)
    podman.call(place, "rmi", "--force", first)
    assert Shelf(container(place), place / "images").take(reference) == first


def test_an_image_by_name_stays_the_one_that_it_was_when_it_was_found(place: Path, archives: dict[str, Path]) -> None:
    podman.call(place, "load", "--input", str(archives["docker-archive"]))
    first = Shelf(container(place), place / "images").take(parse(podman.NAME))
    podman.call(place, "commit", podman.call(place, "create", podman.NAME, "/bin/sh"), podman.NAME)
    assert Shelf(container(place), place / "images").take(parse(podman.NAME)) == first
    assert ids(place) != [first]  # the name means another one by now


def test_an_image_is_found_by_its_digest_and_no_other_is_taken_for_it(place: Path, archives: dict[str, Path]) -> None:
    podman.call(place, "load", "--input", str(archives["docker-archive"]))
    name = podman.NAME.partition(":")[0]
    digest = podman.call(place, "image", "inspect", "--format={{.Digest}}", podman.NAME)
    shelf = Shelf(container(place), place / "images")
    assert [shelf.take(parse(f"{name}@{digest}"))] == ids(place)
    with pytest.raises(ImageUnavailable):  # nobody listens at localhost
        shelf.take(parse(f"{name}@sha256:{'0' * 64}"))


def test_a_registry_that_nobody_reaches_may_be_there_later(place: Path) -> None:
    with pytest.raises(ImageUnavailable, match="connection refused"):
        Images().ready("127.0.0.1:9/none:1", container(place), place / "images")


@pytest.mark.parametrize("content", [None, b"no archive at all"])
def test_an_archive_that_is_none_is_refused(place: Path, content: bytes | None) -> None:
    file = place / "image.tar"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ImageRefused, match="image"):
        Images().ready(f"docker-archive:{file}", container(place), place / "images")


def run(folder: Path, archives: dict[str, Path], script: str, **more: object) -> subprocess.CompletedProcess[str]:
    """Run a script in the image, with `folder`/work as a payload's own folder."""
    here = container(folder)
    image = Shelf(here, folder / "images").take(parse(f"docker-archive:{archives['docker-archive']}"))
    (folder / "work").mkdir(exist_ok=True)
    given = {"image": image, "folder": str(folder / "work"), **more}
    argv = containers.wrap(here, containers.Inside(**given), ("/bin/sh", "-c", script))  # type: ignore[arg-type]  # a test's own
    environment = {**os.environ, "ASKED": "yes", "OTHER": "no", "PMI_RANK": "3"}
    return subprocess.run(argv, capture_output=True, text=True, check=False, env=environment)


def test_a_payload_works_in_its_folder_and_reads_its_inputs(place: Path, archives: dict[str, Path]) -> None:
    inputs = place / "inputs"
    inputs.mkdir()
    (inputs / "in").write_text("input")
    (place / "work").mkdir()
    (place / "work" / "in").symlink_to(inputs / "in")
    script = f"cat in {podman.MARK} >out; pwd; echo no >{inputs}/new; exit 7"
    done = run(place, archives, script, reads=(str(inputs),))
    assert (done.returncode, done.stdout) == (7, f"{place}/work\n")
    assert (place / "work" / "out").read_text() == "inputhere\n"
    assert not (inputs / "new").exists()
    assert "Read-only file system" in done.stderr


def test_a_payload_gets_the_variables_that_are_its_own(place: Path, archives: dict[str, Path]) -> None:
    script = "echo $ASKED/$OTHER/$PMI_RANK"
    assert run(place, archives, script, variables=("ASKED",)).stdout == "yes//\n"
    assert run(place, archives, script, variables=("ASKED",), mpi=True).stdout == "yes//3\n"
