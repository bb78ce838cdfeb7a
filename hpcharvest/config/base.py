"""What all tables of the configuration have in common: how strict they are, and the kinds of values they hold.

A model here is pure: what the outside contributes (the file's folder, the environment, the site files) comes in by a
`Context`, which the loader makes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from string import Formatter
from types import MappingProxyType
from typing import Annotated, TypeVar
from urllib.parse import parse_qs, urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationInfo
from pydantic_core import PydanticCustomError

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*(\.[A-Za-z0-9-]+)+")
_SECRET_NAME = re.compile(r"(PASSWORD|PASSWD|SECRET|TOKEN)$", re.IGNORECASE)

Number = TypeVar("Number", int, float)
Value = TypeVar("Value")


class Section(BaseModel):
    """A table of a configuration file: strict, immutable, and without any key that is not described."""

    model_config = ConfigDict(
        strict=True,
        frozen=True,
        extra="forbid",
        validate_default=True,
        allow_inf_nan=False,
    )


@dataclass(frozen=True, kw_only=True)
class Context:
    """Where a file lies, the environment that its paths may name, and how a site file is found by its name.

    `site` returns a `config.site.Site`, and raises ValueError if there is none that can be used.
    """

    folder: Path = field(default_factory=Path)
    environ: Mapping[str, str] = field(default_factory=dict)
    site: Callable[[str], Section] | None = None


def not_below(value: Number, info: ValidationInfo, other: str) -> Number:
    """Return `value`, unless it is less than the field `other`, which stands before it: then ValueError."""
    limit = info.data.get(other)
    if limit is not None and value < limit:
        raise ValueError(f"{info.field_name} ({value:g}) is less than {other} ({limit:g})")
    return value


def check_placeholders(words: Iterable[str], known: Iterable[str]) -> None:
    """Raise ValueError if a word has a `{placeholder}` that is not `known`, or a brace that is not closed."""
    known = sorted(known)
    for word in words:
        for _, name, _, _ in Formatter().parse(word):
            if name is not None and name not in known:
                raise ValueError(f"{{{name}}} is no placeholder; there are {', '.join(f'{{{one}}}' for one in known)}")


def _expand(text: str, info: ValidationInfo) -> str:
    """Put the environment's values in the place of `${NAME}`."""
    environ = info.context.environ if isinstance(info.context, Context) else {}

    def value(match: re.Match[str]) -> str:
        if match[1] not in environ:
            raise ValueError(f"the environment has no variable {match[1]}, which ${{{match[1]}}} stands for")
        return str(environ[match[1]])

    return _VARIABLE.sub(value, text)


def _path(value: object, info: ValidationInfo) -> Path:
    """Make a path of a string; a content that was pasted in its place is refused without being repeated."""
    if isinstance(value, Path):
        return value
    if not isinstance(value, str):
        raise PydanticCustomError("path_type", "Input should be a path (a string)")
    if not value or "\n" in value or max(map(len, value.split("/"))) > 255:
        raise ValueError("this is no path; write the name of a file or folder, not what is in it")
    return Path(_expand(value, info))


def _near_path(value: object, info: ValidationInfo) -> Path:
    folder = info.context.folder if isinstance(info.context, Context) else Path()
    return folder / _path(value, info)


def _absolute_path(value: object, info: ValidationInfo) -> Path:
    path = _path(value, info)
    if not path.is_absolute():
        raise ValueError(f"{path} is relative; write it from the root, since nodes and cron start in other folders")
    return path


def _no_password(url: str) -> None:
    parts = urlsplit(url)
    if parts.password is not None or {"password", "token"} & parse_qs(parts.query).keys():
        raise ValueError(
            "a URL here must not hold a password; name a file that does (such as ~/.pgpass), or a token_file"
        )


def _web_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0:
        raise ValueError("this is no http:// or https:// URL")
    _no_password(url)
    return url.rstrip("/")


def _database_url(url: str) -> str:
    _no_password(url)
    if url.startswith("sqlite:") and not url.startswith("sqlite:////"):
        raise ValueError("an SQLite URL needs four slashes and an absolute path: sqlite:////folder/file.sqlite")
    if urlsplit(url).scheme.partition("+")[0] not in {"sqlite", "postgresql"}:
        raise ValueError("the database must be sqlite:////absolute/path or postgresql://user@host/name")
    return url


def _location(value: str, info: ValidationInfo) -> str:
    location = _expand(value, info)
    if not location.startswith("/") and not urlsplit(location).scheme:
        raise ValueError(
            f"{location!r} is neither an absolute folder nor a URL such as file:///folder or root://host//x"
        )
    _no_password(location)
    return location


def _repository(name: str) -> str:
    if not _REPOSITORY.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a CVMFS repository, such as atlas.cern.ch; it stands without /cvmfs/")
    return name


def _tuple(value: object) -> object:
    """Accept TOML's lists where tuples are held."""
    return tuple(value) if isinstance(value, list) else value


def _mapping(value: object) -> object:
    return dict(value) if isinstance(value, MappingProxyType) else value


def _environment(value: Mapping[str, str]) -> Mapping[str, str]:
    for name in value:
        if not _ENVIRONMENT_NAME.fullmatch(name):
            raise ValueError(f"{name!r} cannot be the name of an environment variable")
        if _SECRET_NAME.search(name):
            raise ValueError(f"{name} looks like a secret, which must not stand here; name a file that holds it")
    return value


FROZEN = (BeforeValidator(_mapping), AfterValidator(MappingProxyType), PlainSerializer(dict))
"""What makes a field of type Mapping immutable; unpack it into `Annotated`."""

Seconds = Annotated[float, Field(ge=0)]
PositiveSeconds = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
PositiveCount = Annotated[int, Field(ge=1)]
Text = Annotated[str, Field(min_length=1)]
NearPath = Annotated[Path, BeforeValidator(_near_path)]
AbsolutePath = Annotated[Path, BeforeValidator(_absolute_path)]
WebUrl = Annotated[str, AfterValidator(_web_url)]
DatabaseUrl = Annotated[str, AfterValidator(_database_url)]
Location = Annotated[str, AfterValidator(_location)]
Strings = Annotated[tuple[Text, ...], BeforeValidator(_tuple)]
Command = Annotated[tuple[Annotated[Text, AfterValidator(_expand)], ...], BeforeValidator(_tuple)]
AbsolutePaths = Annotated[tuple[AbsolutePath, ...], BeforeValidator(_tuple)]
Repositories = Annotated[tuple[Annotated[Text, AfterValidator(_repository)], ...], BeforeValidator(_tuple)]
Environment = Annotated[Mapping[str, str], AfterValidator(_environment), *FROZEN]
Locations = Annotated[Mapping[str, Location], *FROZEN]
