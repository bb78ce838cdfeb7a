"""Container images on the edge node: pulled or loaded once, found again, and known by what they contain.

The engine's own store is asked first, and again from time to time: it is the truth. A note beside it only says what a
name meant when it was pulled, so that all jobs of it run the same image, also after a restart.
"""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

from hpcharvest.apps import containers
from hpcharvest.apps.commands import Commands, Said
from hpcharvest.clock import Clock, SystemClock
from hpcharvest.config.schema import Container
from hpcharvest.errors import ImageRefused, ImageUnavailable, JobError
from hpcharvest.model.image import ImageKind, ImageReference, parse

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

ASK_AGAIN_S = 600.0
"""After so many seconds the store is asked again whether it still has an image."""
PAUSE_S = 30.0
"""For so many seconds a failure is the answer to all who want the same image."""
ASK_S = 60.0
"""Seconds that an engine gets to look into its store."""

_NEVER = re.compile(
    r"manifest unknown|not found in manifest|name unknown|no such (image|manifest)|repository does not exist"
    r"|requested access to the resource is denied|unauthorized|invalid reference|invalid tar header|payload does not"
    r" match any of the supported|image not known",
    re.IGNORECASE,
)
"""What engines and registries say of an image that will not be there tomorrow either."""
_LOADED = re.compile(r"^Loaded image(?:\(s\)| ID)?: *(?P<name>\S+)$", re.MULTILINE)


class Images:
    """The images of all engines, for as long as a controller lives. Safe to use from several threads."""

    def __init__(self) -> None:
        self._commands = Commands()
        self._lock = threading.Lock()
        self._shelves: dict[tuple[Container, Path], Shelf] = {}

    def ready(self, name: str, container: Container, folder: Path) -> str:
        """Give what the engine is to be told to run for an image; fetch it if it is not there.

        `folder`: where images that are files, and notes, are kept. Raises ImageRefused if there is no such image,
        ImageUnavailable if it is not to be had just now, or CancelledError if it was given up.
        """
        if container.engine == "none":
            raise ImageRefused(f"the image {name} needs an engine, and the site has none (container.engine)")
        try:
            reference = parse(name)
        except ValueError as error:
            raise ImageRefused(str(error)) from error
        if reference.kind is ImageKind.FILE:
            return reference.name
        with self._lock:
            key = container, folder
            shelf = self._shelves.get(key) or self._shelves.setdefault(key, Shelf(container, folder, self._commands))
        return shelf.take(reference)

    def give_up(self) -> None:
        """End what is being fetched, and fetch nothing more."""
        self._commands.give_up()


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedImage:
    """An image that a payload is to run in, at a site, and who fetches it."""

    name: str
    """As `model.image.parse` reads it."""
    container: Container
    folder: Path
    """Where images that are files, and notes, are kept."""
    keeper: Images

    def ready(self) -> str:
        """Give what the engine is to be told to run; as `Images.ready`."""
        return self.keeper.ready(self.name, self.container, self.folder)


@dataclass(slots=True)
class _Place:
    """What is known of one image; whoever holds the lock may ask and pull."""

    lock: threading.Lock
    run: str = ""
    error: JobError | None = None
    until: float = 0.0
    """Steady seconds, until which `run` or `error` is the answer."""


class Shelf:
    """The images of one engine. Safe to use from several threads: one pulls, the others wait for it."""

    def __init__(
        self, container: Container, folder: Path, commands: Commands | None = None, clock: Clock | None = None
    ) -> None:
        self._container = container
        self._run = (commands or Commands()).run
        self._engine = containers.ENGINES[container.engine]
        self._folder = folder
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._places: dict[str, _Place] = {}

    def take(self, reference: ImageReference) -> str:
        """Give what is to be run for a reference. Raises ImageRefused or ImageUnavailable."""
        key = self._key(reference)
        with self._lock:
            place = self._places.setdefault(key, _Place(threading.Lock()))
        with place.lock:
            if self._clock.steady() < place.until:
                if place.error is not None:
                    raise type(place.error)(str(place.error))  # an exception belongs to one thread
                return place.run
            try:
                place.run, place.error = self._here(reference, key) or self._fetched(reference, key), None
            except (ImageRefused, ImageUnavailable) as error:
                place.error, place.until = error, self._clock.steady() + PAUSE_S
                raise
            place.until = self._clock.steady() + ASK_AGAIN_S
            return place.run

    def _key(self, reference: ImageReference) -> str:
        """Name an image for us: an archive that was written anew is another image."""
        parts: list[object] = [self._container.engine, reference.kind, reference.wanted]
        if reference.kind is ImageKind.ARCHIVE:
            about = _guarded(lambda: Path(reference.name).stat(), f"the image archive {reference.name}")
            parts += [about.st_size, about.st_mtime_ns]
        return sha256(json.dumps(parts).encode()).hexdigest()[:32]

    def _here(self, reference: ImageReference, key: str) -> str:
        """Give what is to be run if the engine has it; else nothing."""
        if not self._engine.ask:
            file = self._folder / f"{key}.sif"
            return str(file) if file.exists() else ""
        noted = self._noted(key)
        names = [noted, reference.wanted if reference.kind is ImageKind.REGISTRY else ""]
        for name in filter(None, names):
            done = self._run(containers.ask(self._container, name), ASK_S)
            said = done.out.strip()
            if done.code == 0 and said:
                run = said if self._engine.by_id else name
                if run != noted:
                    self._note(key, reference, run)
                return run
        return ""

    def _fetched(self, reference: ImageReference, key: str) -> str:
        """Pull or load it; give what is to be run."""
        logger.info("image %s: fetching it with %s", reference.wanted, self._container.engine)
        part = self._folder / f"{key}.part.sif"
        _guarded(lambda: self._folder.mkdir(parents=True, exist_ok=True), f"the folder of images {self._folder}")
        done = self._run(containers.fetch(self._container, reference, str(part)), self._container.pull_timeout_s)
        if done.code != 0:
            raise self._failure(reference, done)
        if not self._engine.ask:
            _guarded(lambda: part.rename(self._folder / f"{key}.sif"), f"the image {reference.wanted}")
        elif reference.kind is ImageKind.ARCHIVE:
            self._note(key, reference, self._loaded(reference, done))
        run = self._here(reference, key)
        if not run:  # podman-hpc says only in words that it failed
            raise self._failure(reference, done)
        logger.info("image %s: it is here as %s", reference.wanted, run)
        return run

    def _loaded(self, reference: ImageReference, done: Said) -> str:
        """Give the name under which an archive was loaded."""
        names = [match["name"] for match in _LOADED.finditer(done.out)]
        if not names:
            raise ImageRefused(f"the archive {reference.name} was loaded, but no image was in it: {done.last}")
        name = names[-1].split(",")[-1]
        more = containers.after(self._container, name)
        if more:
            moved = self._run(more, self._container.pull_timeout_s)
            if moved.code != 0:
                raise self._failure(reference, moved)
        return name

    def _failure(self, reference: ImageReference, done: Said) -> JobError:
        kind = ImageRefused if _NEVER.search(f"{done.err}\n{done.out}") else ImageUnavailable
        return kind(f"the image {reference.wanted} cannot be fetched: {done.last}")

    def _noted(self, key: str) -> str:
        """Read what a name meant when it was pulled; a note that cannot be read is none."""
        try:
            said = json.loads((self._folder / f"{key}.json").read_text())
        except (OSError, ValueError):
            return ""
        run = said.get("run") if isinstance(said, dict) else None
        return run if isinstance(run, str) and not run.startswith("-") else ""

    def _note(self, key: str, reference: ImageReference, run: str) -> None:
        text = json.dumps({"engine": self._container.engine, "image": reference.wanted, "run": run})

        def write() -> None:
            part = self._folder / f"{key}.json.{threading.get_ident()}"
            self._folder.mkdir(parents=True, exist_ok=True)
            part.write_text(text)
            part.replace(self._folder / f"{key}.json")

        _guarded(write, f"the folder of images {self._folder}")


def _guarded(act: Callable[[], Result], what: str) -> Result:
    """Do something with a file; what the file system says against it is said of `what`."""
    try:
        return act()
    except FileNotFoundError as error:
        raise ImageRefused(f"{what} is not there") from error
    except OSError as error:
        raise ImageUnavailable(f"{what}: {error.strerror}") from error
