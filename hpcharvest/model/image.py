"""References to container images: words from outside, checked before any engine sees them. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

LONGEST = 512
"""Characters of a reference."""

_PART = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
_NAME = re.compile(
    rf"(?P<name>(?:{_PART}:[0-9]{{1,5}}/)?{_PART}(?:/{_PART})*)(?::(?P<tag>{_PART}))?(?:@(?P<digest>sha256:[0-9a-f]{{64}}))?"
)
_PATH = re.compile(r"(?:/[A-Za-z0-9_.+@=~-]+)+")
"""A path that no engine takes apart: colons and commas mean something in their options."""
_ARCHIVE = re.compile(r"(?P<form>docker-archive|oci-archive):(?P<path>.+)")


class ImageKind(StrEnum):
    """Where an image comes from."""

    REGISTRY = "registry"
    """A registry, or what the engine already has under that name."""
    ARCHIVE = "archive"
    """A file that `podman save` or `docker save` wrote, which the engine must load."""
    FILE = "file"
    """A file or folder that the engine runs as it is: a .sif, or an unpacked image on CVMFS."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageReference:
    """An image, by its name."""

    kind: ImageKind
    name: str
    """Without tag and digest; of an archive or a file: its absolute path."""
    tag: str = ""
    digest: str = ""
    """`sha256:` with 64 hexadecimal digits; empty: what the tag means when it is pulled."""
    form: str = ""
    """Of an archive: `docker-archive` or `oci-archive`."""

    @property
    def wanted(self) -> str:
        """The name to pull by. A digest makes the tag superfluous, and some engines refuse both together."""
        if self.kind is not ImageKind.REGISTRY:
            return self.name
        return f"{self.name}@{self.digest}" if self.digest else f"{self.name}:{self.tag or 'latest'}"


def parse(text: str) -> ImageReference:
    """Read `[docker://]name[:tag][@sha256:…]`, `docker-archive:/path`, `oci-archive:/path` or `/path`.

    ValueError says what is wrong with anything else: an option, blanks, control characters, a path that leads astray.
    """
    if len(text) > LONGEST:
        raise ValueError(f"the name of an image has {len(text)} characters, and {LONGEST} are allowed")
    if archive := _ARCHIVE.fullmatch(text):
        return ImageReference(kind=ImageKind.ARCHIVE, name=_path(archive["path"]), form=archive["form"])
    if text.startswith("/"):
        return ImageReference(kind=ImageKind.FILE, name=_path(text))
    found = _NAME.fullmatch(text.removeprefix("docker://"))
    if found is None:
        raise ValueError(
            f"{text!r:.120} is no image: write name[:tag][@sha256:…], docker-archive:/path, oci-archive:/path or /path"
        )
    return ImageReference(
        kind=ImageKind.REGISTRY, name=found["name"], tag=found["tag"] or "", digest=found["digest"] or ""
    )


def _path(text: str) -> str:
    if not _PATH.fullmatch(text) or {".", ".."} & set(text.split("/")):
        raise ValueError(f"{text!r:.120} is no absolute path of letters, digits and _.+@=~- alone")
    return text
