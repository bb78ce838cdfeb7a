"""Images on the shelf: fetched once, with engines that are small programs and do as their file says."""

from __future__ import annotations

import time
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path

import pytest

from hpcharvest.apps import stage_in
from hpcharvest.apps.folders import Folders
from hpcharvest.apps.images import ASK_AGAIN_S, PAUSE_S, Images, Shelf, WantedImage
from hpcharvest.apps.ticket import Storage, Ticket
from hpcharvest.clock import ManualClock
from hpcharvest.config.schema import Container
from hpcharvest.errors import ImageRefused, ImageUnavailable
from hpcharvest.model.ids import JobId
from hpcharvest.model.image import parse
from hpcharvest.model.job import JobSpec
from tests.worlds import eventually

WRITES_FILES = """\
#!/bin/bash
# As Apptainer: pull --force FILE URL.
here=${0%/*}
echo "$1" >>"$here/calls"
sleep 0.2
[ -e "$here/broken" ] && { cat "$here/broken" >&2; exit 255; }
echo "image of $4" >"$3"
"""
KEEPS_A_STORE = """\
#!/bin/bash
# As Podman-HPC: image inspect --format=… NAME, pull NAME, load --input=FILE, migrate NAME. A pull never fails.
here=${0%/*}
echo "$1 ${*: -1}" >>"$here/calls"
case $1 in
    image) grep -qxF -- "$4" "$here/store" && echo "id-of-$4" ;;
    pull) [ -e "$here/broken" ] && { cat "$here/broken" >&2; exit 0; }; echo "$2" >>"$here/store" ;;
    load) echo localhost/loaded:1 >>"$here/store"; echo "Loaded image: localhost/loaded:1" ;;
esac
"""
NAME = parse("docker.io/a/b:1")


class Place:
    """A folder with an engine in it, and a shelf for its images."""

    def __init__(self, folder: Path, engine: str, text: str) -> None:
        self.folder = folder
        program = folder / "engine"
        program.write_text(text)
        program.chmod(0o755)
        self.container = Container(engine=engine, command=(str(program),))  # type: ignore[arg-type]  # one of its words
        self.clock = ManualClock()
        self.shelf = self.again()

    def again(self) -> Shelf:
        """Give the shelf of another controller, which knows nothing."""
        return Shelf(self.container, self.folder / "images", clock=self.clock)

    def calls(self, word: str) -> int:
        file = self.folder / "calls"
        return sum(line.split()[0] == word for line in file.read_text().splitlines()) if file.exists() else 0

    def break_it(self, words: str) -> None:
        (self.folder / "broken").write_text(f"first line\n{words}\n")

    def mend(self) -> None:
        (self.folder / "broken").unlink()


@pytest.fixture
def files(tmp_path: Path) -> Place:
    return Place(tmp_path, "apptainer", WRITES_FILES)


@pytest.fixture
def stored(tmp_path: Path) -> Place:
    (tmp_path / "store").touch()
    return Place(tmp_path, "podman-hpc", KEEPS_A_STORE)


def test_one_pull_serves_all_who_come_while_it_lasts(files: Place) -> None:
    with ThreadPoolExecutor(6) as pool:
        (found,) = set(pool.map(lambda _: files.shelf.take(NAME), range(6)))
    assert Path(found).read_text() == "image of docker://docker.io/a/b:1\n"
    assert files.calls("pull") == 1


def test_a_file_is_found_again_and_fetched_again_when_it_is_gone(files: Place) -> None:
    found = Path(files.shelf.take(NAME))
    assert files.again().take(NAME) == str(found)
    assert files.calls("pull") == 1
    found.unlink()
    assert files.shelf.take(NAME) == str(found)  # it was there a moment ago: nobody looks
    files.clock.advance(ASK_AGAIN_S + 1)
    files.shelf.take(NAME)
    assert found.exists()
    assert files.calls("pull") == 2


def test_a_half_written_image_is_never_an_image(files: Place) -> None:
    files.break_it("FATAL: while pulling: connection reset")
    with pytest.raises(ImageUnavailable, match="connection reset"):
        files.shelf.take(NAME)
    assert not list((files.folder / "images").glob("*.sif"))


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("FATAL: manifest unknown", ImageRefused),
        ("Error: unauthorized: access to the requested resource is not authorized", ImageRefused),
        ("Error: pinging container registry: dial tcp: lookup x.example: no such host", ImageUnavailable),
        ("Error: toomanyrequests: rate limit", ImageUnavailable),
        ("Error: stat /run/user/1000: no such file or directory", ImageUnavailable),
        ("Error: write /var/tmp/x: no space left on device", ImageUnavailable),
    ],
)
def test_what_an_engine_says_tells_whether_to_try_again(
    files: Place, words: str, error: type[ImageRefused | ImageUnavailable]
) -> None:
    files.break_it(words)
    with pytest.raises(error, match="cannot be fetched"):
        files.shelf.take(NAME)


def test_a_failure_is_the_answer_to_all_for_a_while(files: Place) -> None:
    files.break_it("timeout")
    for _ in range(5):
        with pytest.raises(ImageUnavailable):
            files.shelf.take(NAME)
    assert files.calls("pull") == 1
    files.mend()
    files.clock.advance(PAUSE_S + 1)
    assert files.shelf.take(NAME)


def test_an_engine_that_says_only_in_words_that_it_failed_is_not_believed(stored: Place) -> None:
    stored.break_it("Pull failed.")
    with pytest.raises(ImageUnavailable, match="Pull failed"):
        stored.shelf.take(NAME)


def test_what_is_in_the_store_is_not_pulled(stored: Place) -> None:
    (stored.folder / "store").write_text("docker.io/a/b:1\n")
    assert stored.shelf.take(NAME) == "docker.io/a/b:1"  # by its name, under which the nodes see it
    assert stored.calls("pull") == 0


def test_an_archive_is_loaded_and_brought_to_where_the_nodes_see_it(stored: Place) -> None:
    archive = stored.folder / "image.tar"
    archive.write_text("an image")
    reference = parse(f"docker-archive:{archive}")
    assert stored.shelf.take(reference) == stored.again().take(reference) == "localhost/loaded:1"
    assert (stored.calls("load"), stored.calls("migrate")) == (1, 1)
    archive.write_text("a new image")
    stored.again().take(reference)
    assert (stored.calls("load"), stored.calls("migrate")) == (2, 2)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"run": 1}', '{"run": "--privileged"}'])
def test_a_note_that_is_none_is_not_believed(stored: Place, text: str) -> None:
    stored.shelf.take(NAME)
    (note,) = (stored.folder / "images").glob("*.json")
    note.write_text(text)
    assert stored.again().take(NAME) == "docker.io/a/b:1"


def test_an_engine_that_is_not_there_may_be_there_later(tmp_path: Path) -> None:
    shelf = Shelf(Container(engine="podman", command=("/nowhere/podman",)), tmp_path)
    with pytest.raises(ImageUnavailable, match="/nowhere/podman, which knows the images, cannot be run"):
        shelf.take(NAME)


def test_an_engine_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    place = Place(tmp_path, "apptainer", "#!/bin/bash\nsleep 60\n")
    container = place.container.model_copy(update={"pull_timeout_s": 0.3})
    with pytest.raises(ImageUnavailable, match=r"not done with the image within 0\.3 s"):
        Shelf(container, tmp_path / "images").take(NAME)


def test_a_job_is_staged_in_with_its_image(files: Place) -> None:
    folder = files.folder / "images"
    wanted = WantedImage(name="docker.io/a/b:1", container=files.container, folder=folder, keeper=Images())
    ticket = Ticket(
        spec=JobSpec(panda_id=JobId(7), attempt_nr=1, transformation="work", job_pars=""),
        folders=Folders(files.folder),
        storage=Storage(inputs="file:///in", outputs="file:///out", endpoints={}),
        image=wanted,
    )
    stage_in.stage_in(ticket)
    assert Path(wanted.ready()).exists()
    assert files.calls("pull") == 1


def test_what_can_be_run_as_it_is_is_not_fetched(tmp_path: Path) -> None:
    assert Images().ready("/cvmfs/sim.sif", Container(engine="apptainer"), tmp_path) == "/cvmfs/sim.sif"


@pytest.mark.parametrize(("name", "engine"), [("a:1", "none"), ("-x", "podman")])
def test_what_changed_since_a_job_was_taken_in_is_a_refusal(tmp_path: Path, name: str, engine: str) -> None:
    container = Container(engine=engine)  # type: ignore[arg-type]  # one of its words
    with pytest.raises(ImageRefused):
        Images().ready(name, container, tmp_path)


def test_who_leaves_waits_for_no_image(tmp_path: Path) -> None:
    place = Place(tmp_path, "apptainer", '#!/bin/bash\ntouch "${0%/*}/calls"\nsleep 600\n')
    keeper = Images()
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(keeper.ready, "a:1", place.container, tmp_path / "images") for _ in range(3)]
        eventually((tmp_path / "calls").exists, "the pull has begun")
        keeper.give_up()
        began = time.monotonic()
        for one in waiting:
            with pytest.raises(CancelledError):
                one.result(30)
    assert time.monotonic() - began < 20
    with pytest.raises(CancelledError):
        keeper.ready("b:1", place.container, tmp_path / "images")
