"""Checks of folders: there, writable, roomy, and on a file system that keeps its promises."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import NamedTemporaryFile

from hpcharvest.apps.transfer.copy import path_of
from hpcharvest.cli.checks.finding import Finding, failure, ok, warning
from hpcharvest.clock import SystemClock
from hpcharvest.config.schema import Configuration, Payload
from hpcharvest.engine import launch
from hpcharvest.engine.why import duration
from hpcharvest.messenger.mailbox import probe

GIB = 1 << 30
FULL_GIB, NEARLY_FULL_GIB = 0.2, 5.0
"""Free space, in GiB, below which nothing can be done, and below which somebody should look."""
SKEW_S = 5.0
"""Seconds by which the file server's clock may differ from ours before people are confused by it."""


def work_dir(configuration: Configuration) -> Iterator[Finding]:
    """Try all that allocations ask of the shared file system."""
    folder = configuration.controller.work_dir
    if not folder.is_dir():
        yield failure(f"the work_dir {folder} is no folder", "make it, on the file system that the nodes share")
        return
    probe(folder)
    yield ok(f"{folder} can do all that allocations ask of it")


def free_space(configuration: Configuration) -> Iterator[Finding]:
    """Look for room for files and for the database."""
    settings = configuration.controller
    for folder in dict.fromkeys((_existing(settings.work_dir), _existing(settings.state_dir))):
        free = shutil.disk_usage(folder).free / GIB
        words = f"{free:.1f} GiB are free at {folder}"
        if free < FULL_GIB:
            yield failure(words, "make room, or nothing can be written")
        elif free < NEARLY_FULL_GIB:
            yield warning(words, "make room before it is full")
        else:
            yield ok(words)


def clock_skew(configuration: Configuration) -> Iterator[Finding]:
    """Compare the file server's clock with ours, by a fresh file."""
    with NamedTemporaryFile(dir=_existing(configuration.controller.work_dir), prefix=".clock-") as fresh:
        skew = os.fstat(fresh.fileno()).st_mtime - SystemClock().wall()
    if abs(skew) <= SKEW_S:
        yield ok("the file server's clock agrees with this machine's")
    else:
        which = "ahead of" if skew > 0 else "behind"
        yield warning(
            f"the file server's clock is {duration(abs(skew))} {which} this machine's",
            "no decision depends on it, but times in logs will not fit together: have both use NTP",
        )


def transformations(configuration: Configuration) -> Iterator[Finding]:
    """Look for the folders from which payloads are run."""
    for name, queue in configuration.queues.items():
        folder = queue.payload.transformation_dir
        if queue.payload.transformation_in_image:
            yield ok(f"queue {name}: the transformations are in {folder} of the container images")
        elif folder.is_dir():
            yield ok(f"queue {name}: the transformations are in {folder}")
            yield from _callable(name, queue.payload)
        else:
            yield failure(
                f"queue {name}: the transformation_dir {folder} is no folder", "name the folder that has the payloads"
            )


def _callable(queue: str, payload: Payload) -> Iterator[Finding]:
    """Look for the module whose function is called with event ranges; what is in it is the payload's own affair."""
    module = payload.event_ranges.callable.partition(":")[0] if payload.event_ranges else ""
    place = payload.transformation_dir.joinpath(*module.split("."))
    if module and not place.is_dir() and not place.with_suffix(".py").is_file():
        yield failure(
            f"queue {queue}: there is no module {module} in {payload.transformation_dir}, by which event ranges are "
            "done: all of them would fail",
            f"put {place.with_suffix('.py')} there, or name another one in event_ranges.callable",
        )


def storage(configuration: Configuration) -> Iterator[Finding]:
    """Look for the folders that inputs come from and outputs go to; what is no folder is not looked at."""
    for name, queue in configuration.queues.items():
        places = launch.storage(queue)
        yield from _place(f"queue {name}: inputs", places.inputs, os.R_OK | os.X_OK)
        yield from _place(f"queue {name}: outputs", places.outputs, os.W_OK | os.X_OK)
        for endpoint, url in places.endpoints.items():
            yield from _place(f"queue {name}: endpoint {endpoint}", url, os.W_OK | os.X_OK)


def _place(what: str, url: str, mode: int) -> Iterator[Finding]:
    if not url.startswith("file:"):
        yield ok(f"{what}: {url} is not looked at")
        return
    folder = path_of(url)
    if not folder.is_dir():
        yield failure(f"{what}: {folder} is no folder", "make it, or name another one in [queues.NAME.storage]")
    elif not os.access(folder, mode):
        kind = "written" if mode & os.W_OK else "read"
        yield failure(f"{what}: {folder} cannot be {kind}", "look at its owner and mode")
    else:
        yield ok(f"{what}: {folder}")


def _existing(folder: Path) -> Path:
    """Give the folder, or the nearest one above it that exists."""
    return next(one for one in (folder, *folder.parents) if one.is_dir())
