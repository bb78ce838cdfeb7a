"""The containers of a site: which engine starts them, and what they see of the machine."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, ValidationInfo, field_validator

from hpcharvest.config.base import AbsolutePath, Command, PositiveSeconds, Section, Strings
from hpcharvest.model.image import ImageKind, parse

EngineName = Literal["none", "apptainer", "podman-hpc", "podman", "shifter", "docker"]

_BIND = re.compile(r"/[^:,\s]*(?::/[^:,\s]*)?(?::(?:ro|rw))?")


def _image(text: str) -> str:
    if text:
        parse(text)
    return text


ImageText = Annotated[str, AfterValidator(_image)]
"""A reference that `model.image.parse` understands; empty: none."""


class Container(Section):
    """How payloads are started in containers, where a job, a queue or the site names an image."""

    engine: EngineName = "none"
    """The engine that starts containers on the nodes; `none`: there is none, and a job that asks for an image is
    refused."""
    command: Command = ()
    """The words that begin each command of the engine, with its global options, if its name alone does not do."""
    options: Strings = ()
    """Further options for the start of a payload, such as `--cleanenv`."""
    image: ImageText = ""
    """The image of all payloads for which neither the job nor the queue names one: `name[:tag][@sha256:…]`,
    `docker-archive:/path`, `oci-archive:/path`, or the absolute path of a file that the engine can run; empty: none."""
    allowed: Strings = ("*",)
    """Shell patterns of the images that a job may ask for. One that begins with `/` is for paths; without such a
    pattern, a job cannot name a path, and never an archive."""
    binds: Strings = ()
    """Further folders that a payload sees, as `/folder`, `/folder:/place` or `/folder:/place:ro`."""
    images: AbsolutePath | None = None
    """The folder in which we keep images as files, and notes of what was pulled, for all nodes to see; none: a folder
    `images` beside those of jobs and allocations."""
    pull_timeout_s: PositiveSeconds = 3600.0
    """After how many seconds the pulling or loading of an image is given up."""

    @field_validator("command", "options", "image", "binds")
    @classmethod
    def _of_an_engine(cls, value: tuple[str, ...] | str, info: ValidationInfo) -> tuple[str, ...] | str:
        if value and info.data.get("engine") == "none":
            raise ValueError(f"{info.field_name} has no effect while engine is none")
        return value

    @field_validator("image")
    @classmethod
    def _can_be_run(cls, value: str, info: ValidationInfo) -> str:
        if value:
            check_engine(value, info.data.get("engine", "none"))
        return value

    @field_validator("binds")
    @classmethod
    def _binds_are_folders(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for bind in value:
            if not _BIND.fullmatch(bind):
                raise ValueError(f"{bind!r} is neither /folder nor /folder:/place nor /folder:/place:ro")
        return value


def check_engine(image: str, engine: EngineName) -> None:
    """Raise ValueError if an engine cannot run such an image at all."""
    kind = parse(image).kind
    if engine == "none":
        raise ValueError(f"the image {image} needs an engine: container.engine of the site is none")
    if kind is ImageKind.FILE and engine != "apptainer":
        raise ValueError(f"{engine} cannot run the file {image}; Apptainer can")
    if kind is ImageKind.ARCHIVE and engine == "shifter":
        raise ValueError(f"Shifter takes images from registries alone, and not {image}")
